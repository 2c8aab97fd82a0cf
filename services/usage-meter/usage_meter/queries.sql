-- name: take_new(consumer, event_ids)
-- Notes events as processed and tells which of them are new. In order of id, so that two meters never wait for each other.
INSERT INTO inbox (consumer, event_id)
SELECT :consumer, event_id FROM unnest(:event_ids::uuid[]) AS event_id ORDER BY event_id
ON CONFLICT DO NOTHING
RETURNING event_id;

-- name: lock_accounts(account_ids)
-- Locks accounts' counters, in the order of their ids, and reads when their period began.
SELECT account_id, period_start, period_end <= now() AS period_is_over, now() AS now
FROM account_usage
WHERE account_id = ANY (:account_ids::uuid[])
ORDER BY account_id
FOR NO KEY UPDATE;

-- name: roll_periods(account_ids)
-- Begins the current month for those of the locked accounts whose period is over, and tells which they are.
SELECT roll_periods(:account_ids::uuid[]) AS account_id;

-- name: find_due_periods(batch_size)
-- Accounts whose period is over, and those whose new one was begun by a reservation that could not say so.
SELECT account_id FROM account_usage
WHERE period_end <= now() OR (bandwidth_exceeded AND bandwidth_used_bytes < bandwidth_quota_bytes)
ORDER BY account_id
LIMIT :batch_size;

-- name: take_holds(ids, resources, account_ids)
-- Ends reservations. A row can be deleted once only, so a reservation is settled or released once.
DELETE FROM usage_reservations r
USING unnest(:ids::uuid[], :resources::text[], :account_ids::uuid[]) AS k (id, resource, account_id)
WHERE r.id = k.id AND r.resource = k.resource AND r.account_id = k.account_id
RETURNING r.id, r.resource, r.account_id, r.held_bytes;

-- name: append_entries(account_ids, resources, kinds, used_deltas, reserved_deltas, request_counts, source_event_ids, reservation_ids, asset_ids, occurred_ats, reasons, authors)!
-- Appends to the ledger, and queues the hours that its entries change.
WITH entries AS (
    INSERT INTO usage_ledger (account_id, resource, kind, used_delta_bytes, reserved_delta_bytes, request_count,
                              source_event_id, reservation_id, asset_id, occurred_at, reason, author)
    SELECT * FROM unnest(
        :account_ids::uuid[], :resources::text[], :kinds::text[], :used_deltas::bigint[], :reserved_deltas::bigint[],
        :request_counts::smallint[], :source_event_ids::text[], :reservation_ids::uuid[], :asset_ids::uuid[],
        :occurred_ats::timestamptz[], :reasons::text[], :authors::text[])
    RETURNING account_id, date_trunc('hour', occurred_at, 'UTC') AS hour, used_delta_bytes, request_count
)
INSERT INTO usage_rollup_queue (account_id, hour)
SELECT DISTINCT account_id, hour FROM entries WHERE used_delta_bytes <> 0 OR request_count <> 0;

-- name: add_totals(account_ids, storage_used, storage_reserved, bandwidth_used, bandwidth_reserved, requests)
-- Adds to the running sums of accounts that are locked.
UPDATE account_usage u
SET storage_used_bytes = u.storage_used_bytes + d.storage_used,
    storage_reserved_bytes = u.storage_reserved_bytes + d.storage_reserved,
    bandwidth_used_bytes = u.bandwidth_used_bytes + d.bandwidth_used,
    bandwidth_reserved_bytes = u.bandwidth_reserved_bytes + d.bandwidth_reserved,
    request_count = u.request_count + d.requests,
    updated_at = now()
FROM unnest(:account_ids::uuid[], :storage_used::bigint[], :storage_reserved::bigint[],
            :bandwidth_used::bigint[], :bandwidth_reserved::bigint[], :requests::bigint[])
    AS d (account_id, storage_used, storage_reserved, bandwidth_used, bandwidth_reserved, requests)
WHERE u.account_id = d.account_id
RETURNING u.account_id, u.storage_quota_bytes, u.storage_used_bytes, u.storage_level, u.storage_exceeded,
    u.bandwidth_quota_bytes, u.bandwidth_used_bytes, u.bandwidth_level, u.bandwidth_exceeded;

