-- Fills a database to a size, set by set. :accounts, :assets, :entries grow; :open work stays the same.
SET synchronous_commit = off;
SET maintenance_work_mem = '256MB';

CREATE FUNCTION pg_temp.id(kind TEXT, n BIGINT, made_at TIMESTAMPTZ) RETURNS UUID LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM made_at) * 1000)::BIGINT), 12, '0') || '7' || left(h, 3) || '8'
            || substr(h, 4, 15))::UUID FROM (SELECT md5(kind || n) AS h) AS hashed
$$;
CREATE UNLOGGED TABLE bench_accounts AS
SELECT n, pg_temp.id('account', n, now() - interval '200 days' + n * interval '1 second') AS id
FROM generate_series(1, :accounts) AS n;
ALTER TABLE bench_accounts ADD PRIMARY KEY (n);

INSERT INTO agentcache_accounts (id, agentcache_user_id, agentcache_user_ref, agentcache_email, agentcache_tier, api_key,
    api_secret, storage_quota_gb, bandwidth_quota_gb, s3_bucket_name, s3_prefix, folder_created_at, created_at)
SELECT id, md5('user' || n)::uuid, 'user-' || n, n || '@example.com', 'enterprise', 'jt_' || n, '', 1000, 5000, 'bucket',
    'accounts/' || id || '/', now(), now() - interval '200 days' + n * interval '1 second'
FROM bench_accounts;
INSERT INTO account_usage (account_id, storage_quota_bytes, bandwidth_quota_bytes, bandwidth_used_bytes, bandwidth_level,
    bandwidth_exceeded, period_start, period_end)
SELECT id, 1e15, 1e12, CASE WHEN n % 100 = 0 THEN 1e12 ELSE 0 END, CASE WHEN n % 100 = 0 THEN 100 ELSE 0 END, n % 100 = 0,
    date_trunc('month', now(), 'UTC'), date_trunc('month', now(), 'UTC') + interval '1 month'
FROM bench_accounts;
INSERT INTO rate_limits
SELECT 'account:' || id, now() + CASE WHEN n <= :open THEN interval '-1 hour' ELSE interval '1 hour' END, 1, 1
FROM bench_accounts;

-- Every twentieth row is of the first account. The age of rows is that of a service that grows: half is of one month.
CREATE UNLOGGED TABLE bench_assets AS
SELECT g.n, b.id AS account_id, t.at, pg_temp.id('asset', g.n, t.at) AS id
FROM generate_series(1, :assets) AS g (n)
CROSS JOIN LATERAL (SELECT now() - interval '85 days' * (1 - sqrt(g.n::float8 / :assets)) - interval '3 hours' AS at) AS t
JOIN bench_accounts b ON b.n = CASE WHEN g.n % 20 = 0 THEN 1 ELSE 2 + g.n % (:accounts - 1) END
ORDER BY g.n;
INSERT INTO agentcache_assets (id, account_id, s3_key, s3_bucket, filename, content_type, size_bytes, content_hash,
    agentcache_pipeline_id, expires_at, created_at, content_hash_verified, serves_duplicates)
SELECT id, account_id, 'accounts/' || account_id || '/' || id || '/file.bin', 'bucket', 'file-' || n, 'x/y', 1000,
    md5('h' || n) || md5('i' || n), CASE WHEN n % 7 = 0 THEN md5('p' || n % 50)::uuid END,
    CASE WHEN n % 50 = 1 THEN now() + interval '10 days' + n * interval '1 second' END, at, n % 100 <> 0, n % 100 <> 0
FROM bench_assets;
INSERT INTO asset_cache_keys (account_id, cache_key, asset_id)
SELECT account_id, 'key-' || n, id FROM bench_assets WHERE n % 10 = 0;

INSERT INTO uploads (id, account_id, kind, status, filename, content_type, s3_bucket, s3_key, size_bytes, asset_id,
    correlation_id, expires_at, created_at, updated_at)
SELECT id, account_id, 'form', 'completed', 'f', 'x/y', 'bucket', 'accounts/' || account_id || '/' || id || '/f', 1000, id,
    'c', at, at, at
FROM bench_assets WHERE at > now() - interval '29 days';
INSERT INTO uploads (id, account_id, kind, status, filename, content_type, s3_bucket, s3_key, size_bytes, s3_upload_id,
    correlation_id, expires_at)
SELECT gen_random_uuid(), b.id, 'session', 'receiving', 'f', 'x/y', 'bucket', 'k' || b.n, 1000, 'u', 'c', now() + interval '1 day'
FROM bench_accounts b WHERE b.n <= :open;

CREATE UNLOGGED TABLE bench_entries AS
SELECT g.n, b.id AS account_id, t.at, pg_temp.id('event', g.n, t.at) AS event_id,
    CASE WHEN g.n % 4 = 0 THEN 'storage' ELSE 'bandwidth' END AS resource
FROM generate_series(1, :entries) AS g (n)
CROSS JOIN LATERAL (SELECT now() - interval '85 days' * (1 - sqrt(g.n::float8 / :entries)) - interval '3 hours' AS at) AS t
JOIN bench_accounts b ON b.n = CASE WHEN g.n % 20 = 0 THEN 1 ELSE 2 + g.n % (:accounts - 1) END
ORDER BY g.n;
INSERT INTO usage_ledger (account_id, resource, kind, used_delta_bytes, reserved_delta_bytes, request_count, source_event_id,
    occurred_at, recorded_at)
SELECT account_id, resource, 'settled', 1000, -1000, 1, event_id, at, at FROM bench_entries;
INSERT INTO inbox (consumer, event_id, processed_at, event_time)
SELECT 'usage-meter.events', event_id, at, at FROM bench_entries;
INSERT INTO storage_usage (account_id, period_start, period_end, storage_bytes, bandwidth_bytes, request_count, closed_at)
SELECT account_id, hour, hour + interval '1 hour', 1000, 1000, count(*), now()
FROM bench_entries CROSS JOIN LATERAL (SELECT date_trunc('hour', at, 'UTC') AS hour) AS h GROUP BY account_id, hour;

INSERT INTO outbox (lane, exchange, routing_key, event_id, body)
SELECT n % 16, 'jettythunder.events', 'other', gen_random_uuid(), '{}' FROM generate_series(1, :open) AS n;
INSERT INTO usage_reservations (id, resource, account_id, held_bytes, expires_at)
SELECT gen_random_uuid(), 'bandwidth', id, 1000, now() + interval '1 hour' FROM bench_accounts WHERE n <= :open;
INSERT INTO usage_rollup_queue (account_id, hour)
SELECT id, date_trunc('hour', now(), 'UTC') - interval '10 hours' FROM bench_accounts WHERE n <= :open;
INSERT INTO reconciliation_queue (account_id, is_changed, drift_bytes)
SELECT id, true, CASE WHEN n <= :open THEN 1 ELSE 0 END FROM bench_accounts WHERE n <= :open OR n % 10 = 0;
INSERT INTO reconciliation_round (after_account_id) SELECT id FROM bench_accounts WHERE n = 7 ON CONFLICT DO NOTHING;
-- What is measured next has the machine to itself.
INSERT INTO reconciliation_run (ended_at) VALUES (now()) ON CONFLICT (is_only) DO UPDATE SET ended_at = now();
INSERT INTO object_deletions (s3_bucket, s3_key) SELECT 'bucket', 'k' || n FROM generate_series(1, :open) AS n;
DROP TABLE bench_entries, bench_assets;
