-- name: take_new(consumer, event_ids, event_times)
-- Notes events as processed and tells which of them are new. In order of id, so that two meters never wait for each
-- other. One that comes with another time than before is known all the same: all months are searched, each once for all
-- of the events.
INSERT INTO inbox (consumer, event_id, event_time)
SELECT :consumer, e.event_id, e.event_time
FROM unnest(:event_ids::uuid[], :event_times::timestamptz[]) AS e (event_id, event_time)
WHERE e.event_id NOT IN (SELECT i.event_id FROM inbox i WHERE i.consumer = :consumer AND i.event_id = ANY (:event_ids::uuid[]))
ORDER BY e.event_id
ON CONFLICT DO NOTHING
RETURNING event_id;

-- name: lock_accounts(account_ids)
-- Locks accounts' counters, in the order of their ids, and reads when their periods began: a row for each period.
WITH locked AS (
    SELECT account_id, period_start, period_end FROM account_usage
    WHERE account_id = ANY (:account_ids::uuid[])
    ORDER BY account_id
    FOR NO KEY UPDATE
)
SELECT array_agg(account_id) AS account_ids, period_start, period_end <= now() AS period_is_over, now() AS now
FROM locked
GROUP BY period_start, period_end;

-- name: roll_periods(account_ids)
-- Begins the current month for those of the locked accounts whose period is over.
SELECT roll_periods(:account_ids::uuid[]) AS account_id;

-- name: find_due_periods(batch_size)
-- Accounts whose period is over, and those whose new one was begun by a reservation that could not say so.
(SELECT account_id FROM account_usage WHERE period_end <= now() ORDER BY period_end LIMIT :batch_size)
UNION
(SELECT account_id FROM account_usage
 WHERE bandwidth_exceeded AND bandwidth_level = 0 AND bandwidth_used_bytes < bandwidth_quota_bytes LIMIT :batch_size)
LIMIT :batch_size;

-- name: take_holds(ids, resources, account_ids)
-- Ends reservations. A row can be deleted once only, so a reservation is settled or released once.
DELETE FROM usage_reservations r
USING unnest(:ids::uuid[], :resources::text[], :account_ids::uuid[]) AS k (id, resource, account_id)
WHERE r.id = k.id AND r.resource = k.resource AND r.account_id = k.account_id
RETURNING r.id, r.resource, r.account_id, r.held_bytes;

-- name: find_reconciled(asset_ids)
-- What reconciliation's adjustments of assets add up to; only its adjustments name an asset.
SELECT asset_id, sum(used_delta_bytes)::bigint AS used_bytes, max(occurred_at) AS occurred_at
FROM usage_ledger
WHERE kind = 'adjustment' AND asset_id = ANY (:asset_ids::uuid[])
GROUP BY asset_id
HAVING sum(used_delta_bytes) <> 0;

-- name: append_entries(account_id, resource, kind, used_delta_bytes, reserved_delta_bytes, request_count, source_event_id, reservation_id, asset_id, occurred_at, reason, author)!
-- Appends to the ledger, and queues the hours that its entries change, in the order of the queue's index.
WITH entries AS (
    INSERT INTO usage_ledger (account_id, resource, kind, used_delta_bytes, reserved_delta_bytes, request_count,
                              source_event_id, reservation_id, asset_id, occurred_at, reason, author)
    SELECT * FROM unnest(
        :account_id::uuid[], :resource::text[], :kind::text[], :used_delta_bytes::bigint[],
        :reserved_delta_bytes::bigint[], :request_count::smallint[], :source_event_id::text[],
        :reservation_id::uuid[], :asset_id::uuid[], :occurred_at::timestamptz[], :reason::text[], :author::text[])
    RETURNING account_id, date_trunc('hour', occurred_at, 'UTC') AS hour, used_delta_bytes, request_count
)
INSERT INTO usage_rollup_queue (account_id, hour)
SELECT DISTINCT account_id, hour FROM entries WHERE used_delta_bytes <> 0 OR request_count <> 0
ORDER BY account_id, hour;

-- name: add_totals(account_ids, storage_used, storage_reserved, bandwidth_used, bandwidth_reserved, requests, lowest_percent)
-- Adds to the running sums of accounts that are locked, and reads those of which something may have to be announced.
-- The quotients are rounded down, so that none of those is left out.
WITH added AS (
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
        u.bandwidth_quota_bytes, u.bandwidth_used_bytes, u.bandwidth_level, u.bandwidth_exceeded
)
SELECT * FROM added
WHERE storage_level <> 0 OR storage_exceeded OR bandwidth_level <> 0 OR bandwidth_exceeded
   OR storage_used_bytes >= storage_quota_bytes / 100 * :lowest_percent::bigint
   OR bandwidth_used_bytes >= bandwidth_quota_bytes / 100 * :lowest_percent::bigint;

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

-- name: find_expired_holds(booked_until, batch_size)
-- Bandwidth holds whose time was over before the last events that are booked (the gateway that sent the bytes is
-- gone), and storage holds an hour past their time whose upload is missing, given up, or settled. One of a completed
-- upload that is not settled yet stays: its event is on the way, or lost, which reconciliation finds.
SELECT r.id, r.resource, r.account_id, r.held_bytes
FROM usage_reservations r
LEFT JOIN uploads u ON u.id = r.id AND r.resource = 'storage'
WHERE r.expires_at <= now() AND (
    r.resource = 'bandwidth' AND r.expires_at <= :booked_until::timestamptz
    OR r.resource = 'storage' AND r.expires_at <= now() - interval '1 hour' AND (
        u.id IS NULL OR u.status IN ('aborted', 'expired')
        OR u.status = 'completed' AND EXISTS (
            SELECT FROM usage_ledger l
            WHERE l.account_id = r.account_id AND l.reservation_id = r.id AND l.kind = 'settled'
              AND l.occurred_at >= r.created_at - interval '1 day')))
ORDER BY r.expires_at
LIMIT :batch_size;

-- name: take_expired_holds(ids, resources)
-- Ends those of the reservations that were not extended meanwhile.
DELETE FROM usage_reservations r
USING unnest(:ids::uuid[], :resources::text[]) AS k (id, resource)
WHERE r.id = k.id AND r.resource = k.resource AND r.expires_at <= now()
RETURNING r.id, r.resource, r.account_id, r.held_bytes;

-- name: lock_adjustment(adjustment_id)!
-- Locks an adjustment's id until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended(:adjustment_id, 0));

-- name: fetch_entry(source_event_id, resource)^
-- The ledger's entry for an event.
SELECT account_id, resource, kind, used_delta_bytes, reason, author, occurred_at
FROM usage_ledger WHERE source_event_id = :source_event_id AND resource = :resource;

-- name: outbox_backlog(types)$
-- How many events of some types are committed and not published yet.
SELECT count(*) FROM outbox WHERE routing_key = ANY (:types::text[]);

-- name: oldest_in_outbox(types)$
-- When the oldest event of some types was committed that is not published yet.
SELECT created_at FROM outbox WHERE routing_key = ANY (:types::text[]) ORDER BY id LIMIT 1;
