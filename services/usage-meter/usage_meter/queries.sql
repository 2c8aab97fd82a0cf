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
), priced AS (
    SELECT account_id, hour, bandwidth_bytes, request_count, storage_bytes,
        (storage_bytes - storage_delta) * 3600 + changed_byte_seconds AS byte_seconds
    FROM figures
), costed AS (
    SELECT *, round(storage_cost(byte_seconds, hour), 4) AS storage_cost,
        round(bandwidth_cost(bandwidth_bytes, hour), 4) AS bandwidth_cost
    FROM priced
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
