import { env, exports } from "cloudflare:workers";
import { describe, expect, it, vi } from "vitest";
import vectors from "../../../tests/vectors/edge_tokens.json";
import { MAX_CHUNK_BYTES } from "../src/environment";

const [{ token, claims }] = vectors.edge_tokens.valid as [(typeof vectors.edge_tokens.valid)[0]];
const ORIGIN = "https://edge.test";
const CHUNK = `${ORIGIN}/edge/uploads/${claims.upload}/chunks/${claims.number}`;

function worker(url: string, init?: RequestInit): Promise<Response> {
  return exports.default.fetch(new Request(url, init));
}

async function chunk(): Promise<{ body: Uint8Array; headers: Record<string, string> }> {
  for (;;) {
    const body = crypto.getRandomValues(new Uint8Array(65_536));
    const whole = new Uint8Array(claims.size);
    whole.set(body);
    const md5 = new Uint8Array(await crypto.subtle.digest("MD5", whole));
    // These have a meaning to the stub of the gateway.
    if ((md5[0] ?? 0) >= 0xfd) continue;
    const headers = {
      Authorization: `Bearer ${token}`,
      "Content-MD5": btoa(String.fromCharCode(...md5)),
      "Content-Length": String(claims.size),
    };
    return { body: whole, headers };
  }
}

async function seen(of: string): Promise<{ url: string; authorization: string | null; body: string }[]> {
  return (await fetch(`https://seen.test/?of=${of}`)).json();
}

describe("a chunk", () => {
  it("is stored, confirmed to the gateway and recorded in AgentCache both ways", async () => {
    const answer = await worker(CHUNK, { method: "PUT", ...(await chunk()) });
    expect(await answer.json()).toMatchObject({
      number: 3,
      size_bytes: claims.size,
      edge: "cloudflare-test",
    });
    expect(answer.status).toBe(200);
    const confirmed = await seen("gateway.test/api/edges/chunks/stored");
    expect(confirmed[0]?.authorization).toBe("Bearer test-secret");
    const key = `chunk:${claims.upload}:2`;
    const value = { uploaded: true, edge: "cloudflare-test" };
    await vi.waitFor(async () => {
      expect(JSON.parse((await env.AGENTCACHE_KV.get(key)) ?? "")).toEqual(value);
      const posted = await seen("agentcache.test/api/cache/set");
      expect(JSON.parse(posted[0]?.body ?? "")).toEqual({ key, value, ttl: 3600 });
    });
  });

  it("is sent nowhere but to the configured object storage", async () => {
    const astray = btoa(String.fromCharCode(0xff, ...new Uint8Array(15)));
    const { body, headers } = await chunk();
    const answer = await worker(CHUNK, {
      method: "PUT",
      body,
      headers: { ...headers, "Content-MD5": astray },
    });
    expect(await answer.json()).toMatchObject({ code: "configuration_error", status: 500 });
    expect(await seen("metadata.test")).toEqual([]);
  });
});

describe("a gateway", () => {
  it("that is away is named, and asked again before that", async () => {
    const unreachable = btoa(String.fromCharCode(0xfe, ...new Uint8Array(15)));
    const { body, headers } = await chunk();
    const answer = await worker(CHUNK, {
      method: "PUT",
      body,
      headers: { ...headers, "Content-MD5": unreachable },
    });
    expect(await answer.json()).toMatchObject({ code: "gateway_unavailable", retryable: true });
    expect([answer.status, answer.headers.get("Retry-After")]).toEqual([503, "1"]);
    const asked = await seen("gateway.test/api/edges/chunks");
    expect(asked.filter(({ body }) => body.includes('"md5":"fe')).length).toBe(3);
  });
});

describe("a chunk that is not stored", () => {
  async function sent(beginning: number): Promise<Response> {
    const { body, headers } = await chunk();
    const md5 = btoa(String.fromCharCode(beginning, ...new Uint8Array(15)));
    return worker(CHUNK, { method: "PUT", body, headers: { ...headers, "Content-MD5": md5 } });
  }

  it("is refused at once where the account has too many in flight: another edge may have room", async () => {
    const answer = await sent(0xfd);
    expect(await answer.json()).toMatchObject({ code: "edge_busy" });
    expect([answer.status, answer.headers.get("Retry-After")]).toEqual([503, "1"]);
    const asked = await seen("gateway.test/api/edges/chunks");
    expect(asked.filter(({ body }) => body.includes('"md5":"fd')).length).toBe(1);
  });

  it("is said to have failed, which makes room for another one", async () => {
    const answer = await sent(0);
    expect(await answer.json()).toMatchObject({ code: "checksum_mismatch" });
    await vi.waitFor(async () => {
      const [said] = await seen("gateway.test/api/edges/chunks/failed");
      expect(JSON.parse(said?.body ?? "{}")).toEqual({ token });
    });
  });
});

describe("every answer", () => {
  it("can be read by pages of any origin, refusals too", async () => {
    for (const [method, url] of [
      ["PUT", CHUNK],
      ["GET", `${ORIGIN}/elsewhere`],
      ["DELETE", CHUNK],
      ["OPTIONS", CHUNK],
    ] as const) {
      const answer = await worker(url, { method });
      expect(answer.headers.get("Access-Control-Allow-Origin")).toBe("*");
      expect(answer.headers.get("X-Correlation-ID")).toMatch(/^[0-9a-f]{32}$/);
      await answer.body?.cancel();
    }
  });

  it("keeps a caller's correlation id, where it is a plain one", async () => {
    const kept = await worker(`${ORIGIN}/edge/ping`, { headers: { "X-Correlation-ID": "mine-1" } });
    expect(kept.headers.get("X-Correlation-ID")).toBe("mine-1");
    const odd = await worker(`${ORIGIN}/edge/ping`, { headers: { "X-Correlation-ID": "a b" } });
    expect(odd.headers.get("X-Correlation-ID")).not.toBe("a b");
  });

  it("names the methods where the method is another", async () => {
    const answer = await worker(CHUNK, { method: "POST" });
    expect(answer.status).toBe(405);
    expect(answer.headers.get("Allow")).toBe("PUT");
    await answer.body?.cancel();
  });
});

it("says in its health who it is and the largest chunk it takes", async () => {
  const answer = await worker(`${ORIGIN}/healthz`);
  expect(await answer.json()).toMatchObject({
    status: "ok",
    id: "cloudflare-test",
    region: "global",
    max_chunk_bytes: MAX_CHUNK_BYTES,
  });
});
