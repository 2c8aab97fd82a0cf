-- Owner: chunk-worker. An edge that is nothing else has a role of its own: it may call these functions, and neither read
-- nor write any table. Chunk-workers record chunks with the same functions.
DO $$
DECLARE
    acting TEXT := CASE WHEN current_setting('server_version_num')::INTEGER < 160000 THEN 'MEMBER' ELSE 'SET' END;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'jettythunder_edge') THEN
        BEGIN
            CREATE ROLE jettythunder_edge NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END IF;
    IF NOT pg_has_role(current_user, 'jettythunder_edge', acting) THEN
        GRANT jettythunder_edge TO CURRENT_USER;
    END IF;
END $$;

-- What is recorded of a chunk; no row where nothing is.
CREATE FUNCTION chunk_of_upload_v1(p_upload_id UUID, p_number INTEGER)
RETURNS TABLE (size_bytes BIGINT, md5 TEXT, etag TEXT, edge TEXT)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT c.size_bytes, c.md5, c.etag, c.edge FROM upload_chunks c
    WHERE c.upload_id = p_upload_id AND c.number = p_number;
END $$;

-- Records a stored chunk together with its event, where the upload takes chunks; false where it does not.
-- The upload is held, so a chunk is recorded before the upload closes, or not at all. Of events, only this one can be
-- published with it.
CREATE FUNCTION record_chunk_v1(
    p_upload_id UUID, p_number INTEGER, p_size_bytes BIGINT, p_md5 TEXT, p_etag TEXT, p_edge TEXT, p_epoch INTEGER,
    p_lane SMALLINT, p_event_id UUID, p_event TEXT) RETURNS BOOLEAN
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    event_type CONSTANT TEXT := 'jettythunder.chunk.uploaded.v1';
BEGIN
    IF p_event::jsonb ->> 'type' IS DISTINCT FROM event_type THEN
        RAISE invalid_parameter_value USING MESSAGE = 'The event of a recorded chunk is of the type ' || event_type || '.';
    END IF;
    IF NOT hold_receiving_upload(p_upload_id, p_epoch) THEN
        RETURN false;
    END IF;
    INSERT INTO upload_chunks (upload_id, number, size_bytes, md5, etag, edge)
    VALUES (p_upload_id, p_number, p_size_bytes, p_md5, p_etag, p_edge)
    ON CONFLICT (upload_id, number) DO UPDATE
    SET size_bytes = excluded.size_bytes, md5 = excluded.md5, etag = excluded.etag, edge = excluded.edge,
        uploaded_at = now();
    INSERT INTO outbox (lane, exchange, routing_key, event_id, body)
    VALUES (p_lane, 'jettythunder.events', event_type, p_event_id, p_event);
    RETURN true;
END $$;

-- Notes that an edge serves and how busy it is. Rows of edges that were silent for an hour are deleted with it.
CREATE FUNCTION note_edge_v1(
    p_edge_id TEXT, p_region TEXT, p_url TEXT, p_in_flight_bytes BIGINT, p_capacity_bytes BIGINT,
    p_started_at TIMESTAMPTZ) RETURNS VOID
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DELETE FROM edges WHERE last_seen_at < now() - interval '1 hour' AND id <> p_edge_id;
    INSERT INTO edges (id, region, url, in_flight_bytes, capacity_bytes, started_at, last_seen_at)
    VALUES (p_edge_id, p_region, p_url, p_in_flight_bytes, p_capacity_bytes, p_started_at, now())
    ON CONFLICT (id) DO UPDATE
    SET region = excluded.region, url = excluded.url, in_flight_bytes = excluded.in_flight_bytes,
        capacity_bytes = excluded.capacity_bytes, started_at = excluded.started_at, last_seen_at = now();
$$;

-- Takes an edge off the list, unless a later process has its id by now.
CREATE FUNCTION remove_edge_v1(p_edge_id TEXT, p_started_at TIMESTAMPTZ) RETURNS VOID
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DELETE FROM edges WHERE id = p_edge_id AND started_at = p_started_at
$$;

COMMENT ON FUNCTION chunk_of_upload_v1 IS 'Owner: chunk-worker. Called by edges, too, before they store a chunk.';
COMMENT ON FUNCTION record_chunk_v1 IS 'Owner: chunk-worker. Called by edges, too, when the object storage has a chunk.';
COMMENT ON FUNCTION note_edge_v1 IS 'Owner: chunk-worker. Called by edges, too, to be listed.';
COMMENT ON FUNCTION remove_edge_v1 IS 'Owner: chunk-worker. Called by edges, too, when they stop.';
REVOKE EXECUTE ON FUNCTION chunk_of_upload_v1, record_chunk_v1, note_edge_v1, remove_edge_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION chunk_of_upload_v1, record_chunk_v1, note_edge_v1, remove_edge_v1
    TO jettythunder_chunk_worker, jettythunder_edge;
GRANT EXECUTE ON FUNCTION upload_of_chunk_v1 TO jettythunder_edge;
