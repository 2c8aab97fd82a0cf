-- Owner: storage-gateway. A suspended account's uploads take no chunks, wherever they are sent.
-- In PL/pgSQL, which keeps its plan: PostgreSQL before 18 plans an SQL function anew in each statement.
CREATE OR REPLACE FUNCTION hold_receiving_upload_v1(p_upload_id UUID) RETURNS BOOLEAN
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM uploads u JOIN agentcache_accounts a ON a.id = u.account_id
        WHERE u.id = p_upload_id AND upload_takes_chunks(u.status) AND a.suspended_at IS NULL
        FOR SHARE OF u);
END $$;
GRANT SELECT (id, suspended_at) ON agentcache_accounts TO jettythunder_chunk_worker;
