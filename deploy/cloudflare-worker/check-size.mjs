// The Worker is loaded at each edge before its first request, so what is bundled stays small.
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const MOST_BYTES = 40_000;

const bundle = readFileSync(new URL("dist/index.js", import.meta.url));
const report = `The bundle has ${bundle.length} bytes, ${gzipSync(bundle).length} compressed`;
if (bundle.length > MOST_BYTES) {
  console.error(`${report}: more than the ${MOST_BYTES} that it may have.`);
  process.exit(1);
}
console.info(`${report}, of ${MOST_BYTES} at most.`);
