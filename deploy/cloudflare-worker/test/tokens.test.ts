import { describe, expect, it } from "vitest";
import vectors from "../../../tests/vectors/edge_tokens.json";
import { VerifyingKeys } from "../src/signatures";
import { checkLink, readToken } from "../src/tokens";

const keys = await VerifyingKeys.parse(vectors.verifying_keys);

describe("edge tokens", () => {
  it.each(vectors.edge_tokens.valid)("$name", async ({ token, claims }) => {
    const { upload, number, size, expires } = claims;
    expect(await readToken(keys, token)).toMatchObject({ upload, number, size, expires });
  });

  it.each(vectors.edge_tokens.expired)("$name: expired", async ({ token }) => {
    await expect(readToken(keys, token)).rejects.toMatchObject({ code: "link_expired" });
  });

  it.each(vectors.edge_tokens.invalid)("$name: refused", async ({ token }) => {
    await expect(readToken(keys, token)).rejects.toMatchObject({ code: "link_invalid" });
  });

  it("refuses what is longer than any of ours", async () => {
    await expect(readToken(keys, "x".repeat(5000))).rejects.toMatchObject({ code: "link_invalid" });
  });
});

describe("links to streams", () => {
  const check = (link: { asset_id: string; epoch: number; expires_at: number; signature: string }) =>
    checkLink(keys, {
      assetId: link.asset_id,
      epoch: String(link.epoch),
      expiresAt: String(link.expires_at),
      signature: link.signature,
    });

  it.each(vectors.stream_links.valid)("$name", async (link) => {
    await check(link);
  });

  it.each(vectors.stream_links.expired)("$name: expired", async (link) => {
    await expect(check(link)).rejects.toMatchObject({ code: "link_expired" });
  });

  it.each(vectors.stream_links.invalid)("$name: refused", async (link) => {
    await expect(check(link)).rejects.toMatchObject({ code: "link_invalid" });
  });
});

describe("keys", () => {
  it.each([
    "",
    "kid",
    "kid:",
    "kid:AAAA",
    `a b:${"A".repeat(43)}`,
    `k:${"A".repeat(43)},k:${"A".repeat(43)}`,
  ])("refuses %j", async (given) => {
    await expect(VerifyingKeys.parse(given)).rejects.toMatchObject({ code: "configuration_error" });
  });
});
