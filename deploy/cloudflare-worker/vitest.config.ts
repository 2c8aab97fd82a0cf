import { cloudflareTest } from "@cloudflare/vitest-pool-workers";
import { defineConfig } from "vitest/config";
import { outboundService } from "./test/outbound";

// The first private key of tests/vectors/edge_tokens.json signs, and these verify.
const VERIFYING_KEYS =
  "2026-11:KP_vVHu5MAPwo1y88ABdAPVzcEha0njkD_j-m6r4hXY,2026-05:OMXf8lp_j44QJl6BLf1iTRZM0sMnS_QxxCWVTYagYE0";

export default defineConfig({
  plugins: [
    cloudflareTest({
      wrangler: { configPath: "./wrangler.jsonc" },
      miniflare: {
        cf: false,
        outboundService,
        bindings: {
          EDGE_ID: "cloudflare-test",
          GATEWAY_URL: "https://gateway.test",
          STORAGE_URL: "https://storage.test",
          AGENTCACHE_API_URL: "https://agentcache.test/api",
          VERIFYING_KEYS,
          EDGE_SECRET: "test-secret",
          STALL_SECONDS: "1",
        },
        kvNamespaces: ["AGENTCACHE_KV"],
      },
    }),
  ],
});
