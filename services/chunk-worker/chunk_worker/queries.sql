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
