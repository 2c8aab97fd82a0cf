/** Edge tokens: what lets a client send one chunk of one upload, until it expires. */

import { Problem } from "./problems";
import { decoded, EDGE_CHUNK, STREAM_LINK, type VerifyingKeys } from "./signatures";

const LONGEST = 4096;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** What a token says, as far as an edge without a database needs it. */
export interface EdgeToken {
  upload: string;
  number: number;
  size: number;
  expires: number;
}

/** Check a token's signature and expiry, and say what it allows; throws link_invalid, link_expired. */
export async function readToken(
  keys: VerifyingKeys,
  token: string,
  now = Date.now() / 1000,
): Promise<EdgeToken> {
  if (token.length > LONGEST) throw new Problem("link_invalid");
  const [payload, signature] = split(token);
  await keys.check(EDGE_CHUNK, payload, signature);
  const claims = parsed(payload);
  if (claims === undefined) throw new Problem("link_invalid");
  if (claims.expires < now) throw new Problem("link_expired");
  return claims;
}

/** Check a signed link to a stream; throws link_invalid, link_expired. */
export async function checkLink(
  keys: VerifyingKeys,
  link: { assetId: string; epoch: string; expiresAt: string; signature: string },
  now = Date.now() / 1000,
): Promise<void> {
  if (!isWhole(link.epoch) || !isWhole(link.expiresAt)) throw new Problem("link_invalid");
  await keys.check(STREAM_LINK, `${link.assetId}\n${link.epoch}\n${link.expiresAt}`, link.signature);
  if (Number(link.expiresAt) < now) throw new Problem("link_expired");
}

function split(token: string): [string, string] {
  const dot = token.indexOf(".");
  return dot < 0 ? [token, ""] : [token.slice(0, dot), token.slice(dot + 1)];
}

function parsed(payload: string): EdgeToken | undefined {
  try {
    const raw = decoded(payload);
    const claims: unknown = JSON.parse(
      new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(raw),
    );
    return isToken(claims) ? claims : undefined;
  } catch {
    return undefined;
  }
}

function isToken(claims: unknown): claims is EdgeToken {
  if (typeof claims !== "object" || claims === null) return false;
  const given = claims as Record<string, unknown>;
  return (
    ["account", "upload"].every((name) => typeof given[name] === "string" && UUID.test(given[name])) &&
    ["number", "size", "epoch", "expires"].every((name) => Number.isSafeInteger(given[name])) &&
    ["bucket", "key", "multipart"].every((name) => typeof given[name] === "string")
  );
}

function isWhole(given: string): boolean {
  return /^(0|-?[1-9][0-9]{0,15})$/.test(given);
}
