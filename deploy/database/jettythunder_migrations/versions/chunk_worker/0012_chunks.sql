-- Owner: chunk-worker. Its own rights, and what the gateway may ask of recorded chunks.
GRANT SELECT, INSERT, UPDATE ON upload_chunks TO jettythunder_chunk_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON edges TO jettythunder_chunk_worker;
GRANT SELECT ON upload_chunks, edges TO jettythunder_storage_gateway;

-- Forgets chunks that the object storage does not have as they were recorded, so that they are stored again.
CREATE FUNCTION forget_chunks_v1(p_upload_id UUID, p_numbers INTEGER[]) RETURNS VOID
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DELETE FROM upload_chunks WHERE upload_id = p_upload_id AND number = ANY (p_numbers)
$$;
COMMENT ON FUNCTION forget_chunks_v1 IS 'Owner: chunk-worker. Called by the storage-gateway when the object storage lacks recorded chunks.';
REVOKE EXECUTE ON FUNCTION forget_chunks_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_chunks_v1 TO jettythunder_storage_gateway;
