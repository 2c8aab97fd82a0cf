-- name: fetch_asset(account_id, asset_id)^
-- One live asset of the account.
SELECT * FROM agentcache_assets
WHERE account_id = :account_id AND id = :asset_id AND (expires_at IS NULL OR expires_at > now());

-- name: fetch_asset_by_key(account_id, s3_key)^
-- The live asset of the account whose object has this key.
SELECT * FROM agentcache_assets
WHERE account_id = :account_id AND s3_key COLLATE "C" = :s3_key AND (expires_at IS NULL OR expires_at > now());

-- name: fetch_asset_by_cache_key(account_id, cache_key)^
-- The live asset that a cache key of the account names.
SELECT a.* FROM asset_cache_keys k JOIN agentcache_assets a ON a.id = k.asset_id
WHERE k.account_id = :account_id AND k.cache_key = :cache_key AND (a.expires_at IS NULL OR a.expires_at > now());

-- name: list_assets(account_id, prefix, cache_key, pipeline_id, before_created_at, before_id, page_size)
-- A page of the account's live assets, newest first, after the cursor.
SELECT a.* FROM agentcache_assets a
WHERE a.account_id = :account_id
  AND (a.expires_at IS NULL OR a.expires_at > now())
  AND (:prefix::text IS NULL OR starts_with(a.filename COLLATE "C", :prefix))
  AND (:pipeline_id::uuid IS NULL OR a.agentcache_pipeline_id = :pipeline_id)
  AND (:cache_key::text IS NULL OR a.id = (
        SELECT k.asset_id FROM asset_cache_keys k
        WHERE k.account_id = :account_id AND k.cache_key = :cache_key))
  AND (:before_created_at::timestamptz IS NULL OR (a.created_at, a.id) < (:before_created_at, :before_id::uuid))
ORDER BY a.created_at DESC, a.id DESC
LIMIT :page_size;

-- name: find_known(account_id, content_hash)^
-- The live asset that serves uploads of bytes with this hash, or else one whose hash is claimed to be this.
SELECT * FROM agentcache_assets
WHERE account_id = :account_id AND content_hash = :content_hash AND (expires_at IS NULL OR expires_at > now())
ORDER BY serves_duplicates DESC, content_hash_verified
LIMIT 1;

-- name: keep_duplicate(account_id, content_hash, expires_at)^
-- The same, locked until the transaction ends, and kept for as long as the later upload asks: the later expiry holds,
-- and none is the latest.
UPDATE agentcache_assets
SET expires_at = CASE WHEN expires_at IS NULL OR :expires_at::timestamptz IS NULL THEN NULL
                      ELSE greatest(expires_at, :expires_at) END
WHERE account_id = :account_id AND content_hash = :content_hash AND serves_duplicates
  AND (expires_at IS NULL OR expires_at > now())
RETURNING *;

-- name: reserve_bandwidth(account_id, asset_id, reservation_id, size_bytes, hold_seconds, lanes, exchanges, routing_keys, event_ids, bodies)^
-- Reserves bandwidth and, where granted, counts the hit and tells of it.
WITH room AS MATERIALIZED (
    SELECT * FROM reserve_bandwidth_v1(:account_id, :reservation_id, :size_bytes, now() + make_interval(secs => :hold_seconds))
), hit AS (
    UPDATE agentcache_assets SET hit_count = hit_count + 1, last_accessed = now()
    FROM room WHERE room.granted AND agentcache_assets.id = :asset_id
), told AS (
    INSERT INTO outbox (lane, exchange, routing_key, event_id, body)
    SELECT told.* FROM room, unnest(:lanes::smallint[], :exchanges::text[], :routing_keys::text[],
                                    :event_ids::uuid[], :bodies::text[]) AS told
    WHERE room.granted
)
SELECT granted, used_bytes, reserved_bytes, quota_bytes FROM room;

-- name: keep_bandwidth(reservation_ids, hold_seconds)!
-- Keeps bandwidth that is being used from expiring.
SELECT keep_bandwidth_v1(:reservation_ids::uuid[], now() + make_interval(secs => :hold_seconds));

