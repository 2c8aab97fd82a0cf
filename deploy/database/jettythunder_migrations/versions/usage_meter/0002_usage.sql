-- Owner: usage-meter. Quota is a ledger: append-only entries, their running sums, and the open holds.

CREATE TABLE account_usage (
    account_id               UUID PRIMARY KEY REFERENCES agentcache_accounts (id) ON DELETE CASCADE,
    storage_quota_bytes      BIGINT NOT NULL,
    storage_used_bytes       BIGINT NOT NULL DEFAULT 0,
    storage_reserved_bytes   BIGINT NOT NULL DEFAULT 0 CHECK (storage_reserved_bytes >= 0),
    bandwidth_quota_bytes    BIGINT NOT NULL,
    bandwidth_used_bytes     BIGINT NOT NULL DEFAULT 0,
    bandwidth_reserved_bytes BIGINT NOT NULL DEFAULT 0 CHECK (bandwidth_reserved_bytes >= 0),
    request_count            BIGINT NOT NULL DEFAULT 0,
    storage_level            SMALLINT NOT NULL DEFAULT 0,
    bandwidth_level          SMALLINT NOT NULL DEFAULT 0,
    storage_exceeded         BOOLEAN NOT NULL DEFAULT false,
    bandwidth_exceeded       BOOLEAN NOT NULL DEFAULT false,
    period_start             TIMESTAMPTZ NOT NULL,
    period_end               TIMESTAMPTZ NOT NULL,
    updated_at               TIMESTAMPTZ NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
COMMENT ON TABLE account_usage IS 'Running sums of usage_ledger, changed in the transaction that appends the entry. Bandwidth and requests count within period_start..period_end, a calendar month in UTC. Owner: usage-meter.';
COMMENT ON COLUMN account_usage.storage_level IS 'The highest threshold, in percent, that was announced and is still reached.';
COMMENT ON COLUMN account_usage.storage_exceeded IS 'Whether quota.exceeded was said last, and not quota.restored.';

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
    request_count        SMALLINT NOT NULL DEFAULT 0,
    source_event_id      TEXT NOT NULL,
    reservation_id       UUID,
    asset_id             UUID,
    occurred_at          TIMESTAMPTZ NOT NULL,
    recorded_at          TIMESTAMPTZ NOT NULL DEFAULT now(),
    reason               TEXT,
    author               TEXT,
    UNIQUE (source_event_id, resource),
    CHECK (kind <> 'adjustment' OR (reason IS NOT NULL AND author IS NOT NULL))
);
CREATE INDEX usage_ledger_account_idx ON usage_ledger (account_id, occurred_at);
COMMENT ON TABLE usage_ledger IS 'Append-only measured facts, one per source event and resource. Owner: usage-meter.';
COMMENT ON COLUMN usage_ledger.asset_id IS 'The asset whose bytes these are: its storage entries add up to its size while it lives, and to 0 after.';
COMMENT ON COLUMN usage_ledger.occurred_at IS 'The event''s own time, never later than the booking; recorded_at is when it was booked.';

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
    storage_byte_seconds NUMERIC(38, 6) NOT NULL DEFAULT 0,
    bandwidth_bytes BIGINT NOT NULL DEFAULT 0,
    request_count   BIGINT NOT NULL DEFAULT 0,
    period_start    TIMESTAMPTZ NOT NULL,
    period_end      TIMESTAMPTZ NOT NULL,
    storage_cost    DECIMAL(10, 4) NOT NULL DEFAULT 0,
    bandwidth_cost  DECIMAL(10, 4) NOT NULL DEFAULT 0,
    total_cost      DECIMAL(10, 4) NOT NULL DEFAULT 0,
    revision        INTEGER NOT NULL DEFAULT 1,
    closed_at       TIMESTAMPTZ,
    recorded_at     TIMESTAMPTZ NOT NULL DEFAULT now(),
    UNIQUE (account_id, period_start)
);
CREATE INDEX storage_usage_account_idx ON storage_usage (account_id);
CREATE INDEX storage_usage_open_idx ON storage_usage (period_end) WHERE closed_at IS NULL;
COMMENT ON TABLE storage_usage IS 'One row per account and hour (UTC) with activity, computed from usage_ledger: bytes stored at its end, bytes sent and requests in it. In hours without a row the bytes stored stay as they were. Owner: usage-meter.';
COMMENT ON COLUMN storage_usage.storage_byte_seconds IS 'Bytes stored, each for the time it was stored within the hour; 3600 make a byte-hour.';
COMMENT ON COLUMN storage_usage.revision IS 'Raised when a late event corrects an hour that was closed; storage_usage_history keeps what it said before.';

