/** Errors as answers: RFC 9457 problem+json with the stable codes of the API (docs/errors.md). */

/** tests/vectors/edge_problems.json holds both kinds of edge to these. */
export const PROBLEMS = {
  account_suspended: [403, false, "The account is suspended."],
  checksum_mismatch: [
    422,
    true,
    "The bytes of the chunk do not have the announced checksum. Send the chunk again.",
  ],
  configuration_error: [
    500,
    false,
    "A setting of the service does not fit the servers or services that it works with.",
  ],
  gateway_unavailable: [
    503,
    true,
    "The gateway can't be reached from this edge. Try again shortly, or another edge now.",
  ],
  internal_error: [
    500,
    true,
    "Something went wrong on our side. Try again; if it fails again, tell us the correlation id.",
  ],
  invalid_field: [422, false, "A field of the request has a value that is not allowed."],
  link_expired: [403, false, "The link has expired. Ask for a new one."],
  link_invalid: [403, false, "The link's signature does not match what it points to."],
  method_not_allowed: [
    405,
    false,
    "This address does not take the method; the Allow header lists those that it takes.",
  ],
  not_found: [404, false, "There is nothing here under this name."],
  payload_too_large: [413, false, "The body is larger than this call takes."],
  storage_unavailable: [
    503,
    true,
    "The object storage did not take or give the bytes. Nothing was stored; the call is safe to repeat.",
  ],
  truncated_body: [400, true, "The body ended before it was complete. Nothing was stored; send it again."],
  unauthenticated: [401, false, "The credentials are missing or wrong."],
  upload_not_open: [409, false, "The upload is closed: it was completed, aborted or has expired."],
  upload_timed_out: [
    408,
    true,
    "No bytes arrived for too long, so the upload was given up. Nothing was stored; send it again.",
  ],
} as const satisfies Record<string, [status: number, retryable: boolean, title: string]>;

export type Code = keyof typeof PROBLEMS;

/** What was refused, and why. */
export class Problem extends Error {
  constructor(
    readonly code: Code,
    detail?: string,
    readonly headers: Record<string, string> = {},
  ) {
    super(detail ?? PROBLEMS[code][2]);
  }

  answer(correlationId: string): Response {
    const [status, retryable, title] = PROBLEMS[this.code];
    const headers = new Headers({ "Content-Type": "application/problem+json", ...this.headers });
    if (status === 503) headers.set("Retry-After", "1");
    if (status === 401) headers.set("WWW-Authenticate", "Bearer");
    const body = {
      type: `urn:jettythunder:error:${this.code}`,
      title,
      status,
      detail: this.message,
      code: this.code,
      retryable,
      success: false,
      correlation_id: correlationId,
    };
    return Response.json(body, { status, headers });
  }
}

/** An answer of the gateway that is handed on as it is. */
export class Refusal extends Error {
  constructor(readonly response: Response) {
    super(`the gateway answered ${response.status}`);
  }
}
