-- Chunks on the way over Workers. A Worker is many isolates that know nothing of each other, and asks any gateway.
-- Unlogged: after a crash of the database nothing counts as on the way, which lets a few chunks more pass.
CREATE UNLOGGED TABLE chunks_under_way (
    account_id UUID NOT NULL,
    upload_id  UUID NOT NULL,
    number     INTEGER NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (account_id, upload_id, number)
);
CREATE INDEX chunks_under_way_expires_idx ON chunks_under_way (expires_at);
COMMENT ON TABLE chunks_under_way IS 'Chunks that Workers are storing, until they are recorded, failed or expired. Owner: storage-gateway.';
GRANT SELECT, INSERT, UPDATE, DELETE ON chunks_under_way TO jettythunder_storage_gateway;

-- Notes that a chunk is on the way; false where its account has as many as it may have. A chunk that is sent again
-- before it has expired takes no second place, so a client that was cut off can go on.
CREATE FUNCTION begin_chunk(p_account_id UUID, p_upload_id UUID, p_number INTEGER, p_limit INTEGER,
                            p_seconds DOUBLE PRECISION) RETURNS BOOLEAN
LANGUAGE plpgsql AS $$
BEGIN
    -- One at a time for each account, or two would both see the last free place.
    PERFORM pg_advisory_xact_lock(hashtextextended('chunks_under_way:' || p_account_id, 0));
    DELETE FROM chunks_under_way WHERE ctid IN (
        SELECT ctid FROM chunks_under_way WHERE expires_at < now() LIMIT 100 FOR UPDATE SKIP LOCKED);
    INSERT INTO chunks_under_way
    SELECT p_account_id, p_upload_id, p_number, now() + make_interval(secs => p_seconds)
    WHERE p_limit > (
        SELECT count(*) FROM chunks_under_way c
        WHERE c.account_id = p_account_id AND (c.upload_id, c.number) <> (p_upload_id, p_number)
          AND c.expires_at >= now())
    ON CONFLICT (account_id, upload_id, number) DO UPDATE SET expires_at = excluded.expires_at;
    RETURN FOUND;
END $$;