CREATE TABLE storage_usage_history (
    account_id      UUID NOT NULL,
    period_start    TIMESTAMPTZ NOT NULL,
    revision        INTEGER NOT NULL,
    storage_bytes   BIGINT NOT NULL,
    storage_byte_seconds NUMERIC(38, 6) NOT NULL,
    bandwidth_bytes BIGINT NOT NULL,
    request_count   BIGINT NOT NULL,
    total_cost      DECIMAL(10, 4) NOT NULL,
    closed_at       TIMESTAMPTZ NOT NULL,
    replaced_at     TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, period_start, revision)
);
COMMENT ON TABLE storage_usage_history IS 'What a closed hour said before it was corrected. Owner: usage-meter.';

CREATE FUNCTION keep_closed_hour() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO storage_usage_history (account_id, period_start, revision, storage_bytes, storage_byte_seconds,
                                       bandwidth_bytes, request_count, total_cost, closed_at)
    VALUES (OLD.account_id, OLD.period_start, OLD.revision, OLD.storage_bytes, OLD.storage_byte_seconds,
            OLD.bandwidth_bytes, OLD.request_count, OLD.total_cost, OLD.closed_at);
    RETURN NULL;
END $$;
CREATE TRIGGER storage_usage_keep_closed_hour AFTER UPDATE ON storage_usage FOR EACH ROW
    WHEN (OLD.closed_at IS NOT NULL AND NEW.revision > OLD.revision)
    EXECUTE FUNCTION keep_closed_hour();

-- Only ever inserted into by those who book, so that booking never waits for a rollup.
CREATE TABLE usage_rollup_queue (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id UUID NOT NULL,
    hour       TIMESTAMPTZ NOT NULL
);
CREATE INDEX usage_rollup_queue_hour_idx ON usage_rollup_queue (hour);
CREATE INDEX usage_rollup_queue_account_idx ON usage_rollup_queue (account_id, hour);
COMMENT ON TABLE usage_rollup_queue IS 'Hours whose storage_usage row is behind the ledger. Owner: usage-meter.';

CREATE TABLE usage_prices (
    resource       TEXT NOT NULL CHECK (resource IN ('storage', 'bandwidth')),
    effective_from TIMESTAMPTZ NOT NULL CHECK (effective_from = date_trunc('month', effective_from, 'UTC')),
    usd_per_gb     NUMERIC(14, 8) NOT NULL CHECK (usd_per_gb >= 0),
    source         TEXT NOT NULL,
    PRIMARY KEY (resource, effective_from)
);
COMMENT ON TABLE usage_prices IS 'Dollars per GB-month stored and per GB sent, in force from the start of a month (UTC) until the next one. A GB is 10^9 bytes; a GB-month is a GB for all hours of that month. Owner: usage-meter.';
INSERT INTO usage_prices VALUES
    ('storage',   '2020-01-01 00:00:00+00', 0.01, 'configurable default: an assumption, no vendor''s price; set your own'),
    ('bandwidth', '2020-01-01 00:00:00+00', 0.01, 'configurable default: an assumption, no vendor''s price; set your own');

CREATE FUNCTION usage_price(p_resource TEXT, p_at TIMESTAMPTZ) RETURNS NUMERIC LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT usd_per_gb FROM usage_prices
                     WHERE resource = p_resource AND effective_from <= p_at
                     ORDER BY effective_from DESC LIMIT 1), 0)
$$;

