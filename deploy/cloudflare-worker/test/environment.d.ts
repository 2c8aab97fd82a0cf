import type { Environment } from "../src/environment";

declare global {
  namespace Cloudflare {
    interface Env extends Environment {
      AGENTCACHE_KV: KVNamespace;
    }
    interface GlobalProps {
      mainModule: typeof import("../src/index");
    }
  }
}
