/** Reading an asset by a signed link: authorised by the gateway, sent from the edge cache where it is there. */

import { storageUrl } from "./chunk";
import type { Environment } from "./environment";
import { Gateway, type OpenedRead } from "./gateway";
import { Problem } from "./problems";
import type { VerifyingKeys } from "./signatures";
import { checkLink } from "./tokens";

/** Cloudflare caches objects of 512 MB at most on all plans but Enterprise. */
const MOST_CACHED_BYTES = 512 * 1000 * 1000;
const CACHED_SECONDS = 86_400;
const BLOCK_BYTES = 256 * 1024;
const CONDITIONS = [
  "range",
  "if-range",
  "if-match",
  "if-none-match",
  "if-modified-since",
  "if-unmodified-since",
];

// What this process is putting in the cache, so that the ranges of one video do not each fetch it.
const filling = new Set<string>();

export async function getStream(
  request: Request,
  assetId: string,
  env: Environment,
  ctx: ExecutionContext,
  keys: VerifyingKeys,
  correlationId: string,
): Promise<Response> {
  const query = new URL(request.url).searchParams;
  const [epoch, expiresAt, signature] = ["epoch", "expires_at", "signature"].map((name) => query.get(name));
  if (!epoch || !expiresAt || !signature) {
    throw new Problem("unauthenticated", "This edge gives assets to bearers of signed links only.");
  }
  await checkLink(keys, { assetId, epoch, expiresAt, signature });

  const gateway = new Gateway(env, correlationId);
  const read = await gateway.open({
    asset_id: assetId,
    epoch: Number(epoch),
    expires_at: Number(expiresAt),
    signature,
    method: request.method,
    headers: Object.fromEntries(
      CONDITIONS.flatMap((name) => {
        const value = request.headers.get(name);
        return value === null ? [] : [[name, value]];
      }),
    ),
  });
  if (read.range === null) return new Response(null, { status: read.status, headers: read.headers });

  let source: Response;
  try {
    source = await sourceOf(read, env, ctx);
  } catch (error) {
    ctx.waitUntil(gateway.sent(read, assetId, 0).catch(() => undefined));
    throw error;
  }
  const length = read.range.end - read.range.start + 1;
  const { readable, writable } = new FixedLengthStream(length);
  const body = source.body;
  ctx.waitUntil(
    copied(body, writable).then((sentBytes) =>
      gateway.sent(read, assetId, sentBytes).catch(() => {
        console.error(`the gateway counted no bytes of read ${read.read_id}`);
      }),
    ),
  );
  const headers = new Headers(read.headers);
  // Cloudflare would compress some types: other bytes than those that the range, the tag and the count are of.
  headers.append("Cache-Control", "no-transform");
  headers.set("X-Edge-Cache", source.headers.get("X-Edge-Cache") ?? "miss");
  return new Response(readable, { status: read.status, headers });
}

/** The wanted bytes: from the cache, else from the object storage, and then the cache gets the whole object. */
async function sourceOf(read: OpenedRead, env: Environment, ctx: ExecutionContext): Promise<Response> {
  const { start, end } = read.range ?? { start: 0, end: read.size_bytes - 1 };
  const isWhole = start === 0 && end === read.size_bytes - 1;
  const headers: Record<string, string> = isWhole ? {} : { Range: `bytes=${start}-${end}` };
  const name = `https://cache.invalid/${encodeURIComponent(read.etag)}`;
  const cached = await caches.default.match(new Request(name, { headers }));
  if (cached !== undefined && cached.status === (isWhole ? 200 : 206)) {
    return new Response(cached.body, { headers: { "X-Edge-Cache": "hit" } });
  }
  await cached?.body?.cancel();
  const url = storageUrl(read.source_url ?? "", env);
  const response = await fetch(url, { headers, redirect: "manual", cache: "no-store" }).catch(
    () => undefined,
  );
  if (response?.status !== (isWhole ? 200 : 206)) {
    await response?.body?.cancel();
    console.error(`the object storage answered ${response?.status ?? "nothing"}`);
    throw new Problem("storage_unavailable");
  }
  if (read.size_bytes <= MOST_CACHED_BYTES && !filling.has(name)) {
    filling.add(name);
    ctx.waitUntil(
      fill(name, url, read)
        .catch(() => console.warn("an asset was not cached"))
        .finally(() => filling.delete(name)),
    );
  }
  return response;
}

/** Fetched on its own: a copy of the client's answer would be held for a client that reads slowly. */
async function fill(name: string, url: URL, read: OpenedRead): Promise<void> {
  const whole = await fetch(url, { redirect: "manual", cache: "no-store" });
  if (whole.status !== 200) throw new Error(`the object storage answered ${whole.status}`);
  const headers = {
    "Cache-Control": `public, max-age=${CACHED_SECONDS}`,
    "Content-Length": String(read.size_bytes),
    "Content-Type": "application/octet-stream",
  };
  await caches.default.put(name, new Response(whole.body, { headers }));
}

/** Copy a body, and say how many bytes its reader took; a reader that goes away ends it. */
async function copied(
  body: ReadableStream<Uint8Array> | null,
  writable: WritableStream<Uint8Array>,
): Promise<number> {
  const out = writable.getWriter();
  let sentBytes = 0;
  try {
    const reader = body?.getReader({ mode: "byob" });
    while (reader !== undefined) {
      const { done, value } = await reader.read(new Uint8Array(BLOCK_BYTES));
      if (value?.byteLength) {
        const count = value.byteLength;
        await out.write(value);
        sentBytes += count;
      }
      if (done) break;
    }
    await out.close();
  } catch (error) {
    await out.abort(error).catch(() => undefined);
    await body?.cancel().catch(() => undefined);
  }
  return sentBytes;
}
