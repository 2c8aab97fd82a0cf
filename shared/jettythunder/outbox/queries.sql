-- name: insert_outbox(lanes, exchanges, routing_keys, event_ids, bodies)!
-- Adds events in the caller's transaction.
INSERT INTO outbox (lane, exchange, routing_key, event_id, body)
SELECT * FROM unnest(:lanes::smallint[], :exchanges::text[], :routing_keys::text[], :event_ids::uuid[], :bodies::text[]);

-- name: take_outbox(lane_count, lock_space, batch_size)
-- Takes the oldest events of the lanes no other relay holds, in their order. The lanes stay locked until the
-- transaction ends. A last row without an event says that there are events in lanes that others hold.
-- Its form keeps it to the two indexes, however full the outbox and however old its statistics.
WITH lanes AS MATERIALIZED (
    SELECT lane, pg_try_advisory_xact_lock(:lock_space, lane) AS is_mine
    FROM generate_series(0, :lane_count - 1) AS lane
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

-- name: quarantine(id, lane, exchange, routing_key, event_id, body, created_at, reason)*!
-- Sets an event aside that no queue takes.
INSERT INTO outbox_quarantine (id, lane, exchange, routing_key, event_id, body, created_at, reason)
VALUES (:id, :lane, :exchange, :routing_key, :event_id, :body, :created_at, :reason);

-- name: backlog()^
-- How many events wait, and for how many seconds the oldest one has.
SELECT count(*) AS waiting, coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 AS lag_seconds
FROM outbox;

-- name: insert_inbox(consumer, event_id)$
-- Notes that a consumer processes an event; no row comes back for one it has processed before.
INSERT INTO inbox (consumer, event_id) VALUES (:consumer, :event_id) ON CONFLICT DO NOTHING RETURNING true;

-- name: is_in_inbox(consumer, event_id)$
-- Whether a consumer has processed an event.
SELECT EXISTS (SELECT FROM inbox WHERE consumer = :consumer AND event_id = :event_id);