-- What a month's costs are computed with: byte-seconds x price / (10^9 x month_seconds), bytes x price / 10^9.
-- Seconds are those of the month itself, so that a GB kept for a whole month costs exactly the price of a
-- GB-month, in February as in March.
CREATE FUNCTION usage_rates(p_month TIMESTAMPTZ)
RETURNS TABLE (month_seconds NUMERIC, storage_usd_per_gb NUMERIC, bandwidth_usd_per_gb NUMERIC)
LANGUAGE sql STABLE AS $$
    SELECT extract(epoch FROM m.month + interval '1 month' - m.month),
        usage_price('storage', p_month), usage_price('bandwidth', p_month)
    FROM (SELECT date_trunc('month', p_month AT TIME ZONE 'UTC') AS month) AS m
$$;

-- The quota in force is a column of the row that a reservation locks, so a tier change
-- and a racing reservation are ordered by that lock and never see half of each other.
CREATE FUNCTION carry_quota() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO account_usage (account_id, storage_quota_bytes, bandwidth_quota_bytes, period_start, period_end)
    VALUES (NEW.id, NEW.storage_quota_gb * 1000000000::BIGINT, NEW.bandwidth_quota_gb * 1000000000::BIGINT,
            date_trunc('month', now(), 'UTC'),
            (date_trunc('month', now(), 'UTC') AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC')
    ON CONFLICT (account_id) DO UPDATE SET
        storage_quota_bytes = excluded.storage_quota_bytes,
        bandwidth_quota_bytes = excluded.bandwidth_quota_bytes;
    RETURN NULL;
END $$;
CREATE TRIGGER agentcache_accounts_carry_quota
    AFTER INSERT OR UPDATE OF storage_quota_gb, bandwidth_quota_gb ON agentcache_accounts
    FOR EACH ROW EXECUTE FUNCTION carry_quota();

-- Gigabytes are shown, bytes are the truth: the account's row changes only when what it shows does.
CREATE FUNCTION show_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE agentcache_accounts
    SET storage_used_gb = round(NEW.storage_used_bytes / 1e9, 2),
        bandwidth_used_gb = round(NEW.bandwidth_used_bytes / 1e9, 2),
        status = CASE
            WHEN status = 'suspended' THEN status
            WHEN NEW.storage_exceeded OR NEW.bandwidth_exceeded THEN 'over_quota'
            ELSE 'active'
        END
    WHERE id = NEW.account_id;
    RETURN NULL;
END $$;
CREATE TRIGGER account_usage_show_usage AFTER UPDATE ON account_usage FOR EACH ROW
    WHEN (round(OLD.storage_used_bytes / 1e9, 2) <> round(NEW.storage_used_bytes / 1e9, 2)
       OR round(OLD.bandwidth_used_bytes / 1e9, 2) <> round(NEW.bandwidth_used_bytes / 1e9, 2)
       OR OLD.storage_exceeded <> NEW.storage_exceeded
       OR OLD.bandwidth_exceeded <> NEW.bandwidth_exceeded)
    EXECUTE FUNCTION show_usage();

-- Begins the month of now() for accounts whose period is over. What was announced of the old period is
-- forgotten, so that thresholds are announced anew; whether the quota is exceeded is for usage-meter to say.
CREATE FUNCTION roll_periods(p_account_ids UUID[]) RETURNS SETOF UUID LANGUAGE sql AS $$
    UPDATE account_usage
    SET bandwidth_used_bytes = 0, request_count = 0, bandwidth_level = 0,
        period_start = date_trunc('month', now(), 'UTC'),
        period_end = (date_trunc('month', now(), 'UTC') AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC'
    WHERE account_id = ANY (p_account_ids) AND period_end <= now()
    RETURNING account_id
$$;

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
CREATE FUNCTION quota_of(p_account_id UUID)
RETURNS TABLE (
    tier TEXT, status TEXT,
    storage_used_bytes BIGINT, storage_reserved_bytes BIGINT, storage_quota_bytes BIGINT,
    bandwidth_used_bytes BIGINT, bandwidth_reserved_bytes BIGINT, bandwidth_quota_bytes BIGINT,
    request_count BIGINT, period_start TIMESTAMPTZ, period_end TIMESTAMPTZ)
LANGUAGE sql STABLE AS $$
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
    WHERE u.account_id = p_account_id
$$;
