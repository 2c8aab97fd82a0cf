-- Owner: storage-gateway.
CREATE INDEX uploads_closed_idx ON uploads (updated_at) WHERE s3_upload_id IS NULL AND NOT upload_is_open(status);
CREATE INDEX uploads_open_sessions_idx ON uploads (account_id) WHERE kind = 'session' AND upload_is_open(status);