-- name: note_readings(account_ids, resources, levels, exceeded)!
-- Remembers what is said about gauges now.
UPDATE account_usage u
SET storage_level = coalesce(r.storage_level, u.storage_level),
    storage_exceeded = coalesce(r.storage_exceeded, u.storage_exceeded),
    bandwidth_level = coalesce(r.bandwidth_level, u.bandwidth_level),
    bandwidth_exceeded = coalesce(r.bandwidth_exceeded, u.bandwidth_exceeded)
FROM (
    SELECT account_id,
        max(level) FILTER (WHERE resource = 'storage') AS storage_level,
        bool_or(exceeded) FILTER (WHERE resource = 'storage') AS storage_exceeded,
        max(level) FILTER (WHERE resource = 'bandwidth') AS bandwidth_level,
        bool_or(exceeded) FILTER (WHERE resource = 'bandwidth') AS bandwidth_exceeded
    FROM unnest(:account_ids::uuid[], :resources::text[], :levels::smallint[], :exceeded::boolean[])
        AS given (account_id, resource, level, exceeded)
    GROUP BY account_id
) AS r
WHERE u.account_id = r.account_id;

-- name: find_expired_holds(batch_size)
-- Bandwidth holds past their time (the gateway that sent the bytes is gone), and storage holds an hour past it
-- whose upload is missing, given up, or settled. One of a completed upload that is not settled yet stays: its event is on the way.
SELECT r.id, r.resource, r.account_id
FROM usage_reservations r
LEFT JOIN uploads u ON u.id = r.id AND r.resource = 'storage'
WHERE r.resource = 'bandwidth' AND r.expires_at <= now()
   OR r.resource = 'storage' AND r.expires_at <= now() - interval '1 hour' AND (
        u.id IS NULL OR u.status IN ('aborted', 'expired')
        OR u.status = 'completed' AND EXISTS (
            SELECT FROM usage_ledger l
            WHERE l.account_id = r.account_id AND l.reservation_id = r.id AND l.kind = 'settled'))
ORDER BY r.expires_at
LIMIT :batch_size;

-- name: take_expired_holds(ids, resources)
-- Ends those of the reservations that were not extended meanwhile.
DELETE FROM usage_reservations r
USING unnest(:ids::uuid[], :resources::text[]) AS k (id, resource)
WHERE r.id = k.id AND r.resource = k.resource AND r.expires_at <= now()
RETURNING r.id, r.resource, r.account_id, r.held_bytes;

-- name: take_queued_hours(oldest_hour, account_limit)
-- Takes the queued hours of some accounts; where several of an account's are queued, the earliest tells from when to recompute.
WITH taken AS (
    DELETE FROM usage_rollup_queue
    WHERE hour >= :oldest_hour::timestamptz AND account_id IN (
        SELECT DISTINCT account_id FROM usage_rollup_queue WHERE hour >= :oldest_hour::timestamptz LIMIT :account_limit)
    RETURNING account_id, hour
)
SELECT account_id, min(hour) AS hour FROM taken GROUP BY account_id;

