-- name: change_state(lanes, exchanges, routing_keys, event_ids, bodies)$
-- A change of state with its events in one statement, as services' statements are.
WITH told AS (
    INSERT INTO outbox (lane, exchange, routing_key, event_id, body)
    SELECT * FROM unnest(:lanes::smallint[], :exchanges::text[], :routing_keys::text[], :event_ids::uuid[], :bodies::text[])
)
SELECT true AS changed;
