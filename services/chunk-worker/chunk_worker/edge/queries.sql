-- name: note_edge(edge_id, region, url, in_flight_bytes, capacity_bytes, started_at)!
-- Notes that an edge serves and how busy it is. Rows of edges that were silent for an hour are deleted with it.
WITH dead AS (
    DELETE FROM edges WHERE last_seen_at < now() - interval '1 hour' AND id <> :edge_id
)
INSERT INTO edges (id, region, url, in_flight_bytes, capacity_bytes, started_at, last_seen_at)
VALUES (:edge_id, :region, :url, :in_flight_bytes, :capacity_bytes, :started_at, now())
ON CONFLICT (id) DO UPDATE
SET region = excluded.region, url = excluded.url, in_flight_bytes = excluded.in_flight_bytes,
    capacity_bytes = excluded.capacity_bytes, started_at = excluded.started_at, last_seen_at = now();

-- name: remove_edge(edge_id, started_at)!
-- Takes an edge off the list, unless a later process has its id by now.
DELETE FROM edges WHERE id = :edge_id AND started_at = :started_at;
