-- name: live_edges(silent_seconds)
-- Chunk-workers that have said lately that they take chunks, the least busy first.
SELECT id, region, url, 'worker' AS kind, NULL::bigint AS max_chunk_bytes FROM edges
WHERE last_seen_at > now() - make_interval(secs => :silent_seconds)
ORDER BY in_flight_bytes, id;
