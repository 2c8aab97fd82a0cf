-- Owner: provisioning. What an account's status says comes from two facts with an owner each: whether it is
-- suspended (provisioning), and whether a quota is used up (usage-meter).
ALTER TABLE agentcache_accounts
    ADD COLUMN suspended_at TIMESTAMPTZ,
    ADD COLUMN over_quota BOOLEAN NOT NULL DEFAULT false;
UPDATE agentcache_accounts SET suspended_at = updated_at WHERE status = 'suspended';
DROP TRIGGER account_usage_show_usage ON account_usage;
DROP FUNCTION show_usage();
DROP FUNCTION quota_of(UUID);
DROP FUNCTION authenticate(TEXT, TEXT);
ALTER TABLE agentcache_accounts DROP COLUMN status;
ALTER TABLE agentcache_accounts ADD COLUMN status TEXT NOT NULL GENERATED ALWAYS AS (
    CASE WHEN suspended_at IS NOT NULL THEN 'suspended' WHEN over_quota THEN 'over_quota' ELSE 'active' END) STORED;
COMMENT ON TABLE agentcache_accounts IS 'Billable tenants. Owner: provisioning; storage_used_gb, bandwidth_used_gb and over_quota are the usage-meter''s.';
COMMENT ON COLUMN agentcache_accounts.status IS 'active, over_quota or suspended: computed from suspended_at and over_quota.';
COMMENT ON COLUMN agentcache_accounts.suspended_at IS 'Since when the account may do nothing; NULL for one that is not suspended.';
COMMENT ON COLUMN agentcache_accounts.over_quota IS 'Whether what is used reaches the storage or the bandwidth quota. Owner: usage-meter.';

GRANT SELECT ON tier_configs TO jettythunder_provisioning, jettythunder_storage_gateway, jettythunder_usage_meter;
GRANT SELECT ON agentcache_accounts TO jettythunder_provisioning;
GRANT INSERT (id, agentcache_user_id, agentcache_user_ref, agentcache_email, agentcache_tier, api_key, api_secret,
              storage_quota_gb, bandwidth_quota_gb, jetty_speed_enabled, s3_bucket_name, s3_prefix)
    ON agentcache_accounts TO jettythunder_provisioning;
GRANT UPDATE (agentcache_email, agentcache_tier, tier_changed_at, api_key, api_secret, credential_version,
              previous_api_key, previous_api_secret, previous_valid_until, storage_quota_gb, bandwidth_quota_gb,
              jetty_speed_enabled, folder_created_at, suspended_at, updated_at)
    ON agentcache_accounts TO jettythunder_provisioning;
-- Everything but what credentials are checked against.
GRANT SELECT (id, agentcache_user_id, agentcache_user_ref, agentcache_email, agentcache_tier, tier_changed_at,
              credential_version, storage_quota_gb, storage_used_gb, bandwidth_quota_gb, bandwidth_used_gb,
              jetty_speed_enabled, s3_bucket_name, s3_prefix, folder_created_at, suspended_at, over_quota, status,
              created_at, updated_at)
    ON agentcache_accounts TO jettythunder_storage_gateway, jettythunder_usage_meter;

-- The account that an API key belongs to, with the digest of its secret and its limits; no row for an unknown key.
-- In PL/pgSQL, which keeps its plan: PostgreSQL before 18 plans an SQL function anew in each statement.
CREATE FUNCTION account_of_key_v1(p_api_key TEXT)
RETURNS TABLE (
    account_id UUID, agentcache_user_ref TEXT, tier TEXT, status TEXT, secret_digest TEXT, s3_prefix TEXT,
    jetty_speed_enabled BOOLEAN, storage_quota_gb INTEGER, bandwidth_quota_gb INTEGER, max_file_size_mb INTEGER,
    rate_limit_per_minute INTEGER)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT a.id, a.agentcache_user_ref, a.agentcache_tier, a.status,
        CASE WHEN a.api_key = p_api_key THEN a.api_secret ELSE a.previous_api_secret END,
        a.s3_prefix, a.jetty_speed_enabled, a.storage_quota_gb, a.bandwidth_quota_gb, t.max_file_size_mb,
        t.rate_limit_per_minute
    FROM agentcache_accounts a JOIN tier_configs t ON t.tier = a.agentcache_tier
    WHERE a.api_key = p_api_key OR (a.previous_api_key = p_api_key AND a.previous_valid_until > now());
END $$;
COMMENT ON FUNCTION account_of_key_v1 IS 'Owner: provisioning. Called by the storage-gateway, which may not read secrets otherwise.';
REVOKE EXECUTE ON FUNCTION account_of_key_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION account_of_key_v1 TO jettythunder_storage_gateway;