-- name: delete_assets(account_id, asset_ids)
-- Deletes assets of the account and asks for the deletion of their objects.
WITH gone AS (
    DELETE FROM agentcache_assets WHERE account_id = :account_id AND id = ANY (:asset_ids::uuid[])
    RETURNING id, account_id, s3_bucket, s3_key, size_bytes
), noted AS (
    INSERT INTO object_deletions (s3_bucket, s3_key) SELECT s3_bucket, s3_key FROM gone ON CONFLICT DO NOTHING
)
SELECT * FROM gone;

-- name: find_expired(batch_size)
-- Assets whose time is over, by account; locked, so that one housekeeper deletes each.
SELECT id, account_id FROM agentcache_assets
WHERE expires_at <= now() ORDER BY expires_at LIMIT :batch_size FOR UPDATE SKIP LOCKED;

-- name: find_expired_duplicate(account_id, content_hash)$
-- An asset whose time is over and that is still in the way of another with the same bytes.
SELECT id FROM agentcache_assets
WHERE account_id = :account_id AND content_hash = :content_hash AND serves_duplicates AND expires_at <= now()
FOR UPDATE;

-- name: rename_asset(account_id, asset_id, filename)^
-- Gives an asset another file name; its bytes and key stay.
UPDATE agentcache_assets SET filename = :filename
WHERE account_id = :account_id AND id = :asset_id AND (expires_at IS NULL OR expires_at > now())
RETURNING *;

-- name: takes_cache_key(account_id, asset_id, cache_key, most)$
-- Whether a cache key may name an asset: it does already, or the asset has fewer than the most.
SELECT EXISTS (SELECT FROM asset_cache_keys
               WHERE account_id = :account_id AND cache_key = :cache_key AND asset_id = :asset_id)
    OR (SELECT count(*) FROM (SELECT FROM asset_cache_keys WHERE asset_id = :asset_id LIMIT :most) AS named) < :most;

-- name: name_asset(account_id, asset_id, cache_key)!
-- Lets a cache key name an asset from now on.
INSERT INTO asset_cache_keys (account_id, cache_key, asset_id) VALUES (:account_id, :cache_key, :asset_id)
ON CONFLICT (account_id, cache_key) DO UPDATE SET asset_id = excluded.asset_id;

-- name: claim_deletions(batch_size, retry_seconds)
-- Objects whose bytes must go now. Claimed for a while, so that one that always fails delays no other.
UPDATE object_deletions SET not_before = now() + make_interval(secs => :retry_seconds)
WHERE (s3_bucket, s3_key) IN (
    SELECT s3_bucket, s3_key FROM object_deletions WHERE not_before <= now()
    ORDER BY not_before LIMIT :batch_size FOR UPDATE SKIP LOCKED)
RETURNING s3_bucket, s3_key;

-- name: note_deleted(s3_bucket, s3_key, late_write_seconds)!
-- Notes that an object was deleted. It is deleted once more when no write that was under way can land any more, and
-- forgotten then.
WITH noted AS MATERIALIZED (
    SELECT s3_bucket, s3_key, requested_at + make_interval(secs => :late_write_seconds) AS last_at
    FROM object_deletions WHERE s3_bucket = :s3_bucket AND s3_key = :s3_key
), again AS (
    UPDATE object_deletions d SET not_before = last_at
    FROM noted WHERE d.s3_bucket = noted.s3_bucket AND d.s3_key = noted.s3_key AND last_at > now()
)
DELETE FROM object_deletions d
USING noted WHERE d.s3_bucket = noted.s3_bucket AND d.s3_key = noted.s3_key AND last_at <= now();

-- name: note_verified(account_id, asset_id, content_hash)^
-- Notes the hash that was computed from an asset's bytes. It serves uploads of the same bytes from now on, unless
-- another asset does so already.
UPDATE agentcache_assets a
SET content_hash = :content_hash, content_hash_verified = true,
    serves_duplicates = NOT EXISTS (
        SELECT FROM agentcache_assets o
        WHERE o.account_id = a.account_id AND o.content_hash = :content_hash AND o.serves_duplicates AND o.id <> a.id)
WHERE account_id = :account_id AND id = :asset_id
RETURNING *;

-- name: find_unverified(batch_size, account_id)
-- Assets whose hash is only claimed, the oldest first; those of all accounts without an id.
SELECT * FROM agentcache_assets
WHERE NOT content_hash_verified AND (expires_at IS NULL OR expires_at > now())
  AND (:account_id::uuid IS NULL OR account_id = :account_id)
ORDER BY created_at LIMIT :batch_size;
