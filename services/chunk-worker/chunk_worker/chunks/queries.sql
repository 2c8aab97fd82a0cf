-- name: fetch_upload(upload_id, account_id, number)^
-- An account's upload, which takes no chunks while the account is suspended, with what is recorded of one chunk; the chunk's columns are null where nothing is.
SELECT upload_takes_chunks(u.status) AND a.suspended_at IS NULL AS takes_chunks,
    upload_is_open(u.status) OR u.status = 'completed' AS keeps_chunks,
    u.s3_key, u.s3_upload_id, c.size_bytes, c.md5, c.etag, c.edge
FROM uploads u
JOIN agentcache_accounts a ON a.id = u.account_id
LEFT JOIN upload_chunks c ON c.upload_id = u.id AND c.number = :number
WHERE u.id = :upload_id AND u.account_id = :account_id;

-- name: record_chunk(upload_id, number, size_bytes, md5, etag, edge, lanes, exchanges, routing_keys, event_ids, bodies)$
-- Records a stored chunk together with its event, where the upload takes chunks; no row comes back where it does not.
-- The upload is held, so a chunk is recorded before the upload closes, or not at all.
WITH recorded AS (
    INSERT INTO upload_chunks (upload_id, number, size_bytes, md5, etag, edge)
    SELECT :upload_id, :number, :size_bytes, :md5, :etag, :edge WHERE hold_receiving_upload_v1(:upload_id)
    ON CONFLICT (upload_id, number) DO UPDATE
    SET size_bytes = excluded.size_bytes, md5 = excluded.md5, etag = excluded.etag, edge = excluded.edge,
        uploaded_at = now()
    RETURNING true
)
INSERT INTO outbox (lane, exchange, routing_key, event_id, body)
SELECT event.* FROM recorded,
    unnest(:lanes::smallint[], :exchanges::text[], :routing_keys::text[], :event_ids::uuid[], :bodies::text[]) AS event
RETURNING true;
