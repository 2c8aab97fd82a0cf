-- name: authenticate(api_key, secret_digest)^
-- The account of an API key, with its limits, counting the request where the secret is right.
SELECT * FROM authenticate(:api_key, :secret_digest);

-- name: take_request(subject, request_limit, window_seconds)^
-- Counts a request of what has no account.
SELECT * FROM take_request(:subject, :request_limit, :window_seconds);

-- name: create_upload(upload_id, account_id, kind, status, filename, content_type, s3_bucket, s3_key, size_bytes, chunk_size_bytes, content_hash, cache_key, pipeline_id, asset_expires_at, correlation_id, reserve_bytes, expires_at, lanes, exchanges, routing_keys, event_ids, bodies)^
-- Reserves storage, and creates the upload and its event where that was granted: all or nothing.
WITH room AS MATERIALIZED (
    SELECT * FROM reserve_storage(:account_id, :upload_id, :reserve_bytes, :expires_at)
), created AS (
    INSERT INTO uploads (id, account_id, kind, status, filename, content_type, s3_bucket, s3_key, size_bytes,
                         chunk_size_bytes, content_hash, cache_key, agentcache_pipeline_id, asset_expires_at,
                         correlation_id, expires_at)
    SELECT :upload_id, :account_id, :kind, :status, :filename, :content_type, :s3_bucket, :s3_key, :size_bytes,
           :chunk_size_bytes, :content_hash, :cache_key, :pipeline_id, :asset_expires_at,
           :correlation_id, :expires_at
    FROM room WHERE granted
    RETURNING id
), told AS (
    INSERT INTO outbox (lane, exchange, routing_key, event_id, body)
    SELECT told.* FROM created, unnest(:lanes::smallint[], :exchanges::text[], :routing_keys::text[],
                                       :event_ids::uuid[], :bodies::text[]) AS told
)
SELECT * FROM room;

-- name: grow_reservation(account_id, upload_id, more_bytes, expires_at)^
-- More room for an upload of unknown length.
SELECT * FROM reserve_storage(:account_id, :upload_id, :more_bytes, :expires_at);

-- name: set_multipart(upload_id, s3_upload_id)!
-- Notes the multipart upload in S3 as soon as it exists: this row is the only way to find it again.
UPDATE uploads SET s3_upload_id = :s3_upload_id, updated_at = now() WHERE id = :upload_id;

-- name: extend_lease(upload_id, expires_at)$
-- Keeps an upload from expiring while its gateway works on it; nothing comes back for a closed one.
UPDATE uploads SET expires_at = :expires_at, updated_at = now()
WHERE id = :upload_id AND status IN ('created', 'receiving', 'completing')
RETURNING true;

-- name: fetch_chunk(upload_id, number)^
-- A chunk that S3 has acknowledged.
SELECT number, size_bytes, md5, etag FROM upload_chunks WHERE upload_id = :upload_id AND number = :number;

-- name: find_asset_by_hash(account_id, content_hash)^
-- The account's asset with these bytes.
SELECT * FROM agentcache_assets WHERE account_id = :account_id AND content_hash = :content_hash;

-- name: complete_upload(upload_id, size_bytes, content_hash, content_type, cache_key, pipeline_id, asset_expires_at, uploaded_via, upload_speed_mbps, lanes, exchanges, routing_keys, event_ids, bodies)^
-- Closes an open upload with a new asset, its cache key and its events; no row where the upload is closed
-- or the account already has these bytes.
WITH open AS MATERIALIZED (
    SELECT * FROM uploads
    WHERE id = :upload_id AND status IN ('created', 'receiving', 'completing') FOR UPDATE
), stored AS (
    INSERT INTO agentcache_assets (id, account_id, s3_key, s3_bucket, filename, content_type, size_bytes,
                                   content_hash, cache_key, agentcache_pipeline_id, expires_at, uploaded_via,
                                   upload_speed_mbps)
    SELECT id, account_id, s3_key, s3_bucket, filename, :content_type, :size_bytes, :content_hash, :cache_key,
           :pipeline_id, :asset_expires_at, :uploaded_via, :upload_speed_mbps
    FROM open
    ON CONFLICT (account_id, content_hash) DO NOTHING
    RETURNING *
), closed AS (
    UPDATE uploads SET status = 'completed', asset_id = stored.id, size_bytes = :size_bytes,
                       content_hash = :content_hash, cache_key = :cache_key, updated_at = now()
    FROM stored WHERE uploads.id = :upload_id
), named AS (
    INSERT INTO asset_cache_keys (account_id, cache_key, asset_id)
    SELECT account_id, cache_key, id FROM stored WHERE cache_key IS NOT NULL
    ON CONFLICT (account_id, cache_key) DO UPDATE SET asset_id = excluded.asset_id
), told AS (
    INSERT INTO outbox (lane, exchange, routing_key, event_id, body)
    SELECT told.* FROM stored, unnest(:lanes::smallint[], :exchanges::text[], :routing_keys::text[],
                                      :event_ids::uuid[], :bodies::text[]) AS told
)
SELECT * FROM stored;

