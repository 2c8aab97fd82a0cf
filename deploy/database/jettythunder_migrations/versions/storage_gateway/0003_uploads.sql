-- Owners: storage-gateway (uploads, assets), chunk-worker (upload_chunks).

CREATE TABLE uploads (
    id                UUID PRIMARY KEY,
    account_id        UUID NOT NULL REFERENCES agentcache_accounts (id) ON DELETE CASCADE,
    kind              TEXT NOT NULL CHECK (kind IN ('form', 'session')),
    status            TEXT NOT NULL DEFAULT 'receiving'
                      CHECK (status IN ('created', 'receiving', 'completing', 'completed', 'aborted', 'expired')),
    filename          TEXT NOT NULL,
    content_type      TEXT NOT NULL,
    s3_bucket         TEXT NOT NULL,
    s3_key            TEXT NOT NULL,
    s3_upload_id      TEXT,
    size_bytes        BIGINT,
    chunk_size_bytes  BIGINT,
    content_hash      TEXT,
    cache_key         TEXT,
    agentcache_pipeline_id UUID,
    asset_expires_at  TIMESTAMPTZ,
    asset_id          UUID,
    failure_code      TEXT,
    correlation_id    TEXT NOT NULL,
    expires_at        TIMESTAMPTZ NOT NULL,
    created_at        TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at        TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX uploads_open_idx ON uploads (expires_at) WHERE status IN ('created', 'receiving', 'completing');
CREATE INDEX uploads_account_idx ON uploads (account_id, created_at);
COMMENT ON TABLE uploads IS 'Attempts: created, receiving, completing, then completed, aborted or expired. An open one past expires_at is aborted by housekeeping, in S3 too: Lyve does not list active multipart uploads, so s3_upload_id here is the only trace. Owner: storage-gateway.';

CREATE TABLE upload_chunks (
    upload_id   UUID NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
    number      INTEGER NOT NULL CHECK (number BETWEEN 1 AND 10000),
    size_bytes  BIGINT NOT NULL,
    md5         TEXT NOT NULL,
    etag        TEXT NOT NULL,
    edge        TEXT NOT NULL,
    uploaded_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (upload_id, number)
);
COMMENT ON TABLE upload_chunks IS 'Parts that Lyve has acknowledged. Owner: chunk-worker.';

CREATE TABLE agentcache_assets (
    id                     UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    account_id             UUID NOT NULL REFERENCES agentcache_accounts (id) ON DELETE CASCADE,
    s3_key                 TEXT NOT NULL,
    s3_bucket              TEXT NOT NULL,
    filename               TEXT NOT NULL,
    content_type           TEXT NOT NULL,
    size_bytes             BIGINT NOT NULL,
    content_hash           TEXT NOT NULL,
    cache_key              TEXT,
    agentcache_pipeline_id UUID,
    hit_count              BIGINT NOT NULL DEFAULT 0,
    last_accessed          TIMESTAMPTZ,
    expires_at             TIMESTAMPTZ,
    uploaded_via           TEXT NOT NULL DEFAULT 'api',
    upload_speed_mbps      DECIMAL(10, 2),
    created_at             TIMESTAMPTZ NOT NULL DEFAULT now(),
    UNIQUE (account_id, content_hash)
);
CREATE INDEX agentcache_assets_account_idx ON agentcache_assets (account_id, created_at DESC, id DESC);
CREATE INDEX agentcache_assets_hash_idx ON agentcache_assets (content_hash);
CREATE INDEX agentcache_assets_cache_key_idx ON agentcache_assets (cache_key);
CREATE INDEX agentcache_assets_expiry_idx ON agentcache_assets (expires_at) WHERE expires_at IS NOT NULL;
COMMENT ON TABLE agentcache_assets IS 'Immutable stored results. content_hash is the SHA-256 of the bytes, unique per account: tenants must not learn of each other''s content. Owner: storage-gateway.';

CREATE TABLE asset_cache_keys (
    account_id UUID NOT NULL REFERENCES agentcache_accounts (id) ON DELETE CASCADE,
    cache_key  TEXT NOT NULL,
    asset_id   UUID NOT NULL REFERENCES agentcache_assets (id) ON DELETE CASCADE,
    PRIMARY KEY (account_id, cache_key)
);
CREATE INDEX asset_cache_keys_asset_idx ON asset_cache_keys (asset_id);
COMMENT ON TABLE asset_cache_keys IS 'What a cache key names now: the newest upload under it wins, and one asset may have several keys, since equal bytes are stored once. Owner: storage-gateway.';

CREATE TABLE object_deletions (
    s3_bucket    TEXT NOT NULL,
    s3_key       TEXT NOT NULL,
    requested_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (s3_bucket, s3_key)
);
COMMENT ON TABLE object_deletions IS 'Objects whose row is gone and whose bytes must follow: written in the deleting transaction, worked off after it and by housekeeping. Owner: storage-gateway.';
