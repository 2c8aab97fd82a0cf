-- name: recent_accounts(oldest_hour, but_of, entry_limit)
-- Other accounts that have hours queued since one, by some of these entries.
SELECT DISTINCT account_id FROM (
    SELECT account_id FROM usage_rollup_queue
    WHERE hour >= :oldest_hour::timestamptz AND account_id <> ALL (:but_of::uuid[])
    ORDER BY hour LIMIT :entry_limit
) AS queued;

-- name: waiting_accounts(entry_limit)
-- Accounts that have hours queued, by those entries that wait longest.
SELECT DISTINCT account_id FROM (SELECT account_id FROM usage_rollup_queue ORDER BY id LIMIT :entry_limit) AS queued;

-- name: take_queued_hours(account_ids, oldest_hour)
-- Takes accounts' queued hours since one; where several of an account's are queued, the earliest tells from when to recompute.
WITH taken AS (
    DELETE FROM usage_rollup_queue
    WHERE hour >= :oldest_hour::timestamptz AND account_id = ANY (:account_ids::uuid[])
    RETURNING account_id, hour
)
SELECT account_id, min(hour) AS hour FROM taken GROUP BY account_id;

-- name: postpone_hours(account_id)!
-- Queues an account's hours again, behind those of all others.
WITH taken AS (DELETE FROM usage_rollup_queue WHERE account_id = :account_id RETURNING account_id, hour)
INSERT INTO usage_rollup_queue (account_id, hour) SELECT account_id, hour FROM taken;

-- name: recompute_hours(account_ids, from_hours, hour_limit)!
-- Computes the hourly rows of accounts from the ledger, from an hour on, for so many hours. A byte that came t seconds before an
-- hour's end was stored for t seconds of it: bytes at the start x 3600 + the sum of change x seconds left.
-- A row that was closed and changes gets the next revision, and is closed again later.
WITH work AS MATERIALIZED (
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
        AND l.occurred_at < w.from_hour + make_interval(hours => :hour_limit)
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

-- name: queue_later_hours(account_ids, from_hours, hour_limit)!
-- Queues the first hour of each account whose row is still to be computed after those hours.
INSERT INTO usage_rollup_queue (account_id, hour)
SELECT w.account_id, date_trunc('hour', later.occurred_at, 'UTC')
FROM unnest(:account_ids::uuid[], :from_hours::timestamptz[]) AS w (account_id, from_hour)
CROSS JOIN LATERAL (
    SELECT l.occurred_at FROM usage_ledger l
    WHERE l.account_id = w.account_id AND l.occurred_at >= w.from_hour + make_interval(hours => :hour_limit)
      AND (l.used_delta_bytes <> 0 OR l.request_count <> 0)
    ORDER BY l.occurred_at LIMIT 1
) AS later;

-- name: read_in_order()!
-- Lets the transaction read open hours in their index's order. An hour's end opens more of them at once than the
-- planner knows of, and it would read and sort them all for a few.
SET LOCAL enable_sort = off;

-- name: list_ended_hours(grace_seconds, after_end, after_account, batch_size)
-- Some hours that ended a while ago and are not closed, after one, in the order of their ends and accounts.
SELECT account_id, period_start, period_end
FROM storage_usage
WHERE closed_at IS NULL AND period_end <= now() - make_interval(secs => :grace_seconds)
  AND (period_end, account_id) > (:after_end::timestamptz, :after_account::uuid)
ORDER BY period_end, account_id
LIMIT :batch_size;

-- name: close_hours(account_ids, period_starts)
-- Closes those of the hours whose ledger is rolled up.
WITH complete AS MATERIALIZED (
    SELECT s.account_id, s.period_start
    FROM unnest(:account_ids::uuid[], :period_starts::timestamptz[]) AS e (account_id, period_start)
    JOIN storage_usage s USING (account_id, period_start)
    WHERE s.closed_at IS NULL
      AND NOT EXISTS (SELECT FROM usage_rollup_queue q WHERE q.account_id = e.account_id AND q.hour <= e.period_start)
    FOR UPDATE OF s SKIP LOCKED
)
UPDATE storage_usage s
SET closed_at = now()
FROM complete c
WHERE s.account_id = c.account_id AND s.period_start = c.period_start
RETURNING s.account_id, s.storage_bytes, s.bandwidth_bytes, s.request_count, s.period_start, s.period_end, s.revision;

-- name: rollup_backlog()$
-- How many hours wait for their row to be computed.
SELECT count(*) FROM usage_rollup_queue;

-- name: queue_hours_since(from_at)!
-- Has all rows since a time computed again.
INSERT INTO usage_rollup_queue (account_id, hour)
SELECT account_id, min(period_start) FROM storage_usage WHERE period_start >= :from_at GROUP BY account_id;

-- name: queue_all_hours(account_id)!
-- Has all rows of an account computed again, from its first entry on.
INSERT INTO usage_rollup_queue (account_id, hour)
SELECT account_id, date_trunc('hour', min(occurred_at), 'UTC') FROM usage_ledger
WHERE account_id = :account_id
GROUP BY account_id;
