/** Taking a chunk: from the client's body to a part that the object storage acknowledged, and its record. */

import { recordInAgentCache } from "./agentcache";
import { type Environment, MAX_CHUNK_BYTES } from "./environment";
import { Gateway, type StoredChunk } from "./gateway";
import { sendPart } from "./part";
import { Problem } from "./problems";
import type { VerifyingKeys } from "./signatures";
import { readToken } from "./tokens";

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const MOST_CHUNKS = 10_000;
const LATE_SECONDS = 60;
const STALL_SECONDS = 30;

export async function putChunk(
  request: Request,
  path: { uploadId: string; number: string },
  env: Environment,
  ctx: ExecutionContext,
  keys: VerifyingKeys,
  correlationId: string,
): Promise<Response> {
  const token = bearer(request);
  const uploadId = path.uploadId.toLowerCase();
  const number = Number(path.number);
  const announced = request.headers.get("Content-MD5");
  const length = request.headers.get("Content-Length");
  if (!UUID.test(uploadId)) throw invalid("upload_id", "it is no UUID");
  if (!/^[0-9]+$/.test(path.number) || number < 1 || number > MOST_CHUNKS) {
    throw invalid("number", `it is none from 1 to ${MOST_CHUNKS}`);
  }
  if (announced === null) throw invalid("content-md5", "it is missing");

  const allowed = await readToken(keys, token);
  if (allowed.upload !== uploadId || allowed.number !== number) {
    throw new Problem("link_invalid", "The token is for another chunk.");
  }
  if (length !== null && Number(length) !== allowed.size) {
    throw new Problem("link_invalid", `The token is for ${allowed.size} bytes, and ${length} are announced.`);
  }
  if (allowed.size > MAX_CHUNK_BYTES) {
    throw new Problem(
      "payload_too_large",
      `This edge takes chunks of ${MAX_CHUNK_BYTES} bytes at most. Send it to another edge.`,
    );
  }
  const digest = md5Of(announced);
  const md5 = hex(digest);

  const gateway = new Gateway(env, correlationId);
  const found = await gateway.begin(token, md5);
  let stored: StoredChunk;
  if ("stored" in found) {
    stored = found.stored;
  } else {
    try {
      const etag = await sendPart(request.body, {
        url: storageUrl(found.part_url, env),
        sizeBytes: allowed.size,
        md5: digest,
        contentMd5: announced,
        stallSeconds: Number(env.STALL_SECONDS ?? STALL_SECONDS),
        deadline: (allowed.expires + LATE_SECONDS) * 1000,
      });
      stored = await gateway.stored(token, md5, etag);
    } catch (error) {
      // Where this is lost, the chunk counts as on the way until its token has expired.
      ctx.waitUntil(gateway.failed(token).catch(() => undefined));
      throw error;
    }
  }
  ctx.waitUntil(recordInAgentCache(request, env, uploadId, number));
  return Response.json(stored);
}

/** The URL that the gateway gave, which must lead to the object storage that this edge is configured for. */
export function storageUrl(given: string, env: Environment): URL {
  if (URL.canParse(given) && URL.canParse(env.STORAGE_URL)) {
    const url = new URL(given);
    if (url.origin === new URL(env.STORAGE_URL).origin && !url.username && !url.password) return url;
  }
  console.error("the gateway named another object storage than STORAGE_URL");
  throw new Problem(
    "configuration_error",
    "The gateway stores chunks in another object storage than this edge is configured for.",
  );
}

function bearer(request: Request): string {
  const [scheme = "", token = ""] = (request.headers.get("Authorization") ?? "").split(" ", 2);
  if (scheme.toLowerCase() !== "bearer" || !token) {
    throw new Problem("unauthenticated", "Send the chunk's token as Authorization: Bearer.");
  }
  return token;
}

function md5Of(header: string): Uint8Array {
  try {
    const digest = Uint8Array.from(atob(header), (letter) => letter.charCodeAt(0));
    if (digest.byteLength === 16) return digest;
  } catch {
    // It is no base64.
  }
  throw new Problem("invalid_field", "Content-MD5 takes the 16 bytes of an MD5 in base64.");
}

function invalid(field: string, message: string): Problem {
  return new Problem("invalid_field", `A field has a value that is not allowed: ${field}: ${message}`);
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
