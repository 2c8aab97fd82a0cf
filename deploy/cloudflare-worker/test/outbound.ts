/** What Workers under test reach instead of the network: a gateway, an object storage, and AgentCache. */

const received: { url: string; bytes: number; authorization: string | null; body: string }[] = [];

export async function outboundService(request: Request): Promise<Response> {
  const url = new URL(request.url);
  if (url.hostname === "seen.test") {
    return Response.json(received.filter((each) => each.url.includes(url.searchParams.get("of") ?? "")));
  }
  const arrived = await arrivedOf(request);
  received.push({
    url: request.url,
    bytes: arrived.bytes.byteLength,
    authorization: request.headers.get("Authorization"),
    body: arrived.bytes.byteLength < 10_000 ? new TextDecoder().decode(arrived.bytes) : "",
  });
  if (url.hostname === "gateway.test") return gateway(url, arrived.bytes);
  if (url.hostname === "agentcache.test") return Response.json({ success: true });
  if (!arrived.isWhole || String(arrived.bytes.byteLength) !== request.headers.get("Content-Length")) {
    return new Response("<Code>IncompleteBody</Code>", { status: 400 });
  }
  if (url.pathname === "/gone") return new Response("<Code>NoSuchUpload</Code>", { status: 404 });
  if (url.pathname === "/down") return new Response("", { status: 503 });
  return new Response("", {
    headers: { ETag: `"${await hashOf(arrived.bytes)}"` },
  });
}

async function arrivedOf(request: Request): Promise<{ bytes: Uint8Array; isWhole: boolean }> {
  const blocks: Uint8Array[] = [];
  let isWhole = true;
  try {
    for await (const block of request.body ?? []) blocks.push(block);
  } catch {
    isWhole = false;
  }
  return { bytes: new Uint8Array(await new Blob(blocks).arrayBuffer()), isWhole };
}

/** SHA-256, hexadecimal. */
async function hashOf(bytes: Uint8Array): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function gateway(url: URL, body: Uint8Array): Response {
  const asked = JSON.parse(new TextDecoder().decode(body));
  if (url.pathname.endsWith("/stored")) {
    const { md5, etag, edge } = asked;
    return Response.json({ stored: { number: 3, size_bytes: 5_242_880, md5, etag, edge } });
  }
  if (url.pathname.endsWith("/failed")) return new Response(null, { status: 204 });
  // The checksum's beginning decides what happens.
  switch (asked.md5.slice(0, 2)) {
    case "ff":
      return Response.json({ part_url: "https://metadata.test/part" });
    case "fe":
      return new Response("", { status: 502 });
    case "fd":
      return Response.json(
        { code: "edge_busy", status: 503 },
        { status: 503, headers: { "Content-Type": "application/problem+json", "Retry-After": "1" } },
      );
    default:
      return Response.json({ part_url: "https://storage.test/part" });
  }
}