-- name: recompute_hours(account_ids, from_hours)!
-- Computes the hourly rows of accounts from the ledger, from an hour on. A byte that came t seconds before an
-- hour's end was stored for t seconds of it: bytes at the start x 3600 + the sum of change x seconds left.
-- A row that was closed and changes gets the next revision, and is closed again later.
WITH work AS (
    SELECT w.account_id, w.from_hour, coalesce(before.storage_bytes, 0) AS opening_bytes
    FROM unnest(:account_ids::uuid[], :from_hours::timestamptz[]) AS w (account_id, from_hour)
    JOIN agentcache_accounts a ON a.id = w.account_id
    LEFT JOIN LATERAL (
        SELECT s.storage_bytes FROM storage_usage s
        WHERE s.account_id = w.account_id AND s.period_start < w.from_hour
        ORDER BY s.period_start DESC LIMIT 1
    ) AS before ON true
), sums AS (
    SELECT w.account_id, w.opening_bytes, h.hour,
        coalesce(sum(l.used_delta_bytes) FILTER (WHERE l.resource = 'storage'), 0) AS storage_delta,
        coalesce(sum(l.used_delta_bytes * extract(epoch FROM h.hour + interval '1 hour' - l.occurred_at))
            FILTER (WHERE l.resource = 'storage'), 0) AS changed_byte_seconds,
        coalesce(sum(l.used_delta_bytes) FILTER (WHERE l.resource = 'bandwidth'), 0)::bigint AS bandwidth_bytes,
        sum(l.request_count) AS request_count
    FROM work w
    JOIN usage_ledger l ON l.account_id = w.account_id AND l.occurred_at >= w.from_hour
    CROSS JOIN LATERAL (SELECT date_trunc('hour', l.occurred_at, 'UTC') AS hour) AS h
    WHERE l.used_delta_bytes <> 0 OR l.request_count <> 0
    GROUP BY w.account_id, w.opening_bytes, h.hour
), figures AS (
    SELECT account_id, hour, bandwidth_bytes, request_count, storage_delta, changed_byte_seconds,
        (opening_bytes + sum(storage_delta) OVER (PARTITION BY account_id ORDER BY hour))::bigint AS storage_bytes
    FROM sums
), weighed AS (
    SELECT account_id, hour, date_trunc('month', hour, 'UTC') AS month, bandwidth_bytes, request_count, storage_bytes,
        (storage_bytes - storage_delta) * 3600 + changed_byte_seconds AS byte_seconds
    FROM figures
), rates AS MATERIALIZED (
    SELECT m.month, r.* FROM (SELECT DISTINCT month FROM weighed) AS m CROSS JOIN LATERAL usage_rates(m.month) AS r
), costed AS (
    SELECT w.*, round(w.byte_seconds * r.storage_usd_per_gb / (1000000000 * r.month_seconds), 4) AS storage_cost,
        round(w.bandwidth_bytes * r.bandwidth_usd_per_gb / 1000000000, 4) AS bandwidth_cost
    FROM weighed w JOIN rates r USING (month)
)
INSERT INTO storage_usage AS s (account_id, period_start, period_end, storage_bytes, storage_byte_seconds,
    bandwidth_bytes, request_count, storage_cost, bandwidth_cost, total_cost)
SELECT account_id, hour, hour + interval '1 hour', storage_bytes, byte_seconds,
    bandwidth_bytes, request_count, storage_cost, bandwidth_cost, storage_cost + bandwidth_cost
FROM costed
ON CONFLICT (account_id, period_start) DO UPDATE SET
    storage_bytes = excluded.storage_bytes,
    storage_byte_seconds = excluded.storage_byte_seconds,
    bandwidth_bytes = excluded.bandwidth_bytes,
    request_count = excluded.request_count,
    storage_cost = excluded.storage_cost,
    bandwidth_cost = excluded.bandwidth_cost,
    total_cost = excluded.total_cost,
    revision = s.revision + (s.closed_at IS NOT NULL)::int,
    closed_at = NULL,
    recorded_at = now()
WHERE (s.storage_bytes, s.storage_byte_seconds, s.bandwidth_bytes, s.request_count, s.storage_cost, s.bandwidth_cost)
    IS DISTINCT FROM (excluded.storage_bytes, excluded.storage_byte_seconds, excluded.bandwidth_bytes,
                      excluded.request_count, excluded.storage_cost, excluded.bandwidth_cost);

-- name: close_hours(grace_seconds, batch_size)
-- Closes hours that ended a while ago and whose ledger is rolled up.
UPDATE storage_usage
SET closed_at = now()
WHERE id IN (
    SELECT s.id FROM storage_usage s
    WHERE s.closed_at IS NULL AND s.period_end <= now() - make_interval(secs => :grace_seconds)
      AND NOT EXISTS (SELECT FROM usage_rollup_queue q WHERE q.account_id = s.account_id AND q.hour <= s.period_start)
    ORDER BY s.period_end
    LIMIT :batch_size
    FOR UPDATE SKIP LOCKED)
RETURNING account_id, storage_bytes, bandwidth_bytes, request_count, period_start, period_end, revision;

