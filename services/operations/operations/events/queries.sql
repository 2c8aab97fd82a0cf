-- name: processed_by(event_id)
-- The consumers that have processed an event.
SELECT consumer, processed_at FROM inbox WHERE event_id = :event_id ORDER BY processed_at;

-- name: known_events(consumer, event_ids)
-- Which of the events a consumer has processed.
SELECT event_id FROM inbox WHERE consumer = :consumer AND event_id = ANY (:event_ids::uuid[]);
