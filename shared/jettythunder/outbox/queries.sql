-- name: insert_outbox(lanes, exchanges, routing_keys, event_ids, bodies)!
-- Adds events in the caller's transaction.
INSERT INTO outbox (lane, exchange, routing_key, event_id, body)
SELECT * FROM unnest(:lanes::smallint[], :exchanges::text[], :routing_keys::text[], :event_ids::uuid[], :bodies::text[]);

-- name: take_outbox(all_lanes, lock_space, batch_size)
-- Takes the oldest events of the lanes no other relay holds, in their order. The lanes stay locked until the
-- transaction ends. A last row without an event says that there are events in lanes that others hold.
-- Its form keeps it to the two indexes, however full the outbox and however old its statistics.
WITH lanes AS MATERIALIZED (
    SELECT lane, pg_try_advisory_xact_lock(:lock_space, lane) AS is_mine
    FROM unnest(:all_lanes::smallint[]) AS lane (lane)
    CROSS JOIN LATERAL (SELECT FROM outbox o WHERE o.lane = lane.lane LIMIT 1) AS waiting
), taken AS (
    DELETE FROM outbox WHERE id IN (
        SELECT id FROM outbox WHERE lane = ANY (ARRAY(SELECT lane FROM lanes WHERE is_mine)::smallint[])
        ORDER BY id LIMIT :batch_size FOR UPDATE SKIP LOCKED
    )
    RETURNING id, lane, exchange, routing_key, event_id, body, created_at
)
SELECT id, lane, exchange, routing_key, event_id, body, created_at FROM taken
UNION ALL
SELECT NULL, lane, NULL, NULL, NULL, NULL, NULL FROM (SELECT lane FROM lanes WHERE NOT is_mine LIMIT 1) AS held
ORDER BY id NULLS LAST;

-- name: quarantine(ids, lanes, exchanges, routing_keys, event_ids, bodies, created_ats, reason)!
-- Sets events aside that no queue takes.
INSERT INTO outbox_quarantine (id, lane, exchange, routing_key, event_id, body, created_at, reason)
SELECT given.*, :reason FROM unnest(:ids::bigint[], :lanes::smallint[], :exchanges::text[], :routing_keys::text[],
                                    :event_ids::uuid[], :bodies::text[], :created_ats::timestamptz[]) AS given;

-- name: lag()^
-- For how many seconds the oldest event has waited, and about how many wait: the span of their ids.
SELECT coalesce(extract(epoch FROM clock_timestamp() - oldest.created_at), 0)::float8 AS lag_seconds,
    coalesce(newest.id - oldest.id + 1, 0) AS waiting
FROM (SELECT 1) AS always
LEFT JOIN (SELECT id, created_at FROM outbox ORDER BY id LIMIT 1) AS oldest ON true
LEFT JOIN (SELECT id FROM outbox ORDER BY id DESC LIMIT 1) AS newest ON true;

-- name: insert_inbox(consumer, event_id, event_time)$
-- Notes that a consumer processes an event; no row comes back for one it has processed before.
INSERT INTO inbox (consumer, event_id, event_time)
SELECT :consumer, :event_id, :event_time
WHERE NOT EXISTS (SELECT FROM inbox WHERE consumer = :consumer AND event_id = :event_id)
ON CONFLICT DO NOTHING
RETURNING true;

-- name: is_in_inbox(consumer, event_id)$
-- Whether a consumer has processed an event.
SELECT EXISTS (SELECT FROM inbox WHERE consumer = :consumer AND event_id = :event_id);

-- name: keep_inbox(keep_days)$
-- Makes the inbox's partitions of the months to come, and drops those of events that are older than is kept; how many.
SELECT keep_inbox_v1(:keep_days);
