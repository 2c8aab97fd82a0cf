-- Owner: usage-meter. What other services may ask of quotas and reservations, in functions of a version each, and
-- the usage-meter's own rights.

-- The quota in force is a column of the row that a reservation locks, so a tier change and a racing reservation are
-- ordered by that lock and never see half of each other.
DROP TRIGGER agentcache_accounts_carry_quota ON agentcache_accounts;
DROP FUNCTION carry_quota();
DROP FUNCTION reserve_storage(UUID, UUID, BIGINT, TIMESTAMPTZ);
DROP FUNCTION reserve_bandwidth(UUID, UUID, BIGINT, TIMESTAMPTZ);

-- Puts the quotas of an account in force; for a new account it opens its counters.
CREATE FUNCTION set_quotas_v1(p_account_id UUID, p_storage_bytes BIGINT, p_bandwidth_bytes BIGINT) RETURNS VOID
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO account_usage (account_id, storage_quota_bytes, bandwidth_quota_bytes, period_start, period_end)
    VALUES (p_account_id, p_storage_bytes, p_bandwidth_bytes, date_trunc('month', now(), 'UTC'),
            (date_trunc('month', now(), 'UTC') AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC')
    ON CONFLICT (account_id) DO UPDATE SET
        storage_quota_bytes = excluded.storage_quota_bytes,
        bandwidth_quota_bytes = excluded.bandwidth_quota_bytes
$$;
COMMENT ON FUNCTION set_quotas_v1 IS 'Owner: usage-meter. Called by provisioning, in the transaction that makes an account or moves it to another tier.';

-- Locks an account's counters until the transaction ends. Reservations and bookings lock them first and the account
-- second; whoever changes both does so too. False where there is no account.
CREATE FUNCTION lock_usage_v1(p_account_id UUID) RETURNS BOOLEAN
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT EXISTS (SELECT FROM account_usage WHERE account_id = p_account_id FOR UPDATE)
$$;
COMMENT ON FUNCTION lock_usage_v1 IS 'Owner: usage-meter. Called by provisioning before it changes an account and its quotas.';

-- Gigabytes are shown, bytes are the truth: the account's row changes only when what it shows does.
CREATE FUNCTION show_usage() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    used_up BOOLEAN := NEW.storage_used_bytes > 0 AND NEW.storage_used_bytes >= NEW.storage_quota_bytes
        OR NEW.bandwidth_used_bytes > 0 AND NEW.bandwidth_used_bytes >= NEW.bandwidth_quota_bytes;
BEGIN
    UPDATE agentcache_accounts
    SET storage_used_gb = round(NEW.storage_used_bytes / 1e9, 2),
        bandwidth_used_gb = round(NEW.bandwidth_used_bytes / 1e9, 2),
        over_quota = used_up
    WHERE id = NEW.account_id
      AND (storage_used_gb, bandwidth_used_gb, over_quota) IS DISTINCT FROM
          (round(NEW.storage_used_bytes / 1e9, 2), round(NEW.bandwidth_used_bytes / 1e9, 2), used_up);
    RETURN NULL;
END $$;
CREATE TRIGGER account_usage_show_usage AFTER UPDATE ON account_usage FOR EACH ROW
    WHEN (OLD.storage_used_bytes <> NEW.storage_used_bytes OR OLD.bandwidth_used_bytes <> NEW.bandwidth_used_bytes
       OR OLD.storage_quota_bytes <> NEW.storage_quota_bytes OR OLD.bandwidth_quota_bytes <> NEW.bandwidth_quota_bytes)
    EXECUTE FUNCTION show_usage();
-- The status of before did not say it of suspended accounts.
UPDATE agentcache_accounts
SET over_quota = true
FROM account_usage u
WHERE u.account_id = agentcache_accounts.id
  AND (u.storage_used_bytes > 0 AND u.storage_used_bytes >= u.storage_quota_bytes
    OR u.bandwidth_used_bytes > 0 AND u.bandwidth_used_bytes >= u.bandwidth_quota_bytes);

-- Takes p_bytes of an account's storage for one upload, before its first byte, or says there is no room.
-- The same reservation asked again grows. Call it in the transaction that creates the upload.
-- Guarantee: the UPDATE's condition is checked under the row's lock, so used + reserved never passes the quota.
CREATE FUNCTION reserve_storage_v1(p_account_id UUID, p_reservation_id UUID, p_bytes BIGINT, p_expires_at TIMESTAMPTZ)
RETURNS TABLE (granted BOOLEAN, used_bytes BIGINT, reserved_bytes BIGINT, quota_bytes BIGINT)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
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
    VALUES (p_account_id, 'storage', 'reserved', 0, p_bytes, gen_random_uuid()::TEXT, p_reservation_id, now());
    RETURN NEXT;
END $$;

-- The same for bytes that are about to be sent. A period that has ended is closed first.
CREATE FUNCTION reserve_bandwidth_v1(p_account_id UUID, p_reservation_id UUID, p_bytes BIGINT, p_expires_at TIMESTAMPTZ)
RETURNS TABLE (granted BOOLEAN, used_bytes BIGINT, reserved_bytes BIGINT, quota_bytes BIGINT)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
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
    VALUES (p_account_id, 'bandwidth', 'reserved', 0, p_bytes, gen_random_uuid()::TEXT, p_reservation_id, now());
    RETURN NEXT;
END $$;

-- What an account has, uses and holds, in one round trip; no row for an account that is not there.
-- Reads only: a period that is over and not yet rolled is shown as the new one, with nothing used.
-- In PL/pgSQL, which keeps its plan: PostgreSQL before 18 plans an SQL function anew in each statement.
CREATE FUNCTION quota_of_v1(p_account_id UUID)
RETURNS TABLE (
    tier TEXT, status TEXT,
    storage_used_bytes BIGINT, storage_reserved_bytes BIGINT, storage_quota_bytes BIGINT,
    bandwidth_used_bytes BIGINT, bandwidth_reserved_bytes BIGINT, bandwidth_quota_bytes BIGINT,
    request_count BIGINT, period_start TIMESTAMPTZ, period_end TIMESTAMPTZ)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT a.agentcache_tier, a.status,
        u.storage_used_bytes, u.storage_reserved_bytes, u.storage_quota_bytes,
        CASE WHEN p.is_over THEN 0 ELSE u.bandwidth_used_bytes END,
        u.bandwidth_reserved_bytes, u.bandwidth_quota_bytes,
        CASE WHEN p.is_over THEN 0 ELSE u.request_count END,
        CASE WHEN p.is_over THEN p.month ELSE u.period_start END,
        CASE WHEN p.is_over THEN (p.month AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC' ELSE u.period_end END
    FROM account_usage u
    JOIN agentcache_accounts a ON a.id = u.account_id
    CROSS JOIN LATERAL (SELECT u.period_end <= now() AS is_over, date_trunc('month', now(), 'UTC') AS month) p
    WHERE u.account_id = p_account_id;
END $$;

COMMENT ON FUNCTION reserve_storage_v1 IS 'Owner: usage-meter. Called by the storage-gateway, in the transaction that creates an upload.';
COMMENT ON FUNCTION reserve_bandwidth_v1 IS 'Owner: usage-meter. Called by the storage-gateway before it sends bytes.';
COMMENT ON FUNCTION quota_of_v1 IS 'Owner: usage-meter. Called by the storage-gateway.';
REVOKE EXECUTE ON FUNCTION set_quotas_v1, lock_usage_v1, reserve_storage_v1, reserve_bandwidth_v1, quota_of_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION set_quotas_v1, lock_usage_v1 TO jettythunder_provisioning;
GRANT EXECUTE ON FUNCTION reserve_storage_v1, reserve_bandwidth_v1 TO jettythunder_storage_gateway;
GRANT EXECUTE ON FUNCTION quota_of_v1 TO jettythunder_storage_gateway, jettythunder_usage_meter;

GRANT UPDATE (storage_used_gb, bandwidth_used_gb, over_quota) ON agentcache_accounts TO jettythunder_usage_meter;
GRANT SELECT, INSERT, UPDATE ON account_usage, storage_usage, usage_prices TO jettythunder_usage_meter;
GRANT SELECT, INSERT, UPDATE, DELETE ON usage_reservations, usage_rollup_queue TO jettythunder_usage_meter;
GRANT SELECT, INSERT ON usage_ledger, storage_usage_history TO jettythunder_usage_meter;
