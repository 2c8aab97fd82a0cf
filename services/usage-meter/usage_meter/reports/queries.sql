-- name: list_quotas(account_ids)
-- The quotas of accounts, with the thresholds that were announced last.
SELECT u.account_id, a.agentcache_user_ref AS agentcache_user_id, q.tier, q.status,
    q.storage_used_bytes, q.storage_reserved_bytes, q.storage_quota_bytes,
    q.bandwidth_used_bytes, q.bandwidth_reserved_bytes, q.bandwidth_quota_bytes,
    q.request_count, q.period_start, q.period_end, u.storage_level, u.bandwidth_level
FROM account_usage u
JOIN agentcache_accounts a ON a.id = u.account_id
CROSS JOIN LATERAL quota_of_v1(u.account_id) AS q
WHERE u.account_id = ANY (:account_ids::uuid[])
ORDER BY u.account_id;

-- name: list_entries(account_id, before, page_size)
-- A page of an account's ledger, the newest first, after the entry with an id.
SELECT id, resource, kind, used_delta_bytes, reserved_delta_bytes, request_count, source_event_id,
    reservation_id, asset_id, occurred_at, recorded_at, reason, author
FROM usage_ledger
WHERE account_id = :account_id AND (occurred_at, id) < (
    SELECT coalesce(max(occurred_at), 'infinity'), coalesce(:before::bigint, 9223372036854775807)
    FROM usage_ledger WHERE id = :before)
ORDER BY occurred_at DESC, id DESC
LIMIT :page_size;

-- name: list_reported(account_id, after, page_size)
-- A page of accounts, in the order of their ids, and the first hour that each has a row of; or one account alone.
SELECT a.id AS account_id, h.first_hour
FROM agentcache_accounts a
CROSS JOIN LATERAL (SELECT min(period_start) AS first_hour FROM storage_usage s WHERE s.account_id = a.id) AS h
WHERE a.id > coalesce(:after::uuid, '00000000-0000-0000-0000-000000000000')
  AND (:account_id::uuid IS NULL OR a.id = :account_id)
ORDER BY a.id
LIMIT :page_size;

-- name: report(bucket, from_at, to_at, account_ids)
-- Usage per account and hour, day or month (UTC), from the hourly rows. Between them the bytes stored stay as
-- they were, so a bucket's byte-seconds are: bytes at its start x its length, and for each hour in it what
-- the hour changed within itself, and its change x the time from its end to the bucket's.
WITH rates AS MATERIALIZED (
    SELECT m.at_utc AT TIME ZONE 'UTC' AS month, r.*
    FROM generate_series(date_trunc('month', :from_at::timestamptz AT TIME ZONE 'UTC'),
                         :to_at::timestamptz AT TIME ZONE 'UTC', interval '1 month') AS m (at_utc)
    CROSS JOIN LATERAL usage_rates(m.at_utc AT TIME ZONE 'UTC') AS r
)
SELECT a.id AS account_id, a.agentcache_user_ref AS agentcache_user_id, b.starts_at AS period_start, b.ends_at AS period_end,
    coalesce(h.closing_bytes, b.opening_bytes) AS storage_bytes,
    c.byte_seconds / 3600 AS storage_byte_hours,
    coalesce(h.bandwidth_bytes, 0) AS bandwidth_bytes,
    coalesce(h.request_count, 0) AS request_count,
    round(d.storage_cost, 4) AS storage_cost,
    round(d.bandwidth_cost, 4) AS bandwidth_cost,
    round(d.storage_cost + d.bandwidth_cost, 4) AS total_cost
FROM agentcache_accounts a
CROSS JOIN LATERAL (
    SELECT s.starts_at,
        least((s.at_utc + ('1 ' || :bucket)::interval) AT TIME ZONE 'UTC',
              date_trunc('hour', now(), 'UTC') + interval '1 hour') AS ends_at,
        coalesce(before.storage_bytes, 0) AS opening_bytes
    FROM (
        SELECT g AS at_utc, g AT TIME ZONE 'UTC' AS starts_at
        FROM generate_series(
            date_trunc(:bucket, :from_at::timestamptz AT TIME ZONE 'UTC'),
            least(:to_at::timestamptz, now()) AT TIME ZONE 'UTC' - interval '1 microsecond',
            ('1 ' || :bucket)::interval) AS g
    ) AS s
    LEFT JOIN LATERAL (
        SELECT u.storage_bytes FROM storage_usage u
        WHERE u.account_id = a.id AND u.period_start < s.starts_at
        ORDER BY u.period_start DESC LIMIT 1
    ) AS before ON true
) AS b
LEFT JOIN LATERAL (
    SELECT (array_agg(r.storage_bytes ORDER BY r.period_start DESC))[1] AS closing_bytes,
        sum(r.bandwidth_bytes)::bigint AS bandwidth_bytes,
        sum(r.request_count)::bigint AS request_count,
        sum(r.storage_byte_seconds - r.before_bytes * 3600
            + (r.storage_bytes - r.before_bytes) * extract(epoch FROM b.ends_at - r.period_end)) AS changed_byte_seconds
    FROM (
        SELECT u.*, lag(u.storage_bytes, 1, b.opening_bytes) OVER (ORDER BY u.period_start) AS before_bytes
        FROM storage_usage u
        WHERE u.account_id = a.id AND u.period_start >= b.starts_at AND u.period_start < b.ends_at
    ) AS r
) AS h ON true
CROSS JOIN LATERAL (
    SELECT b.opening_bytes * extract(epoch FROM b.ends_at - b.starts_at) + coalesce(h.changed_byte_seconds, 0) AS byte_seconds
) AS c
JOIN rates r ON r.month = date_trunc('month', b.starts_at, 'UTC')
CROSS JOIN LATERAL (
    SELECT c.byte_seconds * r.storage_usd_per_gb / (1000000000 * r.month_seconds) AS storage_cost,
        coalesce(h.bandwidth_bytes, 0) * r.bandwidth_usd_per_gb / 1000000000 AS bandwidth_cost
) AS d
WHERE a.id = ANY (:account_ids::uuid[])
  AND (h.closing_bytes IS NOT NULL OR b.opening_bytes <> 0)
ORDER BY a.id, b.starts_at;

-- name: list_prices()
-- All prices, the newest first.
SELECT resource, effective_from, usd_per_gb, source FROM usage_prices ORDER BY effective_from DESC, resource;

-- name: set_price(resource, effective_from, usd_per_gb, source)!
-- Sets a price from the start of a month on.
INSERT INTO usage_prices (resource, effective_from, usd_per_gb, source)
VALUES (:resource, :effective_from, :usd_per_gb, :source)
ON CONFLICT (resource, effective_from) DO UPDATE SET usd_per_gb = excluded.usd_per_gb, source = excluded.source;
