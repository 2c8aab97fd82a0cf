-- Owner: usage-meter. Whether a scheduled run is due depends on the last one of any instance, not on a process's age.
CREATE TABLE reconciliation_run (
    is_only   BOOLEAN PRIMARY KEY DEFAULT true CHECK (is_only),
    ended_at  TIMESTAMPTZ NOT NULL
);
COMMENT ON TABLE reconciliation_run IS 'When a run of the scheduled reconciliation was last finished; no row before the first. Owner: usage-meter.';
GRANT SELECT, INSERT, UPDATE ON reconciliation_run TO jettythunder_usage_meter;
COMMENT ON COLUMN reconciliation_queue.is_changed IS 'Whether an hour was closed since the last look began, or that look failed.';
