-- Owner: chunk-worker. Cloudflare Workers are edges without a database: the gateway reads and records chunks for them.
COMMENT ON FUNCTION chunk_of_upload_v1 IS 'Owner: chunk-worker. Called by edges, too, before they store a chunk, and by the storage-gateway for Workers.';
COMMENT ON FUNCTION record_chunk_v1 IS 'Owner: chunk-worker. Called by edges, too, when the object storage has a chunk, and by the storage-gateway for Workers.';
GRANT EXECUTE ON FUNCTION chunk_of_upload_v1, record_chunk_v1, upload_of_chunk_v1 TO jettythunder_storage_gateway;
