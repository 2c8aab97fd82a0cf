/** Recording stored chunks in AgentCache's cache, after the answer: no upload waits for it, or fails with it. */

import { coloOf, type Environment } from "./environment";

const KEPT_SECONDS = 3600;
const TIMEOUT_MILLISECONDS = 2000;

/** Record `chunk:{upload}:{index}`, the index from 0, by the binding and by HTTP as far as they are there. */
export async function recordInAgentCache(
  request: Request,
  env: Environment,
  uploadId: string,
  number: number,
): Promise<void> {
  const key = `chunk:${uploadId}:${number - 1}`;
  const value = { uploaded: true, edge: coloOf(request, env) };
  const written = await Promise.allSettled([
    env.AGENTCACHE_KV?.put(key, JSON.stringify(value), { expirationTtl: KEPT_SECONDS }),
    env.AGENTCACHE_API_URL ? post(env, { key, value, ttl: KEPT_SECONDS }) : undefined,
  ]);
  for (const outcome of written) {
    if (outcome.status === "rejected") console.warn("AgentCache took no record of a chunk");
  }
}

async function post(env: Environment, record: unknown): Promise<void> {
  const headers = new Headers({ "Content-Type": "application/json" });
  if (env.AGENTCACHE_API_KEY) headers.set("X-API-Key", env.AGENTCACHE_API_KEY);
  const response = await fetch(`${env.AGENTCACHE_API_URL?.replace(/\/$/, "")}/cache/set`, {
    method: "POST",
    headers,
    body: JSON.stringify(record),
    redirect: "manual",
    signal: AbortSignal.timeout(TIMEOUT_MILLISECONDS),
  });
  await response.body?.cancel();
  if (!response.ok) throw new Error(`AgentCache answered ${response.status}`);
}
