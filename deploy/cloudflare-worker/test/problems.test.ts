import { expect, it } from "vitest";
import vectors from "../../../tests/vectors/edge_problems.json";
import { PROBLEMS } from "../src/problems";

const { gateway_unavailable: ofWorkersAlone, ...shared } = PROBLEMS;

it("answers with the codes, statuses and titles of the Python edge", () => {
  const expected = Object.fromEntries(
    vectors.problems.map(({ code, status, retryable, title }) => [code, [status, retryable, title]]),
  );
  expect(shared).toEqual(expected);
  expect(ofWorkersAlone[0]).toBe(503);
});
