-- name: fetch_tier(tier)^
-- A tier's limits.
SELECT tier, storage_quota_gb, bandwidth_quota_gb, jetty_speed_enabled FROM tier_configs WHERE tier = :tier;

-- name: insert_account(id, agentcache_user_id, agentcache_user_ref, agentcache_email, tier, api_key, api_secret, master_key_id, storage_quota_gb, bandwidth_quota_gb, jetty_speed_enabled, s3_bucket_name, s3_prefix)$
-- Makes an account; no row comes back where the user has one already, also one just being made by another call.
INSERT INTO agentcache_accounts (
    id, agentcache_user_id, agentcache_user_ref, agentcache_email, agentcache_tier, api_key, api_secret,
    master_key_id, storage_quota_gb, bandwidth_quota_gb, jetty_speed_enabled, s3_bucket_name, s3_prefix
) VALUES (
    :id, :agentcache_user_id, :agentcache_user_ref, :agentcache_email, :tier, :api_key, :api_secret,
    :master_key_id, :storage_quota_gb, :bandwidth_quota_gb, :jetty_speed_enabled, :s3_bucket_name, :s3_prefix
)
ON CONFLICT (agentcache_user_id) DO NOTHING
RETURNING true;

-- name: fetch_account(agentcache_user_id)^
-- A user's account with the limits of its tier.
SELECT a.id, a.agentcache_user_ref, a.agentcache_email, a.agentcache_tier, a.tier_changed_at, a.api_key,
       a.api_secret, a.credential_version, a.master_key_id, a.storage_quota_gb, a.bandwidth_quota_gb,
       a.jetty_speed_enabled, t.rate_limit_per_minute, t.max_file_size_mb, a.s3_bucket_name,
       a.s3_prefix, a.folder_created_at, a.status
FROM agentcache_accounts a JOIN tier_configs t ON t.tier = a.agentcache_tier
WHERE a.agentcache_user_id = :agentcache_user_id;

-- name: fetch_account_after(agentcache_user_id, consumer, event_id)^
-- A user's account with the limits of its tier; no row comes back where the message was not processed yet.
SELECT a.id, a.agentcache_user_ref, a.agentcache_email, a.agentcache_tier, a.tier_changed_at, a.api_key,
       a.api_secret, a.credential_version, a.master_key_id, a.storage_quota_gb, a.bandwidth_quota_gb,
       a.jetty_speed_enabled, t.rate_limit_per_minute, t.max_file_size_mb, a.s3_bucket_name,
       a.s3_prefix, a.folder_created_at, a.status
FROM inbox i JOIN agentcache_accounts a ON a.agentcache_user_id = :agentcache_user_id
JOIN tier_configs t ON t.tier = a.agentcache_tier
WHERE i.consumer = :consumer AND i.event_id = :event_id;

-- name: fetch_account_of_each_master_key()
-- Of each master key that accounts' credentials were derived from, the account that was made last.
SELECT a.id, a.agentcache_user_ref, a.agentcache_email, a.agentcache_tier, a.tier_changed_at, a.api_key,
       a.api_secret, a.credential_version, a.master_key_id, a.storage_quota_gb, a.bandwidth_quota_gb,
       a.jetty_speed_enabled, t.rate_limit_per_minute, t.max_file_size_mb, a.s3_bucket_name,
       a.s3_prefix, a.folder_created_at, a.status
FROM master_keys k
CROSS JOIN LATERAL (SELECT * FROM agentcache_accounts WHERE master_key_id = k.id ORDER BY created_at DESC LIMIT 1) a
JOIN tier_configs t ON t.tier = a.agentcache_tier;

-- name: note_master_key(id, fingerprint)$
-- The fingerprint of the key that was first started with under this id; a key that is new is noted.
INSERT INTO master_keys AS k (id, fingerprint, known_since) VALUES (:id, :fingerprint, now())
ON CONFLICT (id) DO UPDATE SET fingerprint = coalesce(k.fingerprint, excluded.fingerprint),
    known_since = coalesce(k.known_since, excluded.known_since)
