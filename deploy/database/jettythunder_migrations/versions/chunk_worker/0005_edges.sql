-- Owner: chunk-worker. The places that take chunks.

CREATE TABLE edges (
    id              TEXT PRIMARY KEY,
    region          TEXT NOT NULL,
    url             TEXT NOT NULL,
    in_flight_bytes BIGINT NOT NULL DEFAULT 0,
    capacity_bytes  BIGINT NOT NULL,
    started_at      TIMESTAMPTZ NOT NULL DEFAULT now(),
    last_seen_at    TIMESTAMPTZ NOT NULL DEFAULT now()
);
COMMENT ON TABLE edges IS 'Chunk-workers with an HTTP ingest. Each says every five seconds that it is there; one that was silent for fifteen is gone. Owner: chunk-worker.';
