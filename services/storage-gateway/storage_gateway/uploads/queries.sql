-- name: open_upload(upload_id, account_id, kind, status, filename, content_type, s3_bucket, s3_key, size_bytes, chunk_size_bytes, content_hash, cache_key, pipeline_id, asset_expires_at, correlation_id, reserve_bytes, open_seconds, lanes, exchanges, routing_keys, event_ids, bodies)^
-- Reserves storage, and opens the upload with its event where that was granted: all or nothing.
WITH room AS MATERIALIZED (
    SELECT * FROM reserve_storage_v1(:account_id, :upload_id, :reserve_bytes, now() + make_interval(secs => :open_seconds))
), opened AS (
    INSERT INTO uploads (id, account_id, kind, status, filename, content_type, s3_bucket, s3_key, size_bytes,
                         chunk_size_bytes, content_hash, cache_key, agentcache_pipeline_id, asset_expires_at,
                         correlation_id, expires_at)
    SELECT :upload_id, :account_id, :kind, :status, :filename, :content_type, :s3_bucket, :s3_key, :size_bytes,
           :chunk_size_bytes, :content_hash, :cache_key, :pipeline_id, :asset_expires_at,
           :correlation_id, now() + make_interval(secs => :open_seconds)
    FROM room WHERE granted
    RETURNING id
), told AS (
    INSERT INTO outbox (lane, exchange, routing_key, event_id, body)
    SELECT told.* FROM opened, unnest(:lanes::smallint[], :exchanges::text[], :routing_keys::text[],
                                      :event_ids::uuid[], :bodies::text[]) AS told
)
SELECT granted, used_bytes, reserved_bytes, quota_bytes FROM room;

-- name: grow_reservation(account_id, upload_id, more_bytes, open_seconds)^
-- More room for an upload of unknown length.
SELECT granted, used_bytes, reserved_bytes, quota_bytes
FROM reserve_storage_v1(:account_id, :upload_id, :more_bytes, now() + make_interval(secs => :open_seconds));

-- name: set_multipart(upload_id, s3_upload_id)!
-- Notes the multipart upload in S3 as soon as it exists: this row is the only way to find it again.
UPDATE uploads SET s3_upload_id = :s3_upload_id, updated_at = now() WHERE id = :upload_id;

-- name: renew_leases(upload_ids, lease_seconds)
-- Keeps uploads that are worked on from expiring; those that do not come back are not open any more.
UPDATE uploads SET expires_at = greatest(expires_at, now() + make_interval(secs => :lease_seconds))
WHERE id = ANY (:upload_ids::uuid[]) AND upload_is_open(status)
RETURNING id;

-- name: fetch_upload(account_id, upload_id)^
-- One upload of the account.
SELECT * FROM uploads WHERE account_id = :account_id AND id = :upload_id;

-- name: list_sessions(account_id, open_only, before_created_at, before_id, page_size)
-- A page of the account's upload sessions, newest first, after the cursor.
SELECT * FROM uploads
WHERE account_id = :account_id AND kind = 'session'
  AND (NOT :open_only::boolean OR upload_is_open(status))
  AND (:before_created_at::timestamptz IS NULL OR (created_at, id) < (:before_created_at, :before_id::uuid))
ORDER BY created_at DESC, id DESC
LIMIT :page_size;

-- name: count_open_sessions(account_id, most)$
-- How many sessions of an account are open, counted up to the most.
SELECT count(*) FROM (
    SELECT FROM uploads
    WHERE account_id = :account_id AND kind = 'session' AND upload_is_open(status) LIMIT :most) AS open;

-- name: forget_closed(keep_days, batch_size)$
-- Removes uploads, with their chunks, that were closed long ago and of which nothing is left to remove elsewhere; how
-- many they were.
WITH gone AS (
    DELETE FROM uploads WHERE id IN (
        SELECT id FROM uploads
        WHERE NOT upload_is_open(status) AND s3_upload_id IS NULL
          AND updated_at < now() - make_interval(days => :keep_days)
        ORDER BY updated_at LIMIT :batch_size FOR UPDATE SKIP LOCKED)
    RETURNING id
)
SELECT count(*) FROM gone;

-- name: fetch_chunk(upload_id, number)^
-- A chunk that S3 has acknowledged.
SELECT number, size_bytes, md5 AS checksum, etag FROM upload_chunks WHERE upload_id = :upload_id AND number = :number;

-- name: fetch_chunks(upload_id)
-- The chunks of an upload that S3 has acknowledged.
SELECT number, size_bytes, md5 AS checksum, etag FROM upload_chunks WHERE upload_id = :upload_id ORDER BY number;

-- name: forget_chunks(upload_id, numbers)!
-- Has chunks stored again that the object storage lacks.
SELECT forget_chunks_v1(:upload_id, :numbers::integer[]);

-- name: begin_receiving(upload_id, open_seconds)$
-- Opens a session for chunks, or keeps it open for longer; nothing comes back for one that takes none.
UPDATE uploads
SET status = 'receiving', expires_at = greatest(expires_at, now() + make_interval(secs => :open_seconds)), updated_at = now()
WHERE id = :upload_id AND upload_takes_chunks(status)
RETURNING true;

-- name: begin_completing(upload_id, lease_seconds)$
-- Shuts a session for chunks while it is being completed; nothing comes back for a closed one.
UPDATE uploads
SET status = 'completing', expires_at = greatest(expires_at, now() + make_interval(secs => :lease_seconds)), updated_at = now()
WHERE id = :upload_id AND upload_is_open(status)
RETURNING true;

