-- name: fetch_upload(upload_id, account_id, number)^
-- An account's upload, which takes no chunks while the account is suspended, with what is recorded of one chunk; the
-- chunk's columns are null where nothing is.
SELECT u.takes_chunks, u.keeps_chunks, u.epoch, u.s3_key, u.s3_upload_id, c.size_bytes, c.md5 AS checksum, c.etag, c.edge
FROM upload_of_chunk_v1(:upload_id, :account_id) u LEFT JOIN chunk_of_upload_v1(:upload_id, :number) c ON true;

-- name: record_chunk(upload_id, number, size_bytes, md5, etag, edge, epoch, lane, event_id, event)$
-- Records a stored chunk together with its event, where the upload takes chunks; false where it does not.
SELECT record_chunk_v1(:upload_id, :number, :size_bytes, :md5, :etag, :edge, :epoch, :lane, :event_id, :event);
