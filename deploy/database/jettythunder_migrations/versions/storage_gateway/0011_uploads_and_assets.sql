-- Owner: storage-gateway. The states of an upload, assets whose hash is verified, and the gateway's own rights.

-- The states in which an upload is open. The same as uploads/model.py says; a test compares them.
CREATE FUNCTION upload_is_open(status TEXT) RETURNS BOOLEAN LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT status IN ('created', 'receiving', 'completing')
$$;
-- Whether an upload takes chunks: it is open, and nobody is joining its chunks.
CREATE FUNCTION upload_takes_chunks(status TEXT) RETURNS BOOLEAN LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT upload_is_open(status) AND status <> 'completing'
$$;

-- The object storage has nothing of a multipart upload that was joined.
UPDATE uploads SET s3_upload_id = NULL
WHERE status = 'completed' AND asset_id = id AND s3_upload_id IS NOT NULL;
-- What may be left of the others is removed by the next housekeeping.
UPDATE uploads SET expires_at = now() WHERE s3_upload_id IS NOT NULL AND NOT upload_is_open(status);
DROP INDEX uploads_open_idx;
CREATE INDEX uploads_open_idx ON uploads (expires_at) WHERE upload_is_open(status);
CREATE INDEX uploads_leftover_idx ON uploads (updated_at) WHERE s3_upload_id IS NOT NULL AND NOT upload_is_open(status);
COMMENT ON COLUMN uploads.s3_upload_id IS 'The multipart upload in S3 while it may hold parts: Lyve lists no active ones, so this is the only trace.';

-- A hash that the client claimed is verified when it matters. Only a verified one finds duplicates.
ALTER TABLE agentcache_assets
    ADD COLUMN content_hash_verified BOOLEAN NOT NULL DEFAULT false,
    ADD COLUMN serves_duplicates BOOLEAN NOT NULL DEFAULT false,
    ADD CONSTRAINT agentcache_assets_serves_duplicates_check CHECK (content_hash_verified OR NOT serves_duplicates);
UPDATE agentcache_assets SET content_hash_verified = true, serves_duplicates = true WHERE uploaded_via = 'api';
ALTER TABLE agentcache_assets DROP CONSTRAINT agentcache_assets_account_id_content_hash_key;
CREATE UNIQUE INDEX agentcache_assets_duplicates_idx ON agentcache_assets (account_id, content_hash)
    WHERE serves_duplicates;
CREATE INDEX agentcache_assets_unverified_idx ON agentcache_assets (created_at) WHERE NOT content_hash_verified;
COMMENT ON TABLE agentcache_assets IS 'Immutable stored results. Owner: storage-gateway.';
COMMENT ON COLUMN agentcache_assets.content_hash IS 'SHA-256 of the bytes: computed by us where content_hash_verified, else as the client claims.';
COMMENT ON COLUMN agentcache_assets.serves_duplicates IS 'Whether uploads of the same bytes are answered with this asset: one of an account''s assets with a hash.';

ALTER TABLE object_deletions ADD COLUMN not_before TIMESTAMPTZ NOT NULL DEFAULT now();
CREATE INDEX object_deletions_due_idx ON object_deletions (not_before);
COMMENT ON COLUMN object_deletions.not_before IS 'When to delete it next: a failed attempt moves it on, so one that always fails delays no other.';

-- One round trip: who is this, is the secret right, and is there room under the tier's rate limit.
-- The caller compares the digest again in constant time; only a right secret is counted.
CREATE FUNCTION authenticate(p_api_key TEXT, p_secret_digest TEXT)
RETURNS TABLE (
    account_id UUID, agentcache_user_ref TEXT, tier TEXT, status TEXT, secret_digest TEXT, s3_prefix TEXT,
    jetty_speed_enabled BOOLEAN, storage_quota_gb INTEGER, bandwidth_quota_gb INTEGER, max_file_size_mb INTEGER,
    rate_limit_per_minute INTEGER, allowed BOOLEAN, remaining INTEGER, reset_seconds DOUBLE PRECISION)
LANGUAGE plpgsql AS $$
BEGIN
    SELECT k.* INTO account_id, agentcache_user_ref, tier, status, secret_digest, s3_prefix, jetty_speed_enabled,
        storage_quota_gb, bandwidth_quota_gb, max_file_size_mb, rate_limit_per_minute
    FROM account_of_key_v1(p_api_key) k;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF secret_digest = p_secret_digest THEN
        SELECT r.* INTO allowed, remaining, reset_seconds
        FROM take_request('account:' || account_id, rate_limit_per_minute, 60) r;
    END IF;
    RETURN NEXT;
END $$;

-- Asks for the deletion of objects that nothing accounts for.
CREATE FUNCTION request_object_deletions_v1(p_s3_bucket TEXT, p_s3_keys TEXT[]) RETURNS VOID
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO object_deletions (s3_bucket, s3_key) SELECT p_s3_bucket, unnest(p_s3_keys) ON CONFLICT DO NOTHING
$$;
COMMENT ON FUNCTION request_object_deletions_v1 IS 'Owner: storage-gateway. Called by the usage-meter''s reconciliation.';

-- Keeps an upload that takes chunks from being closed until the transaction ends; false where it takes none.
-- In PL/pgSQL, which keeps its plan: PostgreSQL before 18 plans an SQL function anew in each statement.
CREATE FUNCTION hold_receiving_upload_v1(p_upload_id UUID) RETURNS BOOLEAN
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM uploads WHERE id = p_upload_id AND upload_takes_chunks(status) FOR SHARE);
END $$;
COMMENT ON FUNCTION hold_receiving_upload_v1 IS 'Owner: storage-gateway. Called by chunk-workers in the statement that records a chunk.';
REVOKE EXECUTE ON FUNCTION request_object_deletions_v1, hold_receiving_upload_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION request_object_deletions_v1 TO jettythunder_usage_meter;
GRANT EXECUTE ON FUNCTION hold_receiving_upload_v1 TO jettythunder_chunk_worker;

GRANT SELECT, INSERT, UPDATE, DELETE ON uploads, agentcache_assets, asset_cache_keys, object_deletions, rate_limits
    TO jettythunder_storage_gateway;
GRANT SELECT ON uploads TO jettythunder_chunk_worker;
GRANT SELECT ON uploads, agentcache_assets, object_deletions TO jettythunder_usage_meter;
