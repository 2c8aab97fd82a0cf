-- Owner: usage-meter. The scheduled reconciliation looks at what changed or drifts, and at a part of all accounts.
-- An account that is gone may still have a folder that drifts, so the ids refer to no account.
CREATE TABLE reconciliation_queue (
    account_id  UUID PRIMARY KEY,
    is_changed  BOOLEAN NOT NULL,
    drift_bytes BIGINT NOT NULL DEFAULT 0 CHECK (drift_bytes >= 0)
);
CREATE INDEX reconciliation_queue_drift_idx ON reconciliation_queue (account_id) INCLUDE (drift_bytes)
    WHERE drift_bytes <> 0;
COMMENT ON TABLE reconciliation_queue IS 'Accounts, and folders of accounts that are gone, that the scheduled reconciliation looks at: their usage changed, or the last look found something. Owner: usage-meter.';
COMMENT ON COLUMN reconciliation_queue.is_changed IS 'Whether an hour was closed since the last look began.';
COMMENT ON COLUMN reconciliation_queue.drift_bytes IS 'What the last look found and nobody has mended since.';
GRANT SELECT, INSERT, UPDATE, DELETE ON reconciliation_queue TO jettythunder_usage_meter;

CREATE TABLE reconciliation_round (
    is_only           BOOLEAN PRIMARY KEY DEFAULT true CHECK (is_only),
    began_at          TIMESTAMPTZ NOT NULL DEFAULT now(),
    after_account_id  UUID,
    account_count     BIGINT NOT NULL DEFAULT 0
);
COMMENT ON TABLE reconciliation_round IS 'How far the scheduled reconciliation has come with all accounts, in the order of their ids; no row between two rounds. Owner: usage-meter.';
COMMENT ON COLUMN reconciliation_round.account_count IS 'How many accounts it has looked at.';
GRANT SELECT, INSERT, UPDATE, DELETE ON reconciliation_round TO jettythunder_usage_meter;
