-- name: fetch_progress(upload_id, account_id, number)^
-- An account's upload with what is recorded of one chunk; the chunk's columns are null where nothing is.
SELECT u.status, c.number, c.size_bytes, c.md5, c.etag, c.edge
FROM uploads u
LEFT JOIN upload_chunks c ON c.upload_id = u.id AND c.number = :number
WHERE u.id = :upload_id AND u.account_id = :account_id;

-- name: record_chunk(upload_id, number, size_bytes, md5, etag, edge, lanes, exchanges, routing_keys, event_ids, bodies)$
-- Records a stored chunk together with its event, where the upload is still open; null comes back where it is not.
-- The upload's row is locked, so a chunk is recorded before the upload closes, or not at all.
WITH open AS (
    SELECT id FROM uploads WHERE id = :upload_id AND status IN ('created', 'receiving') FOR SHARE
), recorded AS (
    INSERT INTO upload_chunks (upload_id, number, size_bytes, md5, etag, edge)
    SELECT id, :number, :size_bytes, :md5, :etag, :edge FROM open
    ON CONFLICT (upload_id, number) DO UPDATE
    SET size_bytes = excluded.size_bytes, md5 = excluded.md5, etag = excluded.etag, edge = excluded.edge,
        uploaded_at = now()
    RETURNING true
)
INSERT INTO outbox (lane, exchange, routing_key, event_id, body)
SELECT event.* FROM recorded,
    unnest(:lanes::smallint[], :exchanges::text[], :routing_keys::text[], :event_ids::uuid[], :bodies::text[]) AS event
RETURNING true;

-- name: note_edge(edge_id, region, url, in_flight_bytes, capacity_bytes, started_at)!
-- Says that an edge is there and how busy it is. Rows of edges that died long ago are cleared away with it.
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
