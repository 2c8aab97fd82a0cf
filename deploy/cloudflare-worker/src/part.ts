/** Sending a body to the object storage while its digest is computed, without holding it. */

import { Problem } from "./problems";

// Read at once; two of these are held of a chunk.
const BLOCK_BYTES = 256 * 1024;

export interface Part {
  url: URL;
  sizeBytes: number;
  md5: Uint8Array;
  contentMd5: string;
  /** How long the client may be silent. */
  stallSeconds: number;
  /** When the body must have arrived, in milliseconds since 1970. */
  deadline: number;
}

/**
 * Send a body as one part, and return the entity tag.
 *
 * The last block is held back until the digest is known to be right: a body of other bytes is cut off on the
 * way to the object storage, which stores nothing of it. Throws truncated_body, checksum_mismatch,
 * upload_timed_out, upload_not_open, storage_unavailable.
 */
export async function sendPart(body: ReadableStream<Uint8Array> | null, part: Part): Promise<string> {
  // It announces the length, without which S3 takes no body; and it passes no block on before there is room.
  const { readable, writable } = new FixedLengthStream(part.sizeBytes);
  const answered = fetch(part.url, {
    method: "PUT",
    headers: { "Content-MD5": part.contentMd5 },
    body: readable,
    redirect: "manual",
  });
  const early = answered.then(
    (response) => ({ response }),
    () => ({ response: undefined }),
  );
  const out = writable.getWriter();
  out.closed.catch(() => undefined);
  try {
    const pumped = pump(body, out, part);
    const answer = await Promise.race([pumped.then(() => undefined), early]);
    // A refusal may come before the body's end; a success counts only with the right digest.
    if (answer?.response?.status === 200) await pumped;
    const { response } = answer ?? (await early);
    if (response === undefined) throw new Problem("storage_unavailable");
    return await etagOf(response);
  } catch (error) {
    // The object storage sees a body that ends too early, and stores none of it.
    await out.abort(error).catch(() => undefined);
    throw error;
  }
}

async function pump(
  body: ReadableStream<Uint8Array> | null,
  out: WritableStreamDefaultWriter<Uint8Array>,
  part: Part,
): Promise<void> {
  const digest = new crypto.DigestStream("MD5");
  // It fails where the stream is left unfinished, which nobody waits for.
  digest.digest.catch(() => undefined);
  const hash = digest.getWriter();
  hash.closed.catch(() => undefined);
  let held: Uint8Array | undefined;
  let arrivedBytes = 0;
  for await (const block of blocks(body, part)) {
    arrivedBytes += block.byteLength;
    if (arrivedBytes > part.sizeBytes) throw truncated(part);
    await hash.write(block);
    if (held !== undefined) await out.write(held);
    held = block;
  }
  if (arrivedBytes !== part.sizeBytes) throw truncated(part);
  await hash.close();
  if (!equal(new Uint8Array(await digest.digest), part.md5)) throw new Problem("checksum_mismatch");
  if (held !== undefined) await out.write(held);
  await out.close();
}

/** The body block by block. The default reader's blocks of 4 KiB would cost more than all the rest. */
async function* blocks(body: ReadableStream<Uint8Array> | null, part: Part): AsyncGenerator<Uint8Array> {
  if (body === null) return;
  const reader = body.getReader({ mode: "byob" });
  for (;;) {
    const left = Math.min(part.stallSeconds * 1000, part.deadline - Date.now());
    if (left <= 0) throw new Problem("upload_timed_out");
    const { done, value } = await within(left, reader.read(new Uint8Array(BLOCK_BYTES)));
    if (value?.byteLength) yield value;
    if (done) return;
  }
}

async function within<Read>(milliseconds: number, reading: Promise<Read>): Promise<Read> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Problem("upload_timed_out")), milliseconds);
  });
  try {
    return await Promise.race([reading, late]).catch((error: unknown) => {
      throw error instanceof Problem ? error : new Problem("truncated_body");
    });
  } finally {
    clearTimeout(timer ?? null);
  }
}

async function etagOf(response: Response): Promise<string> {
  const etag = response.headers.get("ETag");
  if (response.status === 200 && etag) {
    await response.body?.cancel();
    return etag;
  }
  const code = /<Code>(\w{1,64})<\/Code>/.exec((await response.text()).slice(0, 4096))?.[1] ?? "";
  if (["BadDigest", "InvalidDigest"].includes(code)) throw new Problem("checksum_mismatch");
  if (response.status === 404 && code !== "NoSuchBucket") throw new Problem("upload_not_open");
  console.error(`the object storage answered ${response.status} ${code}`);
  throw new Problem(
    "storage_unavailable",
    `The object storage answered ${[response.status, code].join(" ").trim()}.`,
  );
}

function truncated(part: Part): Problem {
  return new Problem("truncated_body", `The body does not have the announced ${part.sizeBytes} bytes.`);
}

function equal(one: Uint8Array, other: Uint8Array): boolean {
  return one.byteLength === other.byteLength && one.every((byte, place) => byte === other[place]);
}
