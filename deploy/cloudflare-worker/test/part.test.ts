import { expect, it } from "vitest";
import { sendPart } from "../src/part";

const SIZE = 1_000_000;

async function md5Of(data: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("MD5", data));
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A body as it comes from a network: of bytes, in pieces, at last open where it is never to end. */
function bodyOf(data: Uint8Array, { ends = true } = {}): ReadableStream<Uint8Array> {
  const { readable, writable } = new IdentityTransformStream();
  const writer = writable.getWriter();
  (async () => {
    for (let start = 0; start < data.byteLength; start += 50_000) {
      await writer.write(data.slice(start, start + 50_000));
    }
    if (ends) await writer.close();
  })().catch(() => undefined);
  return readable;
}

async function send(
  data: Uint8Array,
  given: { path?: string; md5?: Uint8Array; sizeBytes?: number; ends?: boolean; deadline?: number } = {},
): Promise<string> {
  const md5 = given.md5 ?? (await md5Of(data));
  return sendPart(bodyOf(data, { ends: given.ends ?? true }), {
    url: new URL(given.path ?? "/part", "https://storage.test"),
    sizeBytes: given.sizeBytes ?? data.byteLength,
    md5,
    contentMd5: btoa(String.fromCharCode(...md5)),
    stallSeconds: 0.5,
    deadline: given.deadline ?? Date.now() + 60_000,
  });
}

async function arrivedAt(path: string): Promise<{ bytes: number }[]> {
  return (await fetch(`https://seen.test/?of=${path}`)).json();
}

function noise(size = SIZE): Uint8Array {
  const data = new Uint8Array(size);
  for (let start = 0; start < size; start += 65_536) {
    crypto.getRandomValues(data.subarray(start, Math.min(start + 65_536, size)));
  }
  return data;
}

it("hands a body on byte for byte, with its length", async () => {
  const data = noise();
  // The stub answers with the SHA-256 of what arrived.
  const expected = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  expect(await send(data)).toBe(`"${hex(expected)}"`);
});

it("cuts a body of other bytes off before its end", async () => {
  const refused = send(noise(), { path: "/other-bytes", md5: await md5Of(noise()) });
  await expect(refused).rejects.toMatchObject({ code: "checksum_mismatch" });
  for (const { bytes } of await arrivedAt("/other-bytes")) expect(bytes).toBeLessThan(SIZE);
});

it.each([
  [-1, "longer"],
  [1, "shorter"],
])("refuses a body of another size, by %i", async (difference, name) => {
  const refused = send(noise(), { path: `/${name}`, sizeBytes: SIZE + difference });
  await expect(refused).rejects.toMatchObject({ code: "truncated_body" });
  for (const { bytes } of await arrivedAt(`/${name}`)) expect(bytes).toBeLessThan(SIZE);
});

it("gives a silent client up", async () => {
  await expect(send(noise(), { ends: false })).rejects.toMatchObject({ code: "upload_timed_out" });
});

it("gives a client up whose token has expired", async () => {
  const refused = send(noise(), { deadline: Date.now() - 1 });
  await expect(refused).rejects.toMatchObject({ code: "upload_timed_out" });
});

it("says what the object storage's refusal means", async () => {
  await expect(send(noise(), { path: "/gone" })).rejects.toMatchObject({ code: "upload_not_open" });
  await expect(send(noise(), { path: "/down" })).rejects.toMatchObject({ code: "storage_unavailable" });
});