-- name: rollup_backlog()$
-- How many hours wait for their row to be computed.
SELECT count(*) FROM usage_rollup_queue;

-- name: try_lock(key)$
-- Takes an advisory lock of this session, unless another has it.
SELECT pg_try_advisory_lock(:key);

-- name: unlock(key)$
-- Gives an advisory lock back.
SELECT pg_advisory_unlock(:key);

-- name: user_of(account_id)$
-- The id of an account's user, as AgentCache gave it.
SELECT agentcache_user_ref FROM agentcache_accounts WHERE id = :account_id;

-- name: find_account(name)^
-- An account by its id or by its user's, as AgentCache gave it.
SELECT id, agentcache_user_ref, s3_prefix FROM agentcache_accounts
WHERE id::text = lower(:name) OR agentcache_user_ref = :name
LIMIT 1;

-- name: list_accounts(after, page_size)
-- A page of accounts, in the order of their ids.
SELECT id, agentcache_user_ref, s3_prefix FROM agentcache_accounts
WHERE id > coalesce(:after::uuid, '00000000-0000-0000-0000-000000000000')
ORDER BY id
LIMIT :page_size;

-- name: list_quotas(account_ids)
-- The quota answers of accounts, with what was said about them last.
SELECT u.account_id, a.agentcache_user_ref AS agentcache_user_id, q.*, u.storage_level, u.bandwidth_level
FROM account_usage u
JOIN agentcache_accounts a ON a.id = u.account_id
CROSS JOIN LATERAL quota_of(u.account_id) AS q
WHERE u.account_id = ANY (:account_ids::uuid[])
ORDER BY u.account_id;

-- name: list_entries(account_id, before, page_size)
-- A page of an account's ledger, the newest first.
SELECT id, resource, kind, used_delta_bytes, reserved_delta_bytes, request_count, source_event_id,
    reservation_id, asset_id, occurred_at, recorded_at, reason, author
FROM usage_ledger
WHERE account_id = :account_id AND id < coalesce(:before::bigint, 9223372036854775807)
ORDER BY id DESC
LIMIT :page_size;

-- name: fetch_entry(source_event_id, resource)^
-- The ledger's entry for an event.
SELECT account_id, resource, kind, used_delta_bytes, reason, author, occurred_at
FROM usage_ledger WHERE source_event_id = :source_event_id AND resource = :resource;

-- name: report(bucket, from_at, to_at, account_id)
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
WHERE (:account_id::uuid IS NULL OR a.id = :account_id)
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

-- name: queue_hours_since(from_at)!
-- Has all rows since a time computed again.
INSERT INTO usage_rollup_queue (account_id, hour)
SELECT account_id, min(period_start) FROM storage_usage WHERE period_start >= :from_at GROUP BY account_id;

-- name: bytes_by_source(account_id)^
-- What an account stores according to each of those who know.
SELECT u.storage_used_bytes AS counter_bytes, u.storage_reserved_bytes AS counter_reserved_bytes,
    u.bandwidth_used_bytes AS counter_bandwidth_bytes, u.bandwidth_reserved_bytes AS counter_bandwidth_reserved_bytes,
    u.request_count AS counter_request_count,
    l.storage_bytes AS ledger_bytes, l.storage_reserved_bytes AS ledger_reserved_bytes,
    l.bandwidth_bytes AS ledger_bandwidth_bytes, l.bandwidth_reserved_bytes AS ledger_bandwidth_reserved_bytes,
    l.request_count AS ledger_request_count, l.adjusted_bytes,
    h.storage_bytes AS held_bytes, h.bandwidth_bytes AS held_bandwidth_bytes
