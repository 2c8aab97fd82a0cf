-- Owner: usage-meter. The ledger is divided by the month in which its entries occurred, hourly rows by that of their
-- hour. What is there becomes one partition as it is; its new keys are built here, while nobody writes.
DO $$
DECLARE
    cut TIMESTAMPTZ;
    next_id BIGINT;
BEGIN
    SELECT (date_trunc('month', greatest(now(), max(occurred_at)), 'UTC') AT TIME ZONE 'UTC' + interval '1 month')
        AT TIME ZONE 'UTC', coalesce(max(id), 0) + 1 INTO cut, next_id FROM usage_ledger;
    IF next_id > 1 THEN
        DROP TRIGGER usage_ledger_append_only ON usage_ledger;
        ALTER TABLE usage_ledger ALTER COLUMN id DROP IDENTITY;
        ALTER TABLE usage_ledger DROP CONSTRAINT usage_ledger_pkey;
        ALTER TABLE usage_ledger DROP CONSTRAINT usage_ledger_source_event_id_resource_key;
        ALTER TABLE usage_ledger RENAME TO usage_ledger_before;
        ALTER TABLE usage_ledger_before SET SCHEMA partitions;
        REVOKE ALL ON partitions.usage_ledger_before FROM jettythunder_usage_meter;
    ELSE
        DROP TABLE usage_ledger;
    END IF;

    CREATE TABLE usage_ledger (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        account_id UUID NOT NULL,
        resource TEXT NOT NULL CHECK (resource IN ('storage', 'bandwidth')),
        kind TEXT NOT NULL,
        used_delta_bytes BIGINT NOT NULL,
        reserved_delta_bytes BIGINT NOT NULL,
        request_count SMALLINT NOT NULL DEFAULT 0,
        source_event_id TEXT NOT NULL,
        reservation_id UUID,
        asset_id UUID,
        occurred_at TIMESTAMPTZ NOT NULL,
        recorded_at TIMESTAMPTZ NOT NULL DEFAULT now(),
        reason TEXT,
        author TEXT,
        CONSTRAINT usage_ledger_kind_check CHECK (kind IN ('reserved', 'settled', 'released', 'removed', 'adjustment')),
        CONSTRAINT usage_ledger_check CHECK (kind <> 'adjustment' OR (reason IS NOT NULL AND author IS NOT NULL)),
        PRIMARY KEY (id, occurred_at),
        UNIQUE (source_event_id, resource, occurred_at)
    ) PARTITION BY RANGE (occurred_at);
    CREATE INDEX usage_ledger_account_idx ON usage_ledger (account_id, occurred_at);
    CREATE INDEX usage_ledger_reconciled_idx ON usage_ledger (asset_id)
        WHERE kind = 'adjustment' AND asset_id IS NOT NULL;
    CREATE TABLE partitions.usage_ledger_other PARTITION OF usage_ledger DEFAULT;
    IF next_id > 1 THEN
        EXECUTE format('ALTER TABLE usage_ledger ATTACH PARTITION partitions.usage_ledger_before '
                       'FOR VALUES FROM (MINVALUE) TO (%L)', cut);
        EXECUTE format('ALTER TABLE usage_ledger ALTER COLUMN id RESTART WITH %s', next_id);
    END IF;
END $$;
COMMENT ON TABLE usage_ledger IS 'Append-only measured facts, one per source event, resource and time, by the month of that time. Owner: usage-meter.';
COMMENT ON COLUMN usage_ledger.asset_id IS 'The asset whose bytes these are: its storage entries add up to its size while it lives, and to 0 after.';
COMMENT ON COLUMN usage_ledger.occurred_at IS 'The event''s own time, never later than the booking; recorded_at is when it was booked.';
CREATE TRIGGER usage_ledger_append_only BEFORE DELETE OR UPDATE ON usage_ledger
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change();
GRANT SELECT, INSERT ON usage_ledger TO jettythunder_usage_meter;

DO $$
DECLARE
    cut TIMESTAMPTZ;
    next_id BIGINT;
