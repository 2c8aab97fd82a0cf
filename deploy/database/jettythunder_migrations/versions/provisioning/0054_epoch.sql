-- Owner: provisioning. Links and edge tokens carry the epoch of their account, and end when it is raised.
ALTER TABLE agentcache_accounts ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
COMMENT ON COLUMN agentcache_accounts.epoch IS 'Raised when the account is suspended and when its credentials are revoked: links and edge tokens of an earlier epoch are refused.';
GRANT UPDATE (epoch) ON agentcache_accounts TO jettythunder_provisioning;
GRANT SELECT (epoch) ON agentcache_accounts TO jettythunder_storage_gateway, jettythunder_usage_meter;

-- As account_of_key_v1, with the epoch.
CREATE FUNCTION account_of_key_v2(p_api_key TEXT)
RETURNS TABLE (
    account_id UUID, agentcache_user_ref TEXT, tier TEXT, status TEXT, epoch INTEGER, secret_digest TEXT,
    s3_prefix TEXT, jetty_speed_enabled BOOLEAN, storage_quota_gb INTEGER, bandwidth_quota_gb INTEGER,
    max_file_size_mb INTEGER, rate_limit_per_minute INTEGER)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT a.id, a.agentcache_user_ref, a.agentcache_tier, a.status, a.epoch,
        CASE WHEN a.api_key = p_api_key THEN a.api_secret ELSE a.previous_api_secret END,
        a.s3_prefix, a.jetty_speed_enabled, a.storage_quota_gb, a.bandwidth_quota_gb, t.max_file_size_mb,
        t.rate_limit_per_minute
    FROM agentcache_accounts a JOIN tier_configs t ON t.tier = a.agentcache_tier
    WHERE a.api_key = p_api_key OR (a.previous_api_key = p_api_key AND a.previous_valid_until > now());
END $$;
COMMENT ON FUNCTION account_of_key_v2 IS 'Owner: provisioning. Called by the storage-gateway, which may not read secrets otherwise.';
REVOKE EXECUTE ON FUNCTION account_of_key_v2 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION account_of_key_v2 TO jettythunder_storage_gateway;
DROP FUNCTION account_of_key_v1(TEXT);
