-- name: authenticate(api_key, secret_digest)^
-- The account of an API key, with its limits, counting the request where the secret is right.
SELECT * FROM authenticate(:api_key, :secret_digest);

-- name: take_request(subject, request_limit, window_seconds)^
-- Counts a request of what has no account.
SELECT allowed, remaining, reset_seconds FROM take_request(:subject, :request_limit, :window_seconds);

-- name: forget_counters(older_than_seconds, batch_size)!
-- Removes counters that nobody has counted with for long: their limits are whole again.
DELETE FROM rate_limits WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM rate_limits
    WHERE window_start < now() - make_interval(secs => :older_than_seconds)
    LIMIT :batch_size
    FOR UPDATE SKIP LOCKED
));

-- name: link_owner(asset_id)^
-- The account that owns an asset, for a signed link that names no account.
SELECT s.account_id, x.status, x.epoch, t.rate_limit_per_minute
FROM agentcache_assets s
JOIN agentcache_accounts x ON x.id = s.account_id
JOIN tier_configs t ON t.tier = x.agentcache_tier
WHERE s.id = :asset_id;
