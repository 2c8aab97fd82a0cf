-- Owner: usage-meter. Quota is a ledger: append-only entries, their running sums, and the open holds.

CREATE TABLE account_usage (
    account_id               UUID PRIMARY KEY REFERENCES agentcache_accounts (id) ON DELETE CASCADE,
    storage_quota_bytes      BIGINT NOT NULL,
    storage_used_bytes       BIGINT NOT NULL DEFAULT 0,
    storage_reserved_bytes   BIGINT NOT NULL DEFAULT 0 CHECK (storage_reserved_bytes >= 0),
    bandwidth_quota_bytes    BIGINT NOT NULL,
    bandwidth_used_bytes     BIGINT NOT NULL DEFAULT 0,
    bandwidth_reserved_bytes BIGINT NOT NULL DEFAULT 0 CHECK (bandwidth_reserved_bytes >= 0),
    period_start             TIMESTAMPTZ NOT NULL,
    period_end               TIMESTAMPTZ NOT NULL,
    updated_at               TIMESTAMPTZ NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
COMMENT ON TABLE account_usage IS 'Running sums of usage_ledger, changed in the transaction that appends the entry. Bandwidth counts within period_start..period_end, a calendar month in UTC. Owner: usage-meter.';

CREATE TABLE usage_reservations (
    id         UUID NOT NULL,
    resource   TEXT NOT NULL CHECK (resource IN ('storage', 'bandwidth')),
    account_id UUID NOT NULL REFERENCES agentcache_accounts (id) ON DELETE CASCADE,
    held_bytes BIGINT NOT NULL CHECK (held_bytes >= 0),
    expires_at TIMESTAMPTZ NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (id, resource)
);
CREATE INDEX usage_reservations_expiry_idx ON usage_reservations (expires_at);
CREATE INDEX usage_reservations_account_idx ON usage_reservations (account_id);
COMMENT ON TABLE usage_reservations IS 'Open holds only: settling, releasing or expiring one deletes its row, so it happens once; usage_ledger keeps the history. Owner: usage-meter.';

CREATE TABLE usage_ledger (
    id                   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id           UUID NOT NULL,
    resource             TEXT NOT NULL CHECK (resource IN ('storage', 'bandwidth')),
    kind                 TEXT NOT NULL CHECK (kind IN ('reserved', 'settled', 'released', 'removed', 'adjustment')),
    used_delta_bytes     BIGINT NOT NULL,
    reserved_delta_bytes BIGINT NOT NULL,
    source_event_id      TEXT NOT NULL,
    reservation_id       UUID,
    occurred_at          TIMESTAMPTZ NOT NULL,
    recorded_at          TIMESTAMPTZ NOT NULL DEFAULT now(),
    reason               TEXT,
    author               TEXT,
    UNIQUE (source_event_id, resource),
    CHECK (kind <> 'adjustment' OR (reason IS NOT NULL AND author IS NOT NULL))
);
CREATE INDEX usage_ledger_account_idx ON usage_ledger (account_id, occurred_at);
COMMENT ON TABLE usage_ledger IS 'Append-only measured facts, one per source event and resource. Owner: usage-meter.';

CREATE FUNCTION refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'usage_ledger is append-only: add an adjustment instead';
END $$;
CREATE TRIGGER usage_ledger_append_only BEFORE UPDATE OR DELETE ON usage_ledger
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change();

CREATE TABLE storage_usage (
    id              BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id      UUID NOT NULL REFERENCES agentcache_accounts (id) ON DELETE CASCADE,
    storage_bytes   BIGINT NOT NULL DEFAULT 0,
    bandwidth_bytes BIGINT NOT NULL DEFAULT 0,
    request_count   BIGINT NOT NULL DEFAULT 0,
    period_start    TIMESTAMPTZ NOT NULL,
    period_end      TIMESTAMPTZ NOT NULL,
    storage_cost    DECIMAL(10, 4) NOT NULL DEFAULT 0,
    bandwidth_cost  DECIMAL(10, 4) NOT NULL DEFAULT 0,
    total_cost      DECIMAL(10, 4) NOT NULL DEFAULT 0,
    recorded_at     TIMESTAMPTZ NOT NULL DEFAULT now(),
    UNIQUE (account_id, period_start)
);
CREATE INDEX storage_usage_account_idx ON storage_usage (account_id);
COMMENT ON TABLE storage_usage IS 'One row per account and hour (UTC) with activity: bytes stored at its end, bytes sent and requests in it. Owner: usage-meter.';

-- The quota in force is a column of the row that a reservation locks, so a tier change
-- and a racing reservation are ordered by that lock and never see half of each other.
CREATE FUNCTION carry_quota() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO account_usage (account_id, storage_quota_bytes, bandwidth_quota_bytes, period_start, period_end)
    VALUES (NEW.id, NEW.storage_quota_gb * 1000000000::BIGINT, NEW.bandwidth_quota_gb * 1000000000::BIGINT,
            date_trunc('month', now(), 'UTC'),
            date_trunc('month', now(), 'UTC') + interval '1 month')
    ON CONFLICT (account_id) DO UPDATE SET
        storage_quota_bytes = excluded.storage_quota_bytes,
        bandwidth_quota_bytes = excluded.bandwidth_quota_bytes;
    RETURN NULL;
END $$;
CREATE TRIGGER agentcache_accounts_carry_quota
    AFTER INSERT OR UPDATE OF storage_quota_gb, bandwidth_quota_gb ON agentcache_accounts
    FOR EACH ROW EXECUTE FUNCTION carry_quota();

-- Gigabytes are shown, bytes are the truth: the account's row changes only when the shown figure does.
CREATE FUNCTION show_gigabytes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE agentcache_accounts
    SET storage_used_gb = round(NEW.storage_used_bytes / 1e9, 2),
        bandwidth_used_gb = round(NEW.bandwidth_used_bytes / 1e9, 2)
    WHERE id = NEW.account_id;
    RETURN NULL;
END $$;
CREATE TRIGGER account_usage_show_gigabytes AFTER UPDATE ON account_usage FOR EACH ROW
    WHEN (round(OLD.storage_used_bytes / 1e9, 2) <> round(NEW.storage_used_bytes / 1e9, 2)
       OR round(OLD.bandwidth_used_bytes / 1e9, 2) <> round(NEW.bandwidth_used_bytes / 1e9, 2))
    EXECUTE FUNCTION show_gigabytes();

-- Takes p_bytes of an account's storage for one upload, before its first byte, or says there is no room.
-- The same reservation asked again grows. Call it in the transaction that creates the upload.
-- Guarantee: the UPDATE's condition is checked under the row's lock, so used + reserved never passes the quota.
CREATE FUNCTION reserve_storage(p_account_id UUID, p_reservation_id UUID, p_bytes BIGINT, p_expires_at TIMESTAMPTZ)
RETURNS TABLE (granted BOOLEAN, used_bytes BIGINT, reserved_bytes BIGINT, quota_bytes BIGINT)
LANGUAGE plpgsql AS $$
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
CREATE FUNCTION reserve_bandwidth(p_account_id UUID, p_reservation_id UUID, p_bytes BIGINT, p_expires_at TIMESTAMPTZ)
RETURNS TABLE (granted BOOLEAN, used_bytes BIGINT, reserved_bytes BIGINT, quota_bytes BIGINT)
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE account_usage u
    SET bandwidth_used_bytes = 0,
        period_start = date_trunc('month', now(), 'UTC'),
        period_end = date_trunc('month', now(), 'UTC') + interval '1 month'
    WHERE u.account_id = p_account_id AND u.period_end <= now();
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