RETURNING fingerprint;

-- name: master_key_uses()
-- The master keys, the oldest first, with how many accounts have a current pair of each.
SELECT k.id, k.known_since, count(a.id) AS accounts,
       count(a.id) FILTER (WHERE a.previous_valid_until > now()) AS in_grace
FROM master_keys k LEFT JOIN agentcache_accounts a ON a.master_key_id = k.id
GROUP BY k.id ORDER BY k.known_since NULLS FIRST, k.id;

-- name: users_to_move(master_key_ids, also_in_grace, limit)
-- Users whose accounts' current pair was derived from one of these master keys.
SELECT agentcache_user_ref FROM agentcache_accounts
WHERE master_key_id = ANY (:master_key_ids::text[])
  AND (:also_in_grace::boolean OR previous_valid_until IS NULL OR previous_valid_until <= now())
LIMIT :limit;

-- name: mark_folder(account_id)$
-- Notes that the account's folder is there; no row comes back where that was noted before.
UPDATE agentcache_accounts SET folder_created_at = now(), updated_at = now()
WHERE id = :account_id AND folder_created_at IS NULL
RETURNING true;

-- name: set_quotas(account_id, storage_quota_bytes, bandwidth_quota_bytes)!
-- Puts an account's quotas in force; the account's status follows from them.
SELECT set_quotas_v1(:account_id, :storage_quota_bytes, :bandwidth_quota_bytes);

-- name: lock_usage(agentcache_user_id)$
-- Locks what a user uses until the transaction ends. Whoever changes an account's quotas does so before it locks
-- the account, as reservations do. No row, or false, comes back where there is no account.
SELECT lock_usage_v1(id) FROM agentcache_accounts WHERE agentcache_user_id = :agentcache_user_id;

-- name: update_tier(account_id, tier, storage_quota_gb, bandwidth_quota_gb, jetty_speed_enabled)!
-- Puts an account into another tier.
UPDATE agentcache_accounts
SET agentcache_tier = :tier, storage_quota_gb = :storage_quota_gb, bandwidth_quota_gb = :bandwidth_quota_gb,
    jetty_speed_enabled = :jetty_speed_enabled, updated_at = now()
WHERE id = :account_id;

-- name: note_tier_change(account_id, changed_at)!
-- Notes when the newest tier change was made. A time in the future, from a wrong clock, counts as now.
UPDATE agentcache_accounts SET tier_changed_at = least(coalesce(:changed_at::timestamptz, now()), now())
WHERE id = :account_id;

-- name: lock_account(agentcache_user_id)$
-- Locks a user's account until the transaction ends; no row comes back where there is none.
SELECT id FROM agentcache_accounts WHERE agentcache_user_id = :agentcache_user_id FOR UPDATE;

-- name: update_credentials(account_id, version, api_key, api_secret, master_key_id, grace_seconds)!
-- Gives an account its next pair; the one before stays valid for the grace time. Without one the pair is revoked, and
-- with it the links and tokens that it was used for.
UPDATE agentcache_accounts
SET previous_api_key = api_key, previous_api_secret = api_secret,
    previous_valid_until = now() + make_interval(secs => :grace_seconds),
    epoch = epoch + (:grace_seconds = 0)::integer,
    credential_version = :version, api_key = :api_key, api_secret = :api_secret,
    master_key_id = :master_key_id, updated_at = now()
WHERE id = :account_id;

-- name: set_suspended(account_id, suspended)!
-- Suspends an account or ends its suspension; one that is suspended keeps the time since when it is. A suspension
-- ends the account's links and tokens for good.
UPDATE agentcache_accounts
SET suspended_at = CASE WHEN :suspended::boolean THEN coalesce(suspended_at, now()) END,
    epoch = epoch + (:suspended AND suspended_at IS NULL)::integer, updated_at = now()
WHERE id = :account_id;