FROM account_usage u
CROSS JOIN LATERAL (
    SELECT coalesce(sum(used_delta_bytes) FILTER (WHERE resource = 'storage'), 0)::bigint AS storage_bytes,
        coalesce(sum(reserved_delta_bytes) FILTER (WHERE resource = 'storage'), 0)::bigint AS storage_reserved_bytes,
        coalesce(sum(used_delta_bytes) FILTER (
            WHERE resource = 'bandwidth' AND occurred_at >= u.period_start), 0)::bigint AS bandwidth_bytes,
        coalesce(sum(reserved_delta_bytes) FILTER (WHERE resource = 'bandwidth'), 0)::bigint AS bandwidth_reserved_bytes,
        coalesce(sum(request_count) FILTER (WHERE occurred_at >= u.period_start), 0)::bigint AS request_count,
        coalesce(sum(used_delta_bytes) FILTER (
            WHERE resource = 'storage' AND kind = 'adjustment' AND asset_id IS NULL), 0)::bigint AS adjusted_bytes
    FROM usage_ledger WHERE account_id = u.account_id
) AS l
CROSS JOIN LATERAL (
    SELECT coalesce(sum(held_bytes) FILTER (WHERE resource = 'storage'), 0)::bigint AS storage_bytes,
        coalesce(sum(held_bytes) FILTER (WHERE resource = 'bandwidth'), 0)::bigint AS bandwidth_bytes
    FROM usage_reservations WHERE account_id = u.account_id
) AS h
WHERE u.account_id = :account_id;

-- name: list_known_objects(account_id, bucket, prefix)
-- The objects that an account's assets, open uploads and wanted deletions account for.
SELECT a.s3_key, 'asset' AS kind, a.id AS asset_id, a.size_bytes
FROM agentcache_assets a WHERE a.account_id = :account_id
UNION ALL
SELECT u.s3_key, 'upload', NULL, 0
FROM uploads u WHERE u.account_id = :account_id AND u.status IN ('created', 'receiving', 'completing')
UNION ALL
SELECT d.s3_key, 'deletion', NULL, 0
FROM object_deletions d WHERE d.s3_bucket = :bucket AND starts_with(d.s3_key, :prefix);

-- name: list_ledger_drift(account_id)
-- Assets whose entries in the ledger don't add up to their size, or to 0 where they are gone.
SELECT coalesce(l.asset_id, a.id) AS asset_id, coalesce(l.bytes, 0) AS ledger_bytes, coalesce(a.size_bytes, 0) AS asset_bytes
FROM (
    SELECT asset_id, sum(used_delta_bytes)::bigint AS bytes FROM usage_ledger
    WHERE account_id = :account_id AND resource = 'storage' AND asset_id IS NOT NULL
    GROUP BY asset_id
) AS l
FULL JOIN (SELECT id, size_bytes FROM agentcache_assets WHERE account_id = :account_id) AS a ON a.id = l.asset_id
WHERE coalesce(l.bytes, 0) <> coalesce(a.size_bytes, 0);

-- name: without_account(account_ids)
-- Which ids belong to no account.
SELECT g.account_id FROM unnest(:account_ids::uuid[]) AS g (account_id)
WHERE NOT EXISTS (SELECT FROM agentcache_accounts a WHERE a.id = g.account_id)
ORDER BY g.account_id;

-- name: booked_bytes(account_id)$
-- What an account stores by its ledger.
SELECT coalesce(sum(used_delta_bytes), 0)::bigint FROM usage_ledger
WHERE account_id = :account_id AND resource = 'storage';

-- name: is_in_ledger(account_id)$
-- Whether the ledger has an entry of an account.
SELECT EXISTS (SELECT FROM usage_ledger WHERE account_id = :account_id);

-- name: want_deleted(s3_bucket, s3_keys)!
-- Asks the storage-gateway's housekeeping to delete objects.
INSERT INTO object_deletions (s3_bucket, s3_key) SELECT :s3_bucket, unnest(:s3_keys::text[])
ON CONFLICT DO NOTHING;

-- name: restore_counters(account_id, storage_used, storage_reserved, bandwidth_used, bandwidth_reserved, requests)!
-- Sets a locked account's running sums to what its ledger adds up to.
UPDATE account_usage
SET storage_used_bytes = :storage_used, storage_reserved_bytes = :storage_reserved,
    bandwidth_used_bytes = :bandwidth_used, bandwidth_reserved_bytes = :bandwidth_reserved,
    request_count = :requests, updated_at = now()
WHERE account_id = :account_id;

-- name: outbox_backlog(types)$
-- How many events of some types are committed and not published yet.
SELECT count(*) FROM outbox WHERE routing_key = ANY (:types::text[]);
