-- Owner: the shared package's operations. What people did to events, and how far replays have come.

CREATE TABLE ops_audit (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    who         TEXT NOT NULL,
    began_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
    action      TEXT NOT NULL,
    filter      JSONB NOT NULL,
    result      JSONB,
    finished_at TIMESTAMPTZ
);
CREATE INDEX ops_audit_began_idx ON ops_audit (began_at);
COMMENT ON TABLE ops_audit IS 'Every operation that touches events: written before it begins, its result after. One without a result was cut off.';

CREATE TABLE replays (
    id             UUID PRIMARY KEY,
    audit_id       BIGINT NOT NULL REFERENCES ops_audit (id),
    consumer       TEXT NOT NULL,
    filter         JSONB NOT NULL,
    rate           DOUBLE PRECISION,
    next_offset    BIGINT,
    end_offset     BIGINT NOT NULL,
    read_count     BIGINT NOT NULL DEFAULT 0,
    replayed_count BIGINT NOT NULL DEFAULT 0,
    status         TEXT NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'interrupted', 'completed')),
    started_at     TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at     TIMESTAMPTZ NOT NULL DEFAULT now()
);
COMMENT ON TABLE replays IS 'Replays of the event log to one consumer. next_offset is where to go on after an interruption.';
COMMENT ON COLUMN replays.end_offset IS 'The end of the log when the replay was asked for: what came later reaches the consumer anyway.';
