-- name: quota_of(account_id)^
-- Counters, quotas, tier and period of an account.
SELECT q.*, t.rate_limit_per_minute, t.max_file_size_mb, t.jetty_speed_enabled
FROM quota_of_v1(:account_id) q JOIN tier_configs t USING (tier);
