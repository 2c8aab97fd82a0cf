/** JettyThunder's edge as a Cloudflare Worker: the contract of the edges in docs/edges.md. */

import { putChunk } from "./chunk";
import { coloOf, type Environment, MAX_CHUNK_BYTES, missingSettings } from "./environment";
import { Problem, Refusal } from "./problems";
import { VerifyingKeys } from "./signatures";
import { getStream } from "./stream";

const CHUNK = /^\/edge\/uploads\/([^/]+)\/chunks\/([^/]+)$/;
const STREAM = /^\/api\/storage\/stream\/([^/]+)$/;

const ALLOWED_HEADERS =
  "Authorization, Content-MD5, Content-Type, X-Correlation-ID, Range, If-Range, If-Match, If-None-Match, If-Modified-Since";
const EXPOSED_HEADERS =
  "Retry-After, X-Correlation-ID, Accept-Ranges, Content-Length, Content-Range, ETag, Last-Modified, X-Edge-Cache";
const CORRELATION_ID = /^[A-Za-z0-9_-]{1,128}$/;

let parsed: { given: string; keys: Promise<VerifyingKeys> } | undefined;

export default {
  async fetch(request, env, ctx): Promise<Response> {
    const given = request.headers.get("X-Correlation-ID") ?? "";
    const correlationId = CORRELATION_ID.test(given) ? given : crypto.randomUUID().replaceAll("-", "");
    const answer = await answered(request, env, ctx, correlationId);
    const response = new Response(answer.body, answer);
    // A chunk's token, or a link's signature, gives access, never a cookie: so any origin may call.
    response.headers.set("Access-Control-Allow-Origin", "*");
    response.headers.set("Access-Control-Expose-Headers", EXPOSED_HEADERS);
    response.headers.set("X-Correlation-ID", correlationId);
    return response;
  },
} satisfies ExportedHandler<Environment>;

async function answered(
  request: Request,
  env: Environment,
  ctx: ExecutionContext,
  correlationId: string,
): Promise<Response> {
  try {
    return await route(request, env, ctx, correlationId);
  } catch (error) {
    if (error instanceof Refusal) return error.response;
    if (error instanceof Problem) return error.answer(correlationId);
    console.error("unexpected error", error instanceof Error ? error.name : typeof error);
    return new Problem("internal_error").answer(correlationId);
  }
}

async function route(
  request: Request,
  env: Environment,
  ctx: ExecutionContext,
  correlationId: string,
): Promise<Response> {
  const { pathname } = new URL(request.url);
  if (request.method === "OPTIONS") return preflight();
  const chunk = CHUNK.exec(pathname);
  if (chunk !== null) {
    allow(request, "PUT");
    const path = { uploadId: chunk[1] ?? "", number: chunk[2] ?? "" };
    return putChunk(request, path, env, ctx, await keysOf(env), correlationId);
  }
  const stream = STREAM.exec(pathname);
  if (stream !== null) {
    allow(request, "GET", "HEAD");
    return getStream(request, stream[1] ?? "", env, ctx, await keysOf(env), correlationId);
  }
  if (pathname === "/edge/ping") {
    allow(request, "GET", "HEAD");
    return new Response(null, { status: 204, headers: { "Cache-Control": "no-store" } });
  }
  if (pathname === "/healthz") {
    allow(request, "GET", "HEAD");
    return health(request, env);
  }
  throw new Problem("not_found");
}

/** Who this edge is, and the largest chunk it takes; the gateway lists it by this. */
async function health(request: Request, env: Environment): Promise<Response> {
  await keysOf(env);
  const body = {
    status: "ok",
    id: env.EDGE_ID,
    region: env.EDGE_REGION || "global",
    colo: coloOf(request, env),
    max_chunk_bytes: MAX_CHUNK_BYTES,
  };
  return Response.json(body, { headers: { "Cache-Control": "no-store" } });
}

function keysOf(env: Environment): Promise<VerifyingKeys> {
  const missing = missingSettings(env);
  if (missing.length) {
    throw new Problem("configuration_error", `This edge lacks settings: ${missing.join(", ")}.`);
  }
  if (parsed?.given !== env.VERIFYING_KEYS) {
    parsed = { given: env.VERIFYING_KEYS, keys: VerifyingKeys.parse(env.VERIFYING_KEYS) };
  }
  return parsed.keys;
}

function preflight(): Response {
  return new Response("OK", {
    headers: {
      "Access-Control-Allow-Methods": "PUT, GET, HEAD",
      "Access-Control-Allow-Headers": ALLOWED_HEADERS,
      "Access-Control-Max-Age": "7200",
    },
  });
}

function allow(request: Request, ...methods: string[]): void {
  if (!methods.includes(request.method)) {
    throw new Problem("method_not_allowed", undefined, { Allow: methods.join(", ") });
  }
}