-- name: complete_duplicate(upload_id, asset_id, size_bytes, content_hash, cache_key)$
-- Closes an open upload whose bytes the account already had; nothing comes back for a closed one.
WITH closed AS (
    UPDATE uploads SET status = 'completed', asset_id = :asset_id, size_bytes = :size_bytes,
                       content_hash = :content_hash, cache_key = :cache_key, updated_at = now()
    WHERE id = :upload_id AND status IN ('created', 'receiving', 'completing')
    RETURNING account_id
), named AS (
    INSERT INTO asset_cache_keys (account_id, cache_key, asset_id)
    SELECT account_id, :cache_key, :asset_id FROM closed WHERE :cache_key::text IS NOT NULL
    ON CONFLICT (account_id, cache_key) DO UPDATE SET asset_id = excluded.asset_id
)
SELECT true FROM closed;

-- name: close_upload(upload_id, status, failure_code)^
-- Aborts or expires an open upload; no row where it was closed already.
UPDATE uploads SET status = :status, failure_code = :failure_code, updated_at = now()
WHERE id = :upload_id AND status IN ('created', 'receiving', 'completing')
RETURNING id, account_id, s3_bucket, s3_key, s3_upload_id;

-- name: forget_multipart(upload_id)!
-- Notes that nothing of an upload is left in S3's multipart uploads.
UPDATE uploads SET s3_upload_id = NULL WHERE id = :upload_id;

-- name: expired_uploads(batch_size)
-- Open uploads nobody works on any more; locked, so that one housekeeper closes each.
SELECT id, account_id, correlation_id FROM uploads
WHERE status IN ('created', 'receiving', 'completing') AND expires_at < now()
ORDER BY expires_at LIMIT :batch_size FOR UPDATE SKIP LOCKED;

-- name: leftover_multiparts(batch_size)
-- Closed uploads whose multipart upload may still be in S3.
SELECT id, s3_key, s3_upload_id FROM uploads
WHERE status IN ('aborted', 'expired') AND s3_upload_id IS NOT NULL
LIMIT :batch_size FOR UPDATE SKIP LOCKED;

-- name: want_deleted(s3_bucket, s3_keys)!
-- Notes objects whose bytes must go.
INSERT INTO object_deletions (s3_bucket, s3_key) SELECT :s3_bucket, unnest(:s3_keys::text[])
ON CONFLICT DO NOTHING;

-- name: wanted_deletions(batch_size)
-- Objects whose bytes must go, the oldest first.
SELECT s3_bucket, s3_key FROM object_deletions
ORDER BY requested_at LIMIT :batch_size FOR UPDATE SKIP LOCKED;

-- name: deleted_objects(s3_bucket, s3_keys)!
-- Notes that objects are gone.
DELETE FROM object_deletions WHERE s3_bucket = :s3_bucket AND s3_key = ANY (:s3_keys::text[]);

-- name: fetch_asset(account_id, asset_id, s3_key, cache_key)^
-- One live asset of the account, by whichever of id, key and cache key is given.
SELECT a.* FROM agentcache_assets a
WHERE a.account_id = :account_id
  AND (a.expires_at IS NULL OR a.expires_at > now())
  AND (:asset_id::uuid IS NULL OR a.id = :asset_id)
  AND (:s3_key::text IS NULL OR a.s3_key = :s3_key)
  AND (:cache_key::text IS NULL OR a.id = (
        SELECT k.asset_id FROM asset_cache_keys k WHERE k.account_id = :account_id AND k.cache_key = :cache_key));

-- name: asset_owner(asset_id)^
-- The account that owns an asset, for a signed link that names no account.
SELECT s.account_id, x.agentcache_tier, x.status, t.rate_limit_per_minute
FROM agentcache_assets s
JOIN agentcache_accounts x ON x.id = s.account_id
JOIN tier_configs t ON t.tier = x.agentcache_tier
WHERE s.id = :asset_id;

-- name: reserve_bandwidth(account_id, asset_id, reservation_id, bytes, expires_at, lanes, exchanges, routing_keys, event_ids, bodies)^
-- Reserves bandwidth and, where granted, counts the hit and tells of it.
WITH room AS MATERIALIZED (
    SELECT * FROM reserve_bandwidth(:account_id, :reservation_id, :bytes, :expires_at)
), hit AS (
    UPDATE agentcache_assets SET hit_count = hit_count + 1, last_accessed = now()
    FROM room WHERE room.granted AND agentcache_assets.id = :asset_id
), told AS (
    INSERT INTO outbox (lane, exchange, routing_key, event_id, body)
    SELECT told.* FROM room, unnest(:lanes::smallint[], :exchanges::text[], :routing_keys::text[],
                                    :event_ids::uuid[], :bodies::text[]) AS told
    WHERE room.granted
)
SELECT * FROM room;

