-- name: change_state(writer, lanes, exchanges, routing_keys, event_ids, bodies)!
-- A small change of state and its event, in one statement and one commit, as services write them.
WITH changed AS (
    UPDATE bench_states SET changes = changes + 1 WHERE writer = :writer
)
INSERT INTO outbox (lane, exchange, routing_key, event_id, body)
SELECT * FROM unnest(:lanes::smallint[], :exchanges::text[], :routing_keys::text[], :event_ids::uuid[], :bodies::text[]);