-- name: reopen(upload_id)!
-- Lets a session take chunks again, for it is not complete.
UPDATE uploads SET status = 'receiving', updated_at = now() WHERE id = :upload_id AND status = 'completing';

-- name: complete_upload(upload_id, size_bytes, content_hash, content_hash_verified, content_type, cache_key, pipeline_id, asset_expires_at, uploaded_via, upload_speed_mbps, lanes, exchanges, routing_keys, event_ids, bodies)^
-- Closes an open upload with a new asset, its cache key and its events; no row where the upload is closed, or where
-- the account has an asset by now that serves uploads of these bytes.
WITH open AS MATERIALIZED (
    SELECT * FROM uploads WHERE id = :upload_id AND upload_is_open(status) FOR UPDATE
), stored AS (
    INSERT INTO agentcache_assets (id, account_id, s3_key, s3_bucket, filename, content_type, size_bytes,
                                   content_hash, content_hash_verified, serves_duplicates, cache_key,
                                   agentcache_pipeline_id, expires_at, uploaded_via, upload_speed_mbps)
    SELECT id, account_id, s3_key, s3_bucket, filename, :content_type, :size_bytes, :content_hash,
           :content_hash_verified::boolean, :content_hash_verified::boolean, :cache_key, :pipeline_id,
           :asset_expires_at, :uploaded_via, :upload_speed_mbps
    FROM open
    ON CONFLICT (account_id, content_hash) WHERE serves_duplicates DO NOTHING
    RETURNING *
), closed AS (
    UPDATE uploads SET status = 'completed', asset_id = stored.id, size_bytes = :size_bytes, s3_upload_id = NULL,
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

-- name: close_as_duplicate(upload_id, asset_id, size_bytes, content_hash, cache_key, lanes, exchanges, routing_keys, event_ids, bodies)$
-- Closes an open upload whose bytes the account had already; nothing comes back for a closed one.
WITH closed AS (
    UPDATE uploads SET status = 'completed', asset_id = :asset_id, size_bytes = :size_bytes,
                       content_hash = :content_hash, cache_key = :cache_key, expires_at = now(), updated_at = now()
    WHERE id = :upload_id AND upload_is_open(status)
    RETURNING account_id, s3_bucket, s3_key
), named AS (
    INSERT INTO asset_cache_keys (account_id, cache_key, asset_id)
    SELECT account_id, :cache_key, :asset_id FROM closed WHERE :cache_key::text IS NOT NULL
    ON CONFLICT (account_id, cache_key) DO UPDATE SET asset_id = excluded.asset_id
), unwanted AS (
    INSERT INTO object_deletions (s3_bucket, s3_key) SELECT s3_bucket, s3_key FROM closed ON CONFLICT DO NOTHING
), told AS (
    INSERT INTO outbox (lane, exchange, routing_key, event_id, body)
    SELECT told.* FROM closed, unnest(:lanes::smallint[], :exchanges::text[], :routing_keys::text[],
                                      :event_ids::uuid[], :bodies::text[]) AS told
)
SELECT true FROM closed;

-- name: close_upload(upload_id, status, failure_code)^
-- Aborts or expires an open upload, and asks for the deletion of its object. No row where it was closed already.
WITH closed AS (
    UPDATE uploads SET status = :status, failure_code = :failure_code, expires_at = now(), updated_at = now()
    WHERE id = :upload_id AND upload_is_open(status)
    RETURNING id, account_id, s3_bucket, s3_key, s3_upload_id
), unwanted AS (
    INSERT INTO object_deletions (s3_bucket, s3_key) SELECT s3_bucket, s3_key FROM closed ON CONFLICT DO NOTHING
)
SELECT * FROM closed;

-- name: delete_object_again(upload_id)!
-- Asks anew for the deletion of the object of an aborted or expired upload.
INSERT INTO object_deletions (s3_bucket, s3_key)
SELECT s3_bucket, s3_key FROM uploads WHERE id = :upload_id AND status IN ('aborted', 'expired')
ON CONFLICT (s3_bucket, s3_key) DO UPDATE
SET requested_at = excluded.requested_at, not_before = excluded.not_before;

-- name: find_expired(batch_size)
-- Open uploads that have expired; locked, so that one housekeeper closes each.
SELECT id, account_id, correlation_id FROM uploads
WHERE upload_is_open(status) AND expires_at < now()
ORDER BY expires_at LIMIT :batch_size FOR UPDATE SKIP LOCKED;

-- name: claim_leftovers(batch_size, retry_seconds)
-- Closed uploads whose multipart upload may still be in S3. Claimed for a while, so that one that always fails
-- delays no other.
UPDATE uploads SET expires_at = now() + make_interval(secs => :retry_seconds)
WHERE id IN (
    SELECT id FROM uploads
    WHERE s3_upload_id IS NOT NULL AND NOT upload_is_open(status) AND expires_at <= now()
    ORDER BY updated_at LIMIT :batch_size FOR UPDATE SKIP LOCKED)
RETURNING id, s3_bucket, s3_key, s3_upload_id;

-- name: note_multipart_aborted(upload_id, late_write_seconds)!
-- Forgets the multipart upload of a closed upload, once no part that was under way can land any more; until then it
-- is to be aborted once more.
UPDATE uploads
SET s3_upload_id = CASE WHEN updated_at + make_interval(secs => :late_write_seconds) <= now() THEN NULL ELSE s3_upload_id END,
    expires_at = updated_at + make_interval(secs => :late_write_seconds)
WHERE id = :upload_id;
