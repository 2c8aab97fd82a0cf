/** What the Worker is configured with: variables and secrets of wrangler, see docs/edges.md. */
export interface Environment {
  /** Name of this edge, as chunks are recorded with it. */
  EDGE_ID: string;
  /** The region that the list of edges shows. */
  EDGE_REGION: string;
  /** Where the gateway serves, `https://api.example`. */
  GATEWAY_URL: string;
  /** Where the object storage serves; chunks are sent nowhere else. */
  STORAGE_URL: string;
  /** Public keys of edge tokens and stream links, `kid:key[,…]`. */
  VERIFYING_KEYS: string;
  /** Bearer token for the gateway, one of its EDGE_SECRETS. */
  EDGE_SECRET: string;
  /** AgentCache's cache: as a binding, by HTTP, or neither. */
  AGENTCACHE_KV?: KVNamespace;
  AGENTCACHE_API_URL?: string;
  AGENTCACHE_API_KEY?: string;
  /** How long a client may be silent, in seconds. */
  STALL_SECONDS?: string;
}

/** Cloudflare takes bodies of 100 MB at most; the rest is room for what else grows. */
export const MAX_CHUNK_BYTES = 64 * 1024 * 1024;

const REQUIRED = ["EDGE_ID", "GATEWAY_URL", "STORAGE_URL", "VERIFYING_KEYS", "EDGE_SECRET"] as const;

/** The required settings that are missing. */
export function missingSettings(env: Environment): string[] {
  return REQUIRED.filter((name) => !env[name]);
}

/** Where the request was taken: Cloudflare's code of the location, or the edge's id where there is none. */
export function coloOf(request: Request, env: Environment): string {
  const colo = request.cf?.colo;
  return typeof colo === "string" && colo ? colo : env.EDGE_ID;
}
