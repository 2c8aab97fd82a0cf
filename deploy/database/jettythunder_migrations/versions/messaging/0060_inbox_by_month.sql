-- Owner: the shared package. The inbox is divided by the month of its events' own time, which is the same at every
-- delivery, so one key still sees every repetition; what is too old goes with its partition.
CREATE SCHEMA partitions;
COMMENT ON SCHEMA partitions IS 'The parts of partitioned tables. Rights are those of the whole tables, so nobody has any here.';

CREATE FUNCTION partitions_of(p_table TEXT) RETURNS TABLE (name TEXT, starts_at TIMESTAMPTZ, ends_at TIMESTAMPTZ)
LANGUAGE sql STABLE AS $$
    SELECT c.relname::TEXT, b[1]::TIMESTAMPTZ, b[2]::TIMESTAMPTZ
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid),
                                    $x$FROM \((?:'([^']*)'|MINVALUE)\) TO \('([^']*)'\)$x$) AS b
    WHERE i.inhparent = ('public.' || quote_ident(p_table))::regclass AND b IS NOT NULL
$$;
COMMENT ON FUNCTION partitions_of IS 'The partitions of a table, without the one for all that fits no other. The first, of what was there before the table was divided, has no start.';

CREATE FUNCTION add_months(p_table TEXT, p_key TEXT) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE
    starts_at TIMESTAMPTZ;
    ends_at TIMESTAMPTZ;
    month TEXT;
BEGIN
    SELECT greatest(date_trunc('month', now(), 'UTC'), max(p.ends_at)) INTO starts_at FROM partitions_of(p_table) p;
    WHILE starts_at < now() + interval '2 months' LOOP
        ends_at := (starts_at AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC';
        month := p_table || to_char(starts_at AT TIME ZONE 'UTC', '_YYYY_MM');
        EXECUTE format('CREATE TABLE partitions.%I (LIKE public.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', month, p_table);
        -- What came before its month was made.
        EXECUTE format('WITH moved AS (DELETE FROM partitions.%1$I WHERE %2$I >= $1 AND %2$I < $2 RETURNING *) '
                       'INSERT INTO partitions.%3$I SELECT * FROM moved', p_table || '_other', p_key, month)
            USING starts_at, ends_at;
        EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION partitions.%I FOR VALUES FROM (%L) TO (%L)',
                       p_table, month, starts_at, ends_at);
        starts_at := ends_at;
    END LOOP;
END $$;
COMMENT ON FUNCTION add_months IS 'Makes the partitions of this month and the next two. The partition of all that fits no other is locked meanwhile; it is empty, or nearly so.';
REVOKE EXECUTE ON FUNCTION partitions_of, add_months FROM PUBLIC;

DO $$
BEGIN
    IF EXISTS (SELECT FROM inbox) THEN
        -- Of what was processed before, the events' time is not known: it has a partition of its own.
        ALTER TABLE inbox ADD COLUMN event_time TIMESTAMPTZ NOT NULL DEFAULT '-infinity';
        ALTER TABLE inbox ALTER COLUMN event_time DROP DEFAULT;
        ALTER TABLE inbox DROP CONSTRAINT inbox_pkey;
        ALTER TABLE inbox RENAME TO inbox_before;
        ALTER TABLE inbox_before SET SCHEMA partitions;
        REVOKE ALL ON partitions.inbox_before FROM jettythunder_provisioning, jettythunder_storage_gateway,
            jettythunder_chunk_worker, jettythunder_usage_meter, jettythunder_operations;
    ELSE
        DROP TABLE inbox;
    END IF;
END $$;

CREATE TABLE inbox (
    consumer TEXT NOT NULL,
    event_id UUID NOT NULL,
    processed_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    event_time TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (event_id, consumer, event_time)
) PARTITION BY RANGE (event_time);
COMMENT ON TABLE inbox IS 'Events a consumer has processed, by the month of their own time, kept for INBOX_KEEP_DAYS: the dedupe horizon is never shorter than the replay horizon.';
CREATE TABLE partitions.inbox_other PARTITION OF inbox DEFAULT;
DO $$
BEGIN
    IF to_regclass('partitions.inbox_before') IS NOT NULL THEN
        ALTER TABLE inbox ATTACH PARTITION partitions.inbox_before FOR VALUES FROM (MINVALUE) TO ('0001-01-01 00:00:00+00');
    END IF;
END $$;
GRANT SELECT, INSERT ON inbox TO jettythunder_provisioning, jettythunder_storage_gateway, jettythunder_chunk_worker,
    jettythunder_usage_meter;
GRANT SELECT ON inbox TO jettythunder_operations;

CREATE FUNCTION keep_inbox_v1(p_keep_days INTEGER) RETURNS INTEGER
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    oldest CONSTANT TIMESTAMPTZ := now() - make_interval(days => greatest(p_keep_days, 1));
    gone RECORD;
    dropped INTEGER := 0;
    horizon TIMESTAMPTZ;
BEGIN
    -- Whoever waits for a lock on a table holds up those who come after.
    PERFORM set_config('lock_timeout', '2s', true);
    PERFORM pg_advisory_xact_lock(7305219, 60);
    PERFORM add_months('inbox', 'event_time');
    FOR gone IN SELECT * FROM partitions_of('inbox') p WHERE p.starts_at IS NOT NULL AND p.ends_at <= oldest LOOP
        EXECUTE format('DROP TABLE partitions.%I', gone.name);
        dropped := dropped + 1;
        horizon := greatest(horizon, gone.ends_at);
    END LOOP;
    IF horizon IS NOT NULL THEN
        DELETE FROM partitions.inbox_other WHERE event_time < horizon;
        ALTER TABLE partitions.inbox_other DROP CONSTRAINT IF EXISTS inbox_horizon;
        EXECUTE format('ALTER TABLE partitions.inbox_other ADD CONSTRAINT inbox_horizon CHECK (event_time >= %L)', horizon);
    END IF;
    IF to_regclass('partitions.inbox_before') IS NOT NULL THEN
        IF NOT EXISTS (SELECT FROM partitions.inbox_before WHERE processed_at >= oldest) THEN
            DROP TABLE partitions.inbox_before;
            dropped := dropped + 1;
        END IF;
    END IF;
    RETURN dropped;
END $$;
COMMENT ON FUNCTION keep_inbox_v1 IS 'Called by each service that has an inbox, now and then: makes the partitions of the months to come and drops those of events so many days old; how many it dropped. From then on older events are refused.';
REVOKE EXECUTE ON FUNCTION keep_inbox_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION keep_inbox_v1 TO jettythunder_provisioning, jettythunder_storage_gateway,
    jettythunder_chunk_worker, jettythunder_usage_meter;
