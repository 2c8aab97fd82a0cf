-- Owner: provisioning. What the tiers allow, and who the tenants are.

CREATE TABLE tier_configs (
    tier                  TEXT PRIMARY KEY,
    storage_quota_gb      INTEGER NOT NULL,
    bandwidth_quota_gb    INTEGER NOT NULL,
    jetty_speed_enabled   BOOLEAN NOT NULL DEFAULT false,
    rate_limit_per_minute INTEGER NOT NULL DEFAULT 60,
    max_file_size_mb      INTEGER NOT NULL DEFAULT 100
);
COMMENT ON TABLE tier_configs IS 'Named limits. A GB is 10^9 bytes, a MB 10^6. Owner: provisioning.';

INSERT INTO tier_configs VALUES
    ('free',          0,    0, false,    10,   10),
    ('starter',       2,   10, false,    60,   50),
    ('pro',          20,   50, true,    300,  500),
    ('business',    100,  200, true,   1000, 1000),
    ('enterprise', 1000, 5000, true,  10000, 5000);

CREATE TABLE agentcache_accounts (
    id                    UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    agentcache_user_id    UUID NOT NULL UNIQUE,
    agentcache_user_ref   TEXT NOT NULL,
    agentcache_email      TEXT NOT NULL,
    agentcache_tier       TEXT NOT NULL REFERENCES tier_configs (tier),
    tier_changed_at       TIMESTAMPTZ,
    api_key               TEXT NOT NULL UNIQUE,
    api_secret            TEXT NOT NULL,
    credential_version    INTEGER NOT NULL DEFAULT 1,
    previous_api_key      TEXT UNIQUE,
    previous_api_secret   TEXT,
    previous_valid_until  TIMESTAMPTZ,
    storage_quota_gb      INTEGER NOT NULL,
    storage_used_gb       DECIMAL(10, 2) NOT NULL DEFAULT 0,
    bandwidth_quota_gb    INTEGER NOT NULL,
    bandwidth_used_gb     DECIMAL(10, 2) NOT NULL DEFAULT 0,
    jetty_speed_enabled   BOOLEAN NOT NULL DEFAULT false,
    s3_bucket_name        TEXT NOT NULL,
    s3_prefix             TEXT NOT NULL,
    folder_created_at     TIMESTAMPTZ,
    status                TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'over_quota', 'suspended')),
    created_at            TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at            TIMESTAMPTZ NOT NULL DEFAULT now()
);
COMMENT ON TABLE agentcache_accounts IS 'Billable tenants. Owner: provisioning; the *_used_gb columns are kept by usage-meter''s trigger.';
COMMENT ON COLUMN agentcache_accounts.agentcache_user_ref IS 'The id as AgentCache gave it; one that is no UUID maps to a UUIDv5 in agentcache_user_id.';
COMMENT ON COLUMN agentcache_accounts.tier_changed_at IS 'When the newest tier change was made, at AgentCache where it came as an event: a change that arrives late never undoes a newer one.';
COMMENT ON COLUMN agentcache_accounts.api_secret IS 'SHA-256 of the secret, hexadecimal. The secret itself is derived, never stored.';
COMMENT ON COLUMN agentcache_accounts.storage_used_gb IS 'Shown only. The truth is account_usage.storage_used_bytes.';

