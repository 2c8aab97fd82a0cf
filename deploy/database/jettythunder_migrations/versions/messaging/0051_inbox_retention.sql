-- Owner: the shared package. Each consumer forgets what it processed long before the event log's oldest event.
GRANT DELETE ON inbox TO jettythunder_provisioning, jettythunder_storage_gateway, jettythunder_chunk_worker,
    jettythunder_usage_meter;
-- Rows come in the order of their time, so a few bytes for each range of blocks find the oldest.
CREATE INDEX inbox_processed_idx ON inbox USING brin (processed_at);
COMMENT ON TABLE inbox IS 'Events a consumer has processed, kept for INBOX_KEEP_DAYS: the dedupe horizon is never shorter than the replay horizon.';
