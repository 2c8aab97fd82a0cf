-- Owner: the shared package. A row that is on its way into the partition of all that fits no other, when that of its
-- month is attached, is refused by PostgreSQL: it must not be under way then.
CREATE OR REPLACE FUNCTION add_months(p_table TEXT, p_key TEXT) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE
    starts_at TIMESTAMPTZ;
    ends_at TIMESTAMPTZ;
    month TEXT;
BEGIN
    SELECT greatest(date_trunc('month', now(), 'UTC'), max(p.ends_at)) INTO starts_at FROM partitions_of(p_table) p;
    WHILE starts_at < now() + interval '2 months' LOOP
        ends_at := (starts_at AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC';
        month := p_table || to_char(starts_at AT TIME ZONE 'UTC', '_YYYY_MM');
        IF starts_at <= now() THEN
            EXECUTE format('LOCK TABLE ONLY public.%I IN ACCESS EXCLUSIVE MODE', p_table);
        END IF;
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
COMMENT ON FUNCTION add_months IS 'Makes the partitions of this month and the next two. The partition of all that fits no other is locked meanwhile; it is empty, or nearly so. The whole table is locked where this month has none yet.';
