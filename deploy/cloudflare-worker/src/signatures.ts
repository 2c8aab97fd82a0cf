/** Ed25519 signatures of edge tokens and stream links, as docs/jettyspeed.md describes them. */

import { Problem } from "./problems";

export const EDGE_CHUNK = "edge-chunk";
export const STREAM_LINK = "stream-link";

const KEY_ID = /^[A-Za-z0-9_-]{1,32}$/;
const KEY_BYTES = 32;
const SIGNATURE_BYTES = 64;
const ASCII = /^[\0-\x7f]*$/;

const text = new TextEncoder();

/** Public keys by their ids. They check signatures, and make none. */
export class VerifyingKeys {
  private constructor(private readonly keys: ReadonlyMap<string, CryptoKey>) {}

  /** The keys in `kid:key[,…]`; throws where the text has another form, or names a key twice. */
  static async parse(given: string): Promise<VerifyingKeys> {
    const keys = new Map<string, CryptoKey>();
    for (const item of given.split(",")) {
      const [kid = "", key = ""] = item.trim().split(":", 2);
      const raw = decoded(key);
      if (!KEY_ID.test(kid) || raw?.byteLength !== KEY_BYTES || keys.has(kid)) {
        throw new Problem("configuration_error", "VERIFYING_KEYS takes kid:key, each kid once.");
      }
      keys.set(kid, await crypto.subtle.importKey("raw", raw, "Ed25519", false, ["verify"]));
    }
    return new VerifyingKeys(keys);
  }

  /** Check the signature of a text made for a purpose; throws link_invalid. */
  async check(purpose: string, signed: string, signature: string): Promise<void> {
    const [kid = "", encoded = "", ...more] = signature.split(".");
    const key = this.keys.get(kid);
    const raw = decoded(encoded);
    if (key === undefined || raw?.byteLength !== SIGNATURE_BYTES || more.length || !ASCII.test(signed)) {
      throw new Problem("link_invalid");
    }
    const message = text.encode(`jettythunder/${purpose}/v1\n${signed}`);
    if (!(await crypto.subtle.verify("Ed25519", key, raw, message))) throw new Problem("link_invalid");
  }
}

/** The bytes of base64url without padding in its one canonical spelling; undefined for any other text. */
export function decoded(given: string): Uint8Array<ArrayBuffer> | undefined {
  if (!/^[A-Za-z0-9_-]*$/.test(given)) return undefined;
  try {
    const binary = atob(given.replaceAll("-", "+").replaceAll("_", "/"));
    const raw = Uint8Array.from(binary, (letter) => letter.charCodeAt(0));
    const again = btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
    return again === given ? raw : undefined;
  } catch {
    return undefined;
  }
}
