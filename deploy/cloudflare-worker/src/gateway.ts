/** The gateway's calls for Workers: where a chunk goes, that it is stored, and who may read an asset. */

import type { Environment } from "./environment";
import { Problem, Refusal } from "./problems";

const ANSWER_MILLISECONDS = 10_000;
const ATTEMPTS = 3;
const PAUSE_MILLISECONDS = 200;

/** A chunk that the object storage has; `md5` is hexadecimal. */
export interface StoredChunk {
  number: number;
  size_bytes: number;
  md5: string;
  etag: string;
  edge: string;
}

/** A read that may be served: the head of its answer, and where its bytes are. */
export interface OpenedRead {
  read_id: string | null;
  account_id: string;
  status: number;
  headers: Record<string, string>;
  range: { start: number; end: number } | null;
  size_bytes: number;
  etag: string;
  source_url: string | null;
}

export class Gateway {
  constructor(
    private readonly env: Environment,
    private readonly correlationId: string,
  ) {}

  /** Where a chunk goes, or what it is stored as already. */
  async begin(token: string, md5: string): Promise<{ stored: StoredChunk } | { part_url: string }> {
    return (await this.call("/chunks", { token, md5 })).json();
  }

  /** Have a chunk recorded that the object storage acknowledged. */
  async stored(token: string, md5: string, etag: string): Promise<StoredChunk> {
    const body = { token, md5, etag, edge: this.env.EDGE_ID };
    return (await (await this.call("/chunks/stored", body)).json<{ stored: StoredChunk }>()).stored;
  }

  /** Say that a chunk was not stored, so that the account may send another one. */
  async failed(token: string): Promise<void> {
    await this.call("/chunks/failed", { token });
  }

  /** Ask whether the bearer of a link may read; bandwidth is held for it. */
  async open(link: Record<string, unknown>): Promise<OpenedRead> {
    return (await this.call("/reads", link, 1)).json();
  }

  /** Have the bytes counted that a read has sent. */
  async sent(read: OpenedRead, assetId: string, sentBytes: number): Promise<void> {
    const body = { account_id: read.account_id, asset_id: assetId, sent_bytes: sentBytes };
    await this.call(`/reads/${read.read_id}/sent`, body);
  }

  /** One call, repeated where the gateway does not answer; all of them are safe to repeat. */
  private async call(path: string, body: unknown, attempts = ATTEMPTS): Promise<Response> {
    for (let attempt = 1; ; attempt++) {
      const response = await this.once(path, body).catch(() => undefined);
      if (response?.ok) return response;
      if (response !== undefined && response.status < 500 && response.status !== 401) {
        throw new Refusal(response);
      }
      // Another edge may have room now, so it is not waited for here.
      if (response?.status === 503 && (await codeOf(response)) === "edge_busy") throw new Refusal(response);
      if (response?.status === 401) {
        console.error("the gateway refuses EDGE_SECRET");
        throw new Problem("configuration_error", "The gateway refuses this edge's secret.");
      }
      if (attempt >= attempts) {
        throw isProblem(response) ? new Refusal(response) : new Problem("gateway_unavailable");
      }
      await response?.body?.cancel();
      await scheduler.wait(PAUSE_MILLISECONDS * attempt);
    }
  }

  private once(path: string, body: unknown): Promise<Response> {
    return fetch(`${this.env.GATEWAY_URL.replace(/\/$/, "")}/api/edges${path}`, {
      method: "POST",
      headers: {
        Authorization: `Bearer ${this.env.EDGE_SECRET}`,
        "Content-Type": "application/json",
        "X-Correlation-ID": this.correlationId,
      },
      body: JSON.stringify(body),
      redirect: "manual",
      signal: AbortSignal.timeout(ANSWER_MILLISECONDS),
    });
  }
}

async function codeOf(response: Response): Promise<unknown> {
  if (!isProblem(response)) return undefined;
  const problem = await response.clone().json<{ code?: unknown }>();
  return problem.code;
}

function isProblem(response: Response | undefined): response is Response {
  return response?.headers.get("Content-Type") === "application/problem+json";
}
