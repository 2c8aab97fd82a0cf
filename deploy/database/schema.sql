-- JettyThunder's schema, as the migrations make it, written by `make schema`: to change it, add a migration.
-- On an empty database: psql $DATABASE_URL < deploy/database/schema.sql

-- Functions come before the tables they name.
SET check_function_bodies = false;

CREATE FUNCTION public.authenticate(p_api_key text, p_secret_digest text) RETURNS TABLE(account_id uuid, agentcache_user_id uuid, agentcache_user_ref text, tier text, status text, secret_digest text, s3_bucket_name text, s3_prefix text, jetty_speed_enabled boolean, storage_quota_gb integer, bandwidth_quota_gb integer, max_file_size_mb integer, rate_limit_per_minute integer, allowed boolean, remaining integer, reset_seconds double precision)
    LANGUAGE plpgsql
    AS $$
DECLARE
    a agentcache_accounts;
    t tier_configs;
    digest TEXT;
BEGIN
    SELECT * INTO a FROM agentcache_accounts x WHERE x.api_key = p_api_key;
    digest := a.api_secret;
    IF NOT FOUND THEN
        SELECT * INTO a FROM agentcache_accounts x
        WHERE x.previous_api_key = p_api_key AND x.previous_valid_until > now();
        IF NOT FOUND THEN
            RETURN;
        END IF;
        digest := a.previous_api_secret;
    END IF;
    SELECT * INTO t FROM tier_configs x WHERE x.tier = a.agentcache_tier;
    IF digest = p_secret_digest THEN
        SELECT * INTO allowed, remaining, reset_seconds
        FROM take_request('account:' || a.id, t.rate_limit_per_minute, 60);
    END IF;
    RETURN QUERY SELECT a.id, a.agentcache_user_id, a.agentcache_user_ref, a.agentcache_tier, a.status,
        digest, a.s3_bucket_name, a.s3_prefix, a.jetty_speed_enabled,
        a.storage_quota_gb, a.bandwidth_quota_gb, t.max_file_size_mb,
        t.rate_limit_per_minute, allowed, remaining, reset_seconds;
END $$;

CREATE FUNCTION public.carry_quota() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.keep_closed_hour() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO storage_usage_history (account_id, period_start, revision, storage_bytes, storage_byte_seconds,
                                       bandwidth_bytes, request_count, total_cost, closed_at)
    VALUES (OLD.account_id, OLD.period_start, OLD.revision, OLD.storage_bytes, OLD.storage_byte_seconds,
            OLD.bandwidth_bytes, OLD.request_count, OLD.total_cost, OLD.closed_at);
    RETURN NULL;
END $$;

CREATE FUNCTION public.notify_outbox() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM pg_notify('jettythunder_outbox', current_setting('application_name'));
    RETURN NULL;
END $$;

CREATE FUNCTION public.quota_of(p_account_id uuid) RETURNS TABLE(tier text, status text, storage_used_bytes bigint, storage_reserved_bytes bigint, storage_quota_bytes bigint, bandwidth_used_bytes bigint, bandwidth_reserved_bytes bigint, bandwidth_quota_bytes bigint, request_count bigint, period_start timestamp with time zone, period_end timestamp with time zone)
    LANGUAGE sql STABLE
    AS $$
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

CREATE FUNCTION public.refuse_ledger_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'usage_ledger is append-only: add an adjustment instead';
END $$;

CREATE FUNCTION public.reserve_bandwidth(p_account_id uuid, p_reservation_id uuid, p_bytes bigint, p_expires_at timestamp with time zone) RETURNS TABLE(granted boolean, used_bytes bigint, reserved_bytes bigint, quota_bytes bigint)
    LANGUAGE plpgsql
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
    VALUES (p_account_id, 'bandwidth', 'reserved', 0, p_bytes, gen_random_uuid()::TEXT, p_reservation_id, now());
    RETURN NEXT;
END $$;

CREATE FUNCTION public.reserve_storage(p_account_id uuid, p_reservation_id uuid, p_bytes bigint, p_expires_at timestamp with time zone) RETURNS TABLE(granted boolean, used_bytes bigint, reserved_bytes bigint, quota_bytes bigint)
    LANGUAGE plpgsql
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
    VALUES (p_account_id, 'storage', 'reserved', 0, p_bytes, gen_random_uuid()::TEXT, p_reservation_id, now());
    RETURN NEXT;
