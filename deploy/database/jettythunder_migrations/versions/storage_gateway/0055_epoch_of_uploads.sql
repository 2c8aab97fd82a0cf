-- Owner: storage-gateway. Requests, and chunks of uploads, are checked against the epoch of the account.
DROP FUNCTION authenticate(TEXT, TEXT);

-- One round trip: who is this, is the secret right, and is there room under the tier's rate limit.
-- The caller compares the digest again in constant time; only a right secret is counted.
CREATE FUNCTION authenticate(p_api_key TEXT, p_secret_digest TEXT)
RETURNS TABLE (
    account_id UUID, agentcache_user_ref TEXT, tier TEXT, status TEXT, epoch INTEGER, secret_digest TEXT,
    s3_prefix TEXT, jetty_speed_enabled BOOLEAN, storage_quota_gb INTEGER, bandwidth_quota_gb INTEGER,
    max_file_size_mb INTEGER, rate_limit_per_minute INTEGER, allowed BOOLEAN, remaining INTEGER,
    reset_seconds DOUBLE PRECISION)
LANGUAGE plpgsql AS $$
BEGIN
    SELECT k.* INTO account_id, agentcache_user_ref, tier, status, epoch, secret_digest, s3_prefix,
        jetty_speed_enabled, storage_quota_gb, bandwidth_quota_gb, max_file_size_mb, rate_limit_per_minute
    FROM account_of_key_v2(p_api_key) k;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF secret_digest = p_secret_digest THEN
        SELECT r.* INTO allowed, remaining, reset_seconds
        FROM take_request('account:' || account_id, rate_limit_per_minute, 60) r;
    END IF;
    RETURN NEXT;
END $$;

-- Keeps an upload that takes chunks from being closed until the transaction ends; false where it takes none. With an
-- epoch it takes none either where that is not the account's any more.
CREATE FUNCTION hold_receiving_upload(p_upload_id UUID, p_epoch INTEGER) RETURNS BOOLEAN
LANGUAGE plpgsql AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM uploads u JOIN agentcache_accounts a ON a.id = u.account_id
        WHERE u.id = p_upload_id AND upload_takes_chunks(u.status) AND a.suspended_at IS NULL
          AND coalesce(p_epoch, a.epoch) = a.epoch
        FOR SHARE OF u);
END $$;
DROP FUNCTION hold_receiving_upload_v1(UUID);

-- An account's upload, as far as one of its chunks depends on it; no row where the account has no such upload.
CREATE FUNCTION upload_of_chunk_v1(p_upload_id UUID, p_account_id UUID)
RETURNS TABLE (takes_chunks BOOLEAN, keeps_chunks BOOLEAN, epoch INTEGER, s3_key TEXT, s3_upload_id TEXT)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT upload_takes_chunks(u.status) AND a.suspended_at IS NULL,
        upload_is_open(u.status) OR u.status = 'completed', a.epoch, u.s3_key, u.s3_upload_id
    FROM uploads u JOIN agentcache_accounts a ON a.id = u.account_id
    WHERE u.id = p_upload_id AND u.account_id = p_account_id;
END $$;
COMMENT ON FUNCTION upload_of_chunk_v1 IS 'Owner: storage-gateway. Called by chunk-workers and edges before they store a chunk.';
REVOKE EXECUTE ON FUNCTION upload_of_chunk_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION upload_of_chunk_v1 TO jettythunder_chunk_worker;
REVOKE SELECT ON uploads FROM jettythunder_chunk_worker;
REVOKE SELECT (id, suspended_at) ON agentcache_accounts FROM jettythunder_chunk_worker;