BEGIN
    SELECT (date_trunc('month', greatest(now(), max(period_start)), 'UTC') AT TIME ZONE 'UTC' + interval '1 month')
        AT TIME ZONE 'UTC', coalesce(max(id), 0) + 1 INTO cut, next_id FROM storage_usage;
    IF next_id > 1 THEN
        DROP TRIGGER storage_usage_keep_closed_hour ON storage_usage;
        ALTER TABLE storage_usage ALTER COLUMN id DROP IDENTITY;
        ALTER TABLE storage_usage DROP CONSTRAINT storage_usage_pkey;
        ALTER TABLE storage_usage DROP CONSTRAINT storage_usage_account_id_period_start_key;
        DROP INDEX storage_usage_account_idx;
        ALTER TABLE storage_usage RENAME TO storage_usage_before;
        ALTER TABLE storage_usage_before SET SCHEMA partitions;
        REVOKE ALL ON partitions.storage_usage_before FROM jettythunder_usage_meter;
    ELSE
        DROP TABLE storage_usage;
    END IF;

    CREATE TABLE storage_usage (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        account_id UUID NOT NULL REFERENCES agentcache_accounts (id) ON DELETE CASCADE,
        storage_bytes BIGINT NOT NULL DEFAULT 0,
        storage_byte_seconds NUMERIC(38, 6) NOT NULL DEFAULT 0,
        bandwidth_bytes BIGINT NOT NULL DEFAULT 0,
        request_count BIGINT NOT NULL DEFAULT 0,
        period_start TIMESTAMPTZ NOT NULL,
        period_end TIMESTAMPTZ NOT NULL,
        storage_cost NUMERIC(10, 4) NOT NULL DEFAULT 0,
        bandwidth_cost NUMERIC(10, 4) NOT NULL DEFAULT 0,
        total_cost NUMERIC(10, 4) NOT NULL DEFAULT 0,
        revision INTEGER NOT NULL DEFAULT 1,
        closed_at TIMESTAMPTZ,
        recorded_at TIMESTAMPTZ NOT NULL DEFAULT now(),
        PRIMARY KEY (account_id, period_start)
    ) PARTITION BY RANGE (period_start);
    CREATE INDEX storage_usage_open_idx ON storage_usage (period_end) WHERE closed_at IS NULL;
    CREATE TABLE partitions.storage_usage_other PARTITION OF storage_usage DEFAULT;
    IF next_id > 1 THEN
        EXECUTE format('ALTER TABLE storage_usage ATTACH PARTITION partitions.storage_usage_before '
                       'FOR VALUES FROM (MINVALUE) TO (%L)', cut);
        EXECUTE format('ALTER TABLE storage_usage ALTER COLUMN id RESTART WITH %s', next_id);
    END IF;
END $$;
COMMENT ON TABLE storage_usage IS 'One row per account and hour (UTC) with activity, computed from usage_ledger: bytes stored at its end, bytes sent and requests in it. In hours without a row the bytes stored stay as they were. Owner: usage-meter.';
COMMENT ON COLUMN storage_usage.storage_byte_seconds IS 'Bytes stored, each for the time it was stored within the hour; 3600 make a byte-hour.';
COMMENT ON COLUMN storage_usage.revision IS 'Raised when a late event corrects an hour that was closed; storage_usage_history keeps what it said before.';
CREATE TRIGGER storage_usage_keep_closed_hour AFTER UPDATE ON storage_usage FOR EACH ROW
    WHEN (OLD.closed_at IS NOT NULL AND NEW.revision > OLD.revision) EXECUTE FUNCTION keep_closed_hour();
GRANT SELECT, INSERT, UPDATE ON storage_usage TO jettythunder_usage_meter;

CREATE FUNCTION keep_usage_v1() RETURNS VOID
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    -- Whoever waits for a lock on a table holds up those who come after.
    PERFORM set_config('lock_timeout', '2s', true);
    PERFORM pg_advisory_xact_lock(7305219, 61);
    PERFORM add_months('usage_ledger', 'occurred_at');
    PERFORM add_months('storage_usage', 'period_start');
END $$;
COMMENT ON FUNCTION keep_usage_v1 IS 'Owner: usage-meter, which calls it now and then: makes the partitions of the months to come.';
REVOKE EXECUTE ON FUNCTION keep_usage_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION keep_usage_v1 TO jettythunder_usage_meter;

-- What is due: accounts whose month is over, and those whose new one was begun by a reservation that could not say so.
CREATE INDEX account_usage_period_idx ON account_usage (period_end);
CREATE INDEX account_usage_restored_idx ON account_usage (account_id)
    WHERE bandwidth_exceeded AND bandwidth_level = 0;