-- name: list_assets(account_id, prefix, cache_key, pipeline_id, before_created_at, before_id, page_size)
-- A page of the account's live assets, newest first, after the cursor.
SELECT a.* FROM agentcache_assets a
WHERE a.account_id = :account_id
  AND (a.expires_at IS NULL OR a.expires_at > now())
  AND (:prefix::text IS NULL OR starts_with(a.filename, :prefix))
  AND (:pipeline_id::uuid IS NULL OR a.agentcache_pipeline_id = :pipeline_id)
  AND (:cache_key::text IS NULL OR EXISTS (
        SELECT 1 FROM asset_cache_keys k
        WHERE k.account_id = :account_id AND k.cache_key = :cache_key AND k.asset_id = a.id))
  AND (:before_created_at::timestamptz IS NULL OR (a.created_at, a.id) < (:before_created_at, :before_id::uuid))
ORDER BY a.created_at DESC, a.id DESC
LIMIT :page_size;

-- name: delete_assets(account_id, asset_ids)
-- Deletes assets of the account and notes their objects for deletion.
WITH gone AS (
    DELETE FROM agentcache_assets WHERE account_id = :account_id AND id = ANY (:asset_ids::uuid[])
    RETURNING id, s3_bucket, s3_key, size_bytes
), noted AS (
    INSERT INTO object_deletions (s3_bucket, s3_key) SELECT s3_bucket, s3_key FROM gone ON CONFLICT DO NOTHING
)
SELECT * FROM gone;

-- name: expired_assets(batch_size)
-- Assets whose time is over.
SELECT id, account_id FROM agentcache_assets
WHERE expires_at <= now() ORDER BY expires_at LIMIT :batch_size FOR UPDATE SKIP LOCKED;

-- name: rename_asset(account_id, asset_id, filename)^
-- Gives an asset another file name; its bytes and key stay.
UPDATE agentcache_assets SET filename = :filename
WHERE account_id = :account_id AND id = :asset_id AND (expires_at IS NULL OR expires_at > now())
RETURNING *;

-- name: name_asset(account_id, asset_id, cache_key)!
-- Lets a cache key name an asset from now on.
INSERT INTO asset_cache_keys (account_id, cache_key, asset_id) VALUES (:account_id, :cache_key, :asset_id)
ON CONFLICT (account_id, cache_key) DO UPDATE SET asset_id = excluded.asset_id;

-- name: quota_of(account_id)^
-- Counters, quotas, tier and period of an account.
SELECT q.*, t.rate_limit_per_minute, t.max_file_size_mb, t.jetty_speed_enabled
FROM quota_of(:account_id) q JOIN tier_configs t USING (tier);

-- name: fetch_upload(account_id, upload_id)^
-- One upload of the account.
SELECT * FROM uploads WHERE account_id = :account_id AND id = :upload_id;

-- name: list_uploads(account_id, open_only, before_created_at, before_id, page_size)
-- A page of the account's upload sessions, newest first, after the cursor.
SELECT * FROM uploads
WHERE account_id = :account_id AND kind = 'session'
  AND (NOT :open_only::boolean OR status IN ('created', 'receiving', 'completing'))
  AND (:before_created_at::timestamptz IS NULL OR (created_at, id) < (:before_created_at, :before_id::uuid))
ORDER BY created_at DESC, id DESC
LIMIT :page_size;

-- name: fetch_chunks(upload_id)
-- The chunks of an upload that S3 has acknowledged.
SELECT number, size_bytes, md5, etag FROM upload_chunks WHERE upload_id = :upload_id ORDER BY number;

-- name: begin_receiving(upload_id, expires_at)$
-- Opens a session for chunks, or keeps it open for longer; nothing comes back for one that takes none.
UPDATE uploads SET status = 'receiving', expires_at = :expires_at, updated_at = now()
WHERE id = :upload_id AND status IN ('created', 'receiving')
RETURNING true;

-- name: begin_completing(upload_id, expires_at)$
-- Shuts a session for chunks while it is being completed; nothing comes back for a closed one.
UPDATE uploads SET status = 'completing', expires_at = greatest(expires_at, :expires_at), updated_at = now()
WHERE id = :upload_id AND status IN ('created', 'receiving', 'completing')
RETURNING true;

-- name: reopen(upload_id)!
-- Lets a session take chunks again, for it is not complete.
UPDATE uploads SET status = 'receiving', updated_at = now() WHERE id = :upload_id AND status = 'completing';

-- name: live_edges(silent_seconds)
-- Edges that have been heard of lately, the least busy first.
SELECT id, region, url FROM edges
WHERE last_seen_at > now() - make_interval(secs => :silent_seconds)
ORDER BY in_flight_bytes, id;