END $$;

CREATE FUNCTION public.roll_periods(p_account_ids uuid[]) RETURNS SETOF uuid
    LANGUAGE sql
    AS $$
    UPDATE account_usage
    SET bandwidth_used_bytes = 0, request_count = 0, bandwidth_level = 0,
        period_start = date_trunc('month', now(), 'UTC'),
        period_end = (date_trunc('month', now(), 'UTC') AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC'
    WHERE account_id = ANY (p_account_ids) AND period_end <= now()
    RETURNING account_id
$$;

CREATE FUNCTION public.show_usage() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.take_request(p_subject text, p_limit integer, p_window_seconds double precision, OUT allowed boolean, OUT remaining integer, OUT reset_seconds double precision) RETURNS record
    LANGUAGE plpgsql
    AS $$
DECLARE
    seen rate_limits;
    age DOUBLE PRECISION;
    weighted DOUBLE PRECISION;
BEGIN
    INSERT INTO rate_limits AS r VALUES (p_subject, clock_timestamp(), 0, 0)
    ON CONFLICT (subject) DO UPDATE SET subject = r.subject
    RETURNING * INTO seen;
    age := extract(epoch FROM clock_timestamp() - seen.window_start) / p_window_seconds;
    IF age >= 2 THEN
        seen.window_start := clock_timestamp(); seen.previous_count := 0; seen.current_count := 0; age := 0;
    ELSIF age >= 1 THEN
        seen.window_start := seen.window_start + make_interval(secs => p_window_seconds);
        seen.previous_count := seen.current_count; seen.current_count := 0; age := age - 1;
    END IF;
    weighted := seen.previous_count * (1 - age) + seen.current_count;
    allowed := weighted + 1 <= p_limit;
    IF allowed THEN
        seen.current_count := seen.current_count + 1;
        weighted := weighted + 1;
    END IF;
    remaining := greatest(0, floor(p_limit - weighted))::INTEGER;
    reset_seconds := CASE
        WHEN allowed OR seen.previous_count = 0 THEN (1 - age) * p_window_seconds
        ELSE least(1 - age, (weighted + 1 - p_limit) / seen.previous_count) * p_window_seconds
    END;
    UPDATE rate_limits r
    SET window_start = seen.window_start, current_count = seen.current_count, previous_count = seen.previous_count
    WHERE r.subject = p_subject;
END $$;

CREATE FUNCTION public.usage_price(p_resource text, p_at timestamp with time zone) RETURNS numeric
    LANGUAGE sql STABLE
    AS $$
    SELECT coalesce((SELECT usd_per_gb FROM usage_prices
                     WHERE resource = p_resource AND effective_from <= p_at
                     ORDER BY effective_from DESC LIMIT 1), 0)
$$;

CREATE FUNCTION public.usage_rates(p_month timestamp with time zone) RETURNS TABLE(month_seconds numeric, storage_usd_per_gb numeric, bandwidth_usd_per_gb numeric)
    LANGUAGE sql STABLE
    AS $$
    SELECT extract(epoch FROM m.month + interval '1 month' - m.month),
        usage_price('storage', p_month), usage_price('bandwidth', p_month)
    FROM (SELECT date_trunc('month', p_month AT TIME ZONE 'UTC') AS month) AS m
$$;

CREATE TABLE public.account_usage (
    account_id uuid NOT NULL,
    storage_quota_bytes bigint NOT NULL,
    storage_used_bytes bigint DEFAULT 0 NOT NULL,
    storage_reserved_bytes bigint DEFAULT 0 NOT NULL,
    bandwidth_quota_bytes bigint NOT NULL,
    bandwidth_used_bytes bigint DEFAULT 0 NOT NULL,
    bandwidth_reserved_bytes bigint DEFAULT 0 NOT NULL,
    request_count bigint DEFAULT 0 NOT NULL,
    storage_level smallint DEFAULT 0 NOT NULL,
    bandwidth_level smallint DEFAULT 0 NOT NULL,
    storage_exceeded boolean DEFAULT false NOT NULL,
    bandwidth_exceeded boolean DEFAULT false NOT NULL,
    period_start timestamp with time zone NOT NULL,
    period_end timestamp with time zone NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT account_usage_bandwidth_reserved_bytes_check CHECK ((bandwidth_reserved_bytes >= 0)),
    CONSTRAINT account_usage_storage_reserved_bytes_check CHECK ((storage_reserved_bytes >= 0))
)
WITH (fillfactor='50');

COMMENT ON TABLE public.account_usage IS 'Running sums of usage_ledger, changed in the transaction that appends the entry. Bandwidth and requests count within period_start..period_end, a calendar month in UTC. Owner: usage-meter.';

COMMENT ON COLUMN public.account_usage.storage_level IS 'The highest threshold, in percent, that was announced and is still reached.';

COMMENT ON COLUMN public.account_usage.storage_exceeded IS 'Whether quota.exceeded was said last, and not quota.restored.';

CREATE TABLE public.agentcache_accounts (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    agentcache_user_id uuid NOT NULL,
    agentcache_user_ref text NOT NULL,
    agentcache_email text NOT NULL,
    agentcache_tier text NOT NULL,
    tier_changed_at timestamp with time zone,
    api_key text NOT NULL,
    api_secret text NOT NULL,
    credential_version integer DEFAULT 1 NOT NULL,
    previous_api_key text,
    previous_api_secret text,
    previous_valid_until timestamp with time zone,
    storage_quota_gb integer NOT NULL,
    storage_used_gb numeric(10,2) DEFAULT 0 NOT NULL,
    bandwidth_quota_gb integer NOT NULL,
    bandwidth_used_gb numeric(10,2) DEFAULT 0 NOT NULL,
    jetty_speed_enabled boolean DEFAULT false NOT NULL,
    s3_bucket_name text NOT NULL,
    s3_prefix text NOT NULL,
    folder_created_at timestamp with time zone,
    status text DEFAULT 'active'::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT agentcache_accounts_status_check CHECK ((status = ANY (ARRAY['active'::text, 'over_quota'::text, 'suspended'::text])))
);

COMMENT ON TABLE public.agentcache_accounts IS 'Billable tenants. Owner: provisioning; the *_used_gb columns are kept by usage-meter''s trigger.';

COMMENT ON COLUMN public.agentcache_accounts.agentcache_user_ref IS 'The id as AgentCache gave it; one that is no UUID maps to a UUIDv5 in agentcache_user_id.';

COMMENT ON COLUMN public.agentcache_accounts.tier_changed_at IS 'When the newest tier change was made, at AgentCache where it came as an event: a change that arrives late never undoes a newer one.';

COMMENT ON COLUMN public.agentcache_accounts.api_secret IS 'SHA-256 of the secret, hexadecimal. The secret itself is derived, never stored.';

COMMENT ON COLUMN public.agentcache_accounts.storage_used_gb IS 'Shown only. The truth is account_usage.storage_used_bytes.';

CREATE TABLE public.agentcache_assets (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    account_id uuid NOT NULL,
    s3_key text NOT NULL,
    s3_bucket text NOT NULL,
    filename text NOT NULL,
    content_type text NOT NULL,
    size_bytes bigint NOT NULL,
    content_hash text NOT NULL,
    cache_key text,
    agentcache_pipeline_id uuid,
    hit_count bigint DEFAULT 0 NOT NULL,
    last_accessed timestamp with time zone,
    expires_at timestamp with time zone,
    uploaded_via text DEFAULT 'api'::text NOT NULL,
    upload_speed_mbps numeric(10,2),
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE public.agentcache_assets IS 'Immutable stored results. content_hash is the SHA-256 of the bytes, unique per account: tenants must not learn of each other''s content. Owner: storage-gateway.';

CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);

CREATE TABLE public.asset_cache_keys (
    account_id uuid NOT NULL,
    cache_key text NOT NULL,
    asset_id uuid NOT NULL
);

COMMENT ON TABLE public.asset_cache_keys IS 'What a cache key names now: the newest upload under it wins, and one asset may have several keys, since equal bytes are stored once. Owner: storage-gateway.';

CREATE TABLE public.edges (
    id text NOT NULL,
    region text NOT NULL,
    url text NOT NULL,
    in_flight_bytes bigint DEFAULT 0 NOT NULL,
    capacity_bytes bigint NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    last_seen_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE public.edges IS 'Chunk-workers with an HTTP ingest. Each says every five seconds that it is there; one that was silent for fifteen is gone. Owner: chunk-worker.';

CREATE TABLE public.inbox (
    consumer text NOT NULL,
    event_id uuid NOT NULL,
    processed_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE public.inbox IS 'Events a consumer has processed, kept for ever: the dedupe horizon is never shorter than the replay horizon.';

CREATE TABLE public.object_deletions (
    s3_bucket text NOT NULL,
    s3_key text NOT NULL,
    requested_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE public.object_deletions IS 'Objects whose row is gone and whose bytes must follow: written in the deleting transaction, worked off after it and by housekeeping. Owner: storage-gateway.';

CREATE TABLE public.ops_audit (
    id bigint NOT NULL,
    who text NOT NULL,
    began_at timestamp with time zone DEFAULT now() NOT NULL,
    action text NOT NULL,
    filter jsonb NOT NULL,
    result jsonb,
    finished_at timestamp with time zone
);

COMMENT ON TABLE public.ops_audit IS 'Every operation that touches events: written before it begins, its result after. One without a result was cut off.';

ALTER TABLE public.ops_audit ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.ops_audit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.outbox (
    id bigint NOT NULL,
    lane smallint NOT NULL,
    exchange text NOT NULL,
    routing_key text NOT NULL,
    event_id uuid NOT NULL,
    body text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE public.outbox IS 'Events committed with the state they tell of, until a relay has them confirmed by the broker. A lane (hash of the subject) is published by one relay at a time, in id order.';

ALTER TABLE public.outbox ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.outbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.outbox_quarantine (
    id bigint NOT NULL,
    lane smallint NOT NULL,
    exchange text NOT NULL,
    routing_key text NOT NULL,
    event_id uuid NOT NULL,
    body text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    quarantined_at timestamp with time zone DEFAULT now() NOT NULL,
    reason text NOT NULL
);

COMMENT ON TABLE public.outbox_quarantine IS 'Events no queue takes: set aside so that one wrong routing key does not hold up the rest.';

CREATE UNLOGGED TABLE public.rate_limits (
    subject text NOT NULL,
    window_start timestamp with time zone NOT NULL,
    current_count integer NOT NULL,
    previous_count integer NOT NULL
)
WITH (fillfactor='50');

COMMENT ON TABLE public.rate_limits IS 'Sliding-window counters by account or address, shared by all gateways. Owner: storage-gateway.';

CREATE TABLE public.replays (
    id uuid NOT NULL,
    audit_id bigint NOT NULL,
    consumer text NOT NULL,
    filter jsonb NOT NULL,
    rate double precision,
    next_offset bigint,
    end_offset bigint NOT NULL,
    read_count bigint DEFAULT 0 NOT NULL,
    replayed_count bigint DEFAULT 0 NOT NULL,
    status text DEFAULT 'running'::text NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT replays_status_check CHECK ((status = ANY (ARRAY['running'::text, 'interrupted'::text, 'completed'::text])))
);

COMMENT ON TABLE public.replays IS 'Replays of the event log to one consumer. next_offset is where to go on after an interruption.';

COMMENT ON COLUMN public.replays.end_offset IS 'The end of the log when the replay was asked for: what came later reaches the consumer anyway.';

CREATE TABLE public.storage_usage (
    id bigint NOT NULL,
    account_id uuid NOT NULL,
    storage_bytes bigint DEFAULT 0 NOT NULL,
    storage_byte_seconds numeric(38,6) DEFAULT 0 NOT NULL,
    bandwidth_bytes bigint DEFAULT 0 NOT NULL,
    request_count bigint DEFAULT 0 NOT NULL,
    period_start timestamp with time zone NOT NULL,
    period_end timestamp with time zone NOT NULL,
    storage_cost numeric(10,4) DEFAULT 0 NOT NULL,
    bandwidth_cost numeric(10,4) DEFAULT 0 NOT NULL,
    total_cost numeric(10,4) DEFAULT 0 NOT NULL,
    revision integer DEFAULT 1 NOT NULL,
    closed_at timestamp with time zone,
    recorded_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE public.storage_usage IS 'One row per account and hour (UTC) with activity, computed from usage_ledger: bytes stored at its end, bytes sent and requests in it. In hours without a row the bytes stored stay as they were. Owner: usage-meter.';

COMMENT ON COLUMN public.storage_usage.storage_byte_seconds IS 'Bytes stored, each for the time it was stored within the hour; 3600 make a byte-hour.';

COMMENT ON COLUMN public.storage_usage.revision IS 'Raised when a late event corrects an hour that was closed; storage_usage_history keeps what it said before.';

CREATE TABLE public.storage_usage_history (
    account_id uuid NOT NULL,
    period_start timestamp with time zone NOT NULL,
    revision integer NOT NULL,
    storage_bytes bigint NOT NULL,
    storage_byte_seconds numeric(38,6) NOT NULL,
    bandwidth_bytes bigint NOT NULL,
    request_count bigint NOT NULL,
    total_cost numeric(10,4) NOT NULL,
    closed_at timestamp with time zone NOT NULL,
    replaced_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE public.storage_usage_history IS 'What a closed hour said before it was corrected. Owner: usage-meter.';

ALTER TABLE public.storage_usage ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.storage_usage_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.tier_configs (
    tier text NOT NULL,
    storage_quota_gb integer NOT NULL,
    bandwidth_quota_gb integer NOT NULL,
    jetty_speed_enabled boolean DEFAULT false NOT NULL,
    rate_limit_per_minute integer DEFAULT 60 NOT NULL,
    max_file_size_mb integer DEFAULT 100 NOT NULL
);

COMMENT ON TABLE public.tier_configs IS 'Named limits. A GB is 10^9 bytes, a MB 10^6. Owner: provisioning.';

CREATE TABLE public.upload_chunks (
    upload_id uuid NOT NULL,
    number integer NOT NULL,
    size_bytes bigint NOT NULL,
    md5 text NOT NULL,
    etag text NOT NULL,
    edge text NOT NULL,
    uploaded_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT upload_chunks_number_check CHECK (((number >= 1) AND (number <= 10000)))
);

COMMENT ON TABLE public.upload_chunks IS 'Parts that Lyve has acknowledged. Owner: chunk-worker.';

CREATE TABLE public.uploads (
    id uuid NOT NULL,
    account_id uuid NOT NULL,
    kind text NOT NULL,
    status text DEFAULT 'receiving'::text NOT NULL,
    filename text NOT NULL,
    content_type text NOT NULL,
    s3_bucket text NOT NULL,
    s3_key text NOT NULL,
    s3_upload_id text,
    size_bytes bigint,
    chunk_size_bytes bigint,
    content_hash text,
    cache_key text,
    agentcache_pipeline_id uuid,
    asset_expires_at timestamp with time zone,
    asset_id uuid,
    failure_code text,
    correlation_id text NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT uploads_kind_check CHECK ((kind = ANY (ARRAY['form'::text, 'session'::text]))),
    CONSTRAINT uploads_status_check CHECK ((status = ANY (ARRAY['created'::text, 'receiving'::text, 'completing'::text, 'completed'::text, 'aborted'::text, 'expired'::text])))
);

COMMENT ON TABLE public.uploads IS 'Attempts: created, receiving, completing, then completed, aborted or expired. An open one past expires_at is aborted by housekeeping, in S3 too: Lyve does not list active multipart uploads, so s3_upload_id here is the only trace. Owner: storage-gateway.';

CREATE TABLE public.usage_ledger (
    id bigint NOT NULL,
    account_id uuid NOT NULL,
    resource text NOT NULL,
    kind text NOT NULL,
    used_delta_bytes bigint NOT NULL,
    reserved_delta_bytes bigint NOT NULL,
    request_count smallint DEFAULT 0 NOT NULL,
    source_event_id text NOT NULL,
    reservation_id uuid,
    asset_id uuid,
    occurred_at timestamp with time zone NOT NULL,
    recorded_at timestamp with time zone DEFAULT now() NOT NULL,
    reason text,
    author text,
    CONSTRAINT usage_ledger_check CHECK (((kind <> 'adjustment'::text) OR ((reason IS NOT NULL) AND (author IS NOT NULL)))),
    CONSTRAINT usage_ledger_kind_check CHECK ((kind = ANY (ARRAY['reserved'::text, 'settled'::text, 'released'::text, 'removed'::text, 'adjustment'::text]))),
    CONSTRAINT usage_ledger_resource_check CHECK ((resource = ANY (ARRAY['storage'::text, 'bandwidth'::text])))
);

COMMENT ON TABLE public.usage_ledger IS 'Append-only measured facts, one per source event and resource. Owner: usage-meter.';

COMMENT ON COLUMN public.usage_ledger.asset_id IS 'The asset whose bytes these are: its storage entries add up to its size while it lives, and to 0 after.';

COMMENT ON COLUMN public.usage_ledger.occurred_at IS 'The event''s own time, never later than the booking; recorded_at is when it was booked.';

ALTER TABLE public.usage_ledger ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.usage_ledger_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.usage_prices (
    resource text NOT NULL,
    effective_from timestamp with time zone NOT NULL,
    usd_per_gb numeric(14,8) NOT NULL,
    source text NOT NULL,
    CONSTRAINT usage_prices_effective_from_check CHECK ((effective_from = date_trunc('month'::text, effective_from, 'UTC'::text))),
    CONSTRAINT usage_prices_resource_check CHECK ((resource = ANY (ARRAY['storage'::text, 'bandwidth'::text]))),
    CONSTRAINT usage_prices_usd_per_gb_check CHECK ((usd_per_gb >= (0)::numeric))
);

COMMENT ON TABLE public.usage_prices IS 'Dollars per GB-month stored and per GB sent, in force from the start of a month (UTC) until the next one. A GB is 10^9 bytes; a GB-month is a GB for all hours of that month. Owner: usage-meter.';

CREATE TABLE public.usage_reservations (
    id uuid NOT NULL,
    resource text NOT NULL,
    account_id uuid NOT NULL,
    held_bytes bigint NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT usage_reservations_held_bytes_check CHECK ((held_bytes >= 0)),
    CONSTRAINT usage_reservations_resource_check CHECK ((resource = ANY (ARRAY['storage'::text, 'bandwidth'::text])))
);

COMMENT ON TABLE public.usage_reservations IS 'Open holds only: settling, releasing or expiring one deletes its row, so it happens once; usage_ledger keeps the history. Owner: usage-meter.';

CREATE TABLE public.usage_rollup_queue (
    id bigint NOT NULL,
    account_id uuid NOT NULL,
    hour timestamp with time zone NOT NULL
);

COMMENT ON TABLE public.usage_rollup_queue IS 'Hours whose storage_usage row is behind the ledger. Owner: usage-meter.';

ALTER TABLE public.usage_rollup_queue ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.usage_rollup_queue_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE ONLY public.account_usage
    ADD CONSTRAINT account_usage_pkey PRIMARY KEY (account_id);

ALTER TABLE ONLY public.agentcache_accounts
    ADD CONSTRAINT agentcache_accounts_agentcache_user_id_key UNIQUE (agentcache_user_id);

ALTER TABLE ONLY public.agentcache_accounts
    ADD CONSTRAINT agentcache_accounts_api_key_key UNIQUE (api_key);

ALTER TABLE ONLY public.agentcache_accounts
    ADD CONSTRAINT agentcache_accounts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.agentcache_accounts
    ADD CONSTRAINT agentcache_accounts_previous_api_key_key UNIQUE (previous_api_key);

ALTER TABLE ONLY public.agentcache_assets
    ADD CONSTRAINT agentcache_assets_account_id_content_hash_key UNIQUE (account_id, content_hash);

ALTER TABLE ONLY public.agentcache_assets
    ADD CONSTRAINT agentcache_assets_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY public.asset_cache_keys
    ADD CONSTRAINT asset_cache_keys_pkey PRIMARY KEY (account_id, cache_key);

ALTER TABLE ONLY public.edges
    ADD CONSTRAINT edges_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.inbox
    ADD CONSTRAINT inbox_pkey PRIMARY KEY (consumer, event_id);

ALTER TABLE ONLY public.object_deletions
    ADD CONSTRAINT object_deletions_pkey PRIMARY KEY (s3_bucket, s3_key);

ALTER TABLE ONLY public.ops_audit
    ADD CONSTRAINT ops_audit_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.outbox_quarantine
    ADD CONSTRAINT outbox_quarantine_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.rate_limits
    ADD CONSTRAINT rate_limits_pkey PRIMARY KEY (subject);

ALTER TABLE ONLY public.replays
    ADD CONSTRAINT replays_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.storage_usage
    ADD CONSTRAINT storage_usage_account_id_period_start_key UNIQUE (account_id, period_start);

ALTER TABLE ONLY public.storage_usage_history
    ADD CONSTRAINT storage_usage_history_pkey PRIMARY KEY (account_id, period_start, revision);

ALTER TABLE ONLY public.storage_usage
    ADD CONSTRAINT storage_usage_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.tier_configs
    ADD CONSTRAINT tier_configs_pkey PRIMARY KEY (tier);

ALTER TABLE ONLY public.upload_chunks
    ADD CONSTRAINT upload_chunks_pkey PRIMARY KEY (upload_id, number);

ALTER TABLE ONLY public.uploads
    ADD CONSTRAINT uploads_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.usage_ledger
    ADD CONSTRAINT usage_ledger_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.usage_ledger
    ADD CONSTRAINT usage_ledger_source_event_id_resource_key UNIQUE (source_event_id, resource);

ALTER TABLE ONLY public.usage_prices
    ADD CONSTRAINT usage_prices_pkey PRIMARY KEY (resource, effective_from);

ALTER TABLE ONLY public.usage_reservations
    ADD CONSTRAINT usage_reservations_pkey PRIMARY KEY (id, resource);

ALTER TABLE ONLY public.usage_rollup_queue
    ADD CONSTRAINT usage_rollup_queue_pkey PRIMARY KEY (id);

CREATE INDEX agentcache_assets_account_idx ON public.agentcache_assets USING btree (account_id, created_at DESC, id DESC);

CREATE INDEX agentcache_assets_cache_key_idx ON public.agentcache_assets USING btree (cache_key);

CREATE INDEX agentcache_assets_expiry_idx ON public.agentcache_assets USING btree (expires_at) WHERE (expires_at IS NOT NULL);

CREATE INDEX agentcache_assets_hash_idx ON public.agentcache_assets USING btree (content_hash);

CREATE INDEX asset_cache_keys_asset_idx ON public.asset_cache_keys USING btree (asset_id);

CREATE INDEX ops_audit_began_idx ON public.ops_audit USING btree (began_at);

CREATE INDEX outbox_lane_idx ON public.outbox USING btree (lane, id);

CREATE INDEX storage_usage_account_idx ON public.storage_usage USING btree (account_id);

CREATE INDEX storage_usage_open_idx ON public.storage_usage USING btree (period_end) WHERE (closed_at IS NULL);

CREATE INDEX uploads_account_idx ON public.uploads USING btree (account_id, created_at);

CREATE INDEX uploads_open_idx ON public.uploads USING btree (expires_at) WHERE (status = ANY (ARRAY['created'::text, 'receiving'::text, 'completing'::text]));

CREATE INDEX usage_ledger_account_idx ON public.usage_ledger USING btree (account_id, occurred_at);

CREATE INDEX usage_reservations_account_idx ON public.usage_reservations USING btree (account_id);

CREATE INDEX usage_reservations_expiry_idx ON public.usage_reservations USING btree (expires_at);

CREATE INDEX usage_rollup_queue_account_idx ON public.usage_rollup_queue USING btree (account_id, hour);

CREATE INDEX usage_rollup_queue_hour_idx ON public.usage_rollup_queue USING btree (hour);

CREATE TRIGGER account_usage_show_usage AFTER UPDATE ON public.account_usage FOR EACH ROW WHEN (((round(((old.storage_used_bytes)::numeric / '1000000000'::numeric), 2) <> round(((new.storage_used_bytes)::numeric / '1000000000'::numeric), 2)) OR (round(((old.bandwidth_used_bytes)::numeric / '1000000000'::numeric), 2) <> round(((new.bandwidth_used_bytes)::numeric / '1000000000'::numeric), 2)) OR (old.storage_exceeded <> new.storage_exceeded) OR (old.bandwidth_exceeded <> new.bandwidth_exceeded))) EXECUTE FUNCTION public.show_usage();

CREATE TRIGGER agentcache_accounts_carry_quota AFTER INSERT OR UPDATE OF storage_quota_gb, bandwidth_quota_gb ON public.agentcache_accounts FOR EACH ROW EXECUTE FUNCTION public.carry_quota();

CREATE TRIGGER outbox_notify AFTER INSERT ON public.outbox FOR EACH STATEMENT EXECUTE FUNCTION public.notify_outbox();

CREATE TRIGGER storage_usage_keep_closed_hour AFTER UPDATE ON public.storage_usage FOR EACH ROW WHEN (((old.closed_at IS NOT NULL) AND (new.revision > old.revision))) EXECUTE FUNCTION public.keep_closed_hour();

CREATE TRIGGER usage_ledger_append_only BEFORE DELETE OR UPDATE ON public.usage_ledger FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_ledger_change();

ALTER TABLE ONLY public.account_usage
    ADD CONSTRAINT account_usage_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.agentcache_accounts(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.agentcache_accounts
    ADD CONSTRAINT agentcache_accounts_agentcache_tier_fkey FOREIGN KEY (agentcache_tier) REFERENCES public.tier_configs(tier);

ALTER TABLE ONLY public.agentcache_assets
    ADD CONSTRAINT agentcache_assets_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.agentcache_accounts(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.asset_cache_keys
    ADD CONSTRAINT asset_cache_keys_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.agentcache_accounts(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.asset_cache_keys
    ADD CONSTRAINT asset_cache_keys_asset_id_fkey FOREIGN KEY (asset_id) REFERENCES public.agentcache_assets(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.replays
    ADD CONSTRAINT replays_audit_id_fkey FOREIGN KEY (audit_id) REFERENCES public.ops_audit(id);

ALTER TABLE ONLY public.storage_usage
    ADD CONSTRAINT storage_usage_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.agentcache_accounts(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.upload_chunks
    ADD CONSTRAINT upload_chunks_upload_id_fkey FOREIGN KEY (upload_id) REFERENCES public.uploads(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.uploads
    ADD CONSTRAINT uploads_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.agentcache_accounts(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.usage_reservations
    ADD CONSTRAINT usage_reservations_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.agentcache_accounts(id) ON DELETE CASCADE;

INSERT INTO public.alembic_version (version_num) VALUES ('0007');

INSERT INTO public.tier_configs (tier, storage_quota_gb, bandwidth_quota_gb, jetty_speed_enabled, rate_limit_per_minute, max_file_size_mb) VALUES ('free', 0, 0, false, 10, 10);
INSERT INTO public.tier_configs (tier, storage_quota_gb, bandwidth_quota_gb, jetty_speed_enabled, rate_limit_per_minute, max_file_size_mb) VALUES ('starter', 2, 10, false, 60, 50);
INSERT INTO public.tier_configs (tier, storage_quota_gb, bandwidth_quota_gb, jetty_speed_enabled, rate_limit_per_minute, max_file_size_mb) VALUES ('pro', 20, 50, true, 300, 500);
INSERT INTO public.tier_configs (tier, storage_quota_gb, bandwidth_quota_gb, jetty_speed_enabled, rate_limit_per_minute, max_file_size_mb) VALUES ('business', 100, 200, true, 1000, 1000);
INSERT INTO public.tier_configs (tier, storage_quota_gb, bandwidth_quota_gb, jetty_speed_enabled, rate_limit_per_minute, max_file_size_mb) VALUES ('enterprise', 1000, 5000, true, 10000, 5000);

INSERT INTO public.usage_prices (resource, effective_from, usd_per_gb, source) VALUES ('storage', '2020-01-01 00:00:00+00', 0.01000000, 'configurable default: an assumption, no vendor''s price; set your own');
INSERT INTO public.usage_prices (resource, effective_from, usd_per_gb, source) VALUES ('bandwidth', '2020-01-01 00:00:00+00', 0.01000000, 'configurable default: an assumption, no vendor''s price; set your own');
