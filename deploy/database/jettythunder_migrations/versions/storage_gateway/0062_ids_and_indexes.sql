-- Ids of our own are UUIDv7 (RFC 9562): they begin with their time, so indexes grow at one end.
CREATE FUNCTION new_id() RETURNS UUID LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    SELECT encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
        PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::BIGINT) FROM 3) FROM 1 FOR 6),
        52, 1), 53, 1), 'hex')::UUID
$$;
COMMENT ON FUNCTION new_id IS 'A UUIDv7: milliseconds since 1970 in 48 bits, the version, 74 random bits.';
ALTER TABLE agentcache_accounts ALTER COLUMN id SET DEFAULT new_id();
ALTER TABLE agentcache_assets ALTER COLUMN id SET DEFAULT new_id();

-- Owner: storage-gateway. What requests and housekeeping look for.
CREATE INDEX agentcache_assets_pipeline_idx ON agentcache_assets (account_id, agentcache_pipeline_id, created_at DESC, id DESC)
    WHERE agentcache_pipeline_id IS NOT NULL;
-- In the order in which the object storage lists keys, so that the two can be compared page by page.
CREATE INDEX agentcache_assets_key_idx ON agentcache_assets (account_id, s3_key COLLATE "C");
CREATE INDEX object_deletions_key_idx ON object_deletions (s3_bucket, s3_key COLLATE "C");
DROP INDEX uploads_open_sessions_idx;
CREATE INDEX uploads_open_account_idx ON uploads (account_id) WHERE upload_is_open(status);
CREATE INDEX agentcache_assets_filename_idx ON agentcache_assets (account_id, filename COLLATE "C");
CREATE INDEX uploads_sessions_idx ON uploads (account_id, created_at DESC, id DESC) WHERE kind = 'session';
-- Each stream counts a hit: with room on its page the row is changed in place, and no index is.
ALTER TABLE agentcache_assets SET (fillfactor = 90);
CREATE INDEX rate_limits_window_idx ON rate_limits (window_start);

-- Owner: provisioning. Accounts by their user's id as AgentCache gave it.
CREATE INDEX agentcache_accounts_user_ref_idx ON agentcache_accounts (agentcache_user_ref);

-- Owner: usage-meter. Entries of reservations have no event; the ids in their place begin with their time, too.
CREATE OR REPLACE FUNCTION reserve_bandwidth_v1(p_account_id uuid, p_reservation_id uuid, p_bytes bigint, p_expires_at timestamp with time zone) RETURNS TABLE(granted boolean, used_bytes bigint, reserved_bytes bigint, quota_bytes bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    PERFORM roll_periods(ARRAY[p_account_id]);
    UPDATE account_usage u
    SET bandwidth_reserved_bytes = u.bandwidth_reserved_bytes + p_bytes, updated_at = now()
    WHERE u.account_id = p_account_id
      AND u.bandwidth_used_bytes + u.bandwidth_reserved_bytes + p_bytes <= u.bandwidth_quota_bytes
    RETURNING true, u.bandwidth_used_bytes, u.bandwidth_reserved_bytes, u.bandwidth_quota_bytes
    INTO granted, used_bytes, reserved_bytes, quota_bytes;
    IF NOT FOUND THEN
        RETURN QUERY SELECT false, u.bandwidth_used_bytes, u.bandwidth_reserved_bytes, u.bandwidth_quota_bytes
            FROM account_usage u WHERE u.account_id = p_account_id;
        RETURN;
    END IF;
    INSERT INTO usage_reservations (id, resource, account_id, held_bytes, expires_at)
    VALUES (p_reservation_id, 'bandwidth', p_account_id, p_bytes, p_expires_at);
    INSERT INTO usage_ledger (account_id, resource, kind, used_delta_bytes, reserved_delta_bytes,
                              source_event_id, reservation_id, occurred_at)
    VALUES (p_account_id, 'bandwidth', 'reserved', 0, p_bytes, new_id()::TEXT, p_reservation_id, now());
    RETURN NEXT;
END $$;
CREATE OR REPLACE FUNCTION reserve_storage_v1(p_account_id uuid, p_reservation_id uuid, p_bytes bigint, p_expires_at timestamp with time zone) RETURNS TABLE(granted boolean, used_bytes bigint, reserved_bytes bigint, quota_bytes bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    UPDATE account_usage u
    SET storage_reserved_bytes = u.storage_reserved_bytes + p_bytes, updated_at = now()
    WHERE u.account_id = p_account_id
      AND u.storage_used_bytes + u.storage_reserved_bytes + p_bytes <= u.storage_quota_bytes
    RETURNING true, u.storage_used_bytes, u.storage_reserved_bytes, u.storage_quota_bytes
    INTO granted, used_bytes, reserved_bytes, quota_bytes;
    IF NOT FOUND THEN
        RETURN QUERY SELECT false, u.storage_used_bytes, u.storage_reserved_bytes, u.storage_quota_bytes
            FROM account_usage u WHERE u.account_id = p_account_id;
        RETURN;
    END IF;
    INSERT INTO usage_reservations AS r (id, resource, account_id, held_bytes, expires_at)
    VALUES (p_reservation_id, 'storage', p_account_id, p_bytes, p_expires_at)
    ON CONFLICT (id, resource) DO UPDATE
    SET held_bytes = r.held_bytes + excluded.held_bytes, expires_at = excluded.expires_at;
    INSERT INTO usage_ledger (account_id, resource, kind, used_delta_bytes, reserved_delta_bytes,
                              source_event_id, reservation_id, occurred_at)
    VALUES (p_account_id, 'storage', 'reserved', 0, p_bytes, new_id()::TEXT, p_reservation_id, now());
    RETURN NEXT;
END $$;