-- Requests seen per subject in this window and the one before: a sliding window of two counters.
-- Unlogged: after a crash of the database every limit starts anew, which does no harm.
CREATE UNLOGGED TABLE rate_limits (
    subject       TEXT PRIMARY KEY,
    window_start  TIMESTAMPTZ NOT NULL,
    current_count INTEGER NOT NULL,
    previous_count INTEGER NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE rate_limits IS 'Sliding-window counters by account or address, shared by all gateways. Owner: storage-gateway.';

-- Counts one request of a subject against its limit. A refused request is not counted,
-- so a client that keeps asking is served as soon as the window has moved on.
CREATE FUNCTION take_request(p_subject TEXT, p_limit INTEGER, p_window_seconds DOUBLE PRECISION,
                             OUT allowed BOOLEAN, OUT remaining INTEGER, OUT reset_seconds DOUBLE PRECISION)
LANGUAGE plpgsql AS $$
DECLARE
    seen rate_limits;
    age DOUBLE PRECISION;
    weighted DOUBLE PRECISION;
BEGIN
    INSERT INTO rate_limits AS r VALUES (p_subject, clock_timestamp(), 0, 0)
    ON CONFLICT (subject) DO UPDATE SET subject = r.subject
    RETURNING * INTO seen;
    age := extract(epoch FROM clock_timestamp() - seen.window_start) / p_window_seconds;
    IF age >= 2 THEN
        seen.window_start := clock_timestamp(); seen.previous_count := 0; seen.current_count := 0; age := 0;
    ELSIF age >= 1 THEN
        seen.window_start := seen.window_start + make_interval(secs => p_window_seconds);
        seen.previous_count := seen.current_count; seen.current_count := 0; age := age - 1;
    END IF;
    weighted := seen.previous_count * (1 - age) + seen.current_count;
    allowed := weighted + 1 <= p_limit;
    IF allowed THEN
        seen.current_count := seen.current_count + 1;
        weighted := weighted + 1;
    END IF;
    remaining := greatest(0, floor(p_limit - weighted))::INTEGER;
    reset_seconds := CASE
        WHEN allowed OR seen.previous_count = 0 THEN (1 - age) * p_window_seconds
        ELSE least(1 - age, (weighted + 1 - p_limit) / seen.previous_count) * p_window_seconds
    END;
    UPDATE rate_limits r
    SET window_start = seen.window_start, current_count = seen.current_count, previous_count = seen.previous_count
    WHERE r.subject = p_subject;
END $$;

-- One round trip: who is this, is the secret right, and is there room under the tier's rate limit.
-- The caller compares the digest again in constant time; only a right secret is counted.
CREATE FUNCTION authenticate(p_api_key TEXT, p_secret_digest TEXT)
RETURNS TABLE (
    account_id UUID, agentcache_user_id UUID, agentcache_user_ref TEXT, tier TEXT, status TEXT,
    secret_digest TEXT, s3_bucket_name TEXT, s3_prefix TEXT, jetty_speed_enabled BOOLEAN,
    storage_quota_gb INTEGER, bandwidth_quota_gb INTEGER, max_file_size_mb INTEGER,
    rate_limit_per_minute INTEGER, allowed BOOLEAN, remaining INTEGER, reset_seconds DOUBLE PRECISION)
LANGUAGE plpgsql AS $$
DECLARE
    a agentcache_accounts;
    t tier_configs;
    digest TEXT;
BEGIN
    SELECT * INTO a FROM agentcache_accounts x WHERE x.api_key = p_api_key;
    digest := a.api_secret;
    IF NOT FOUND THEN
        SELECT * INTO a FROM agentcache_accounts x
        WHERE x.previous_api_key = p_api_key AND x.previous_valid_until > now();
        IF NOT FOUND THEN
            RETURN;
        END IF;
        digest := a.previous_api_secret;
    END IF;
    SELECT * INTO t FROM tier_configs x WHERE x.tier = a.agentcache_tier;
    IF digest = p_secret_digest THEN
        SELECT * INTO allowed, remaining, reset_seconds
        FROM take_request('account:' || a.id, t.rate_limit_per_minute, 60);
    END IF;
    RETURN QUERY SELECT a.id, a.agentcache_user_id, a.agentcache_user_ref, a.agentcache_tier, a.status,
        digest, a.s3_bucket_name, a.s3_prefix, a.jetty_speed_enabled,
        a.storage_quota_gb, a.bandwidth_quota_gb, t.max_file_size_mb,
        t.rate_limit_per_minute, allowed, remaining, reset_seconds;
END $$;
