-- name: live_edges(silent_seconds)
-- Chunk-workers that have said lately that they take chunks, the least busy first.
SELECT id, region, url, 'worker' AS kind, NULL::bigint AS max_chunk_bytes FROM edges
WHERE last_seen_at > now() - make_interval(secs => :silent_seconds)
ORDER BY in_flight_bytes, id;

-- name: begin_chunk(account_id, upload_id, number, most, seconds)$
-- Notes that a chunk is on the way over a Worker; false where its account has as many as it may have.
SELECT begin_chunk(:account_id, :upload_id, :number, :most, :seconds);

-- name: end_chunk(account_id, upload_id, number)!
-- Notes that a chunk is no longer on the way over a Worker.
DELETE FROM chunks_under_way WHERE account_id = :account_id AND upload_id = :upload_id AND number = :number;

-- name: count_edges(silent_seconds)^
-- How many of the chunk-workers that are listed have said lately that they take chunks, and how many have not.
SELECT count(*) FILTER (WHERE is_live) AS live, count(*) FILTER (WHERE NOT is_live) AS silent
FROM (SELECT last_seen_at > now() - make_interval(secs => :silent_seconds) AS is_live FROM edges) AS listed;
