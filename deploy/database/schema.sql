-- JettyThunder's schema, as the migrations make it, written by `make schema`: to change it, add a migration.
-- On an empty database: psql $DATABASE_URL < deploy/database/schema.sql

-- Functions come before the tables they name.
SET check_function_bodies = false;

-- Each service works as a role of its own.
DO $$
DECLARE
    service TEXT;
    acting TEXT := CASE WHEN current_setting('server_version_num')::INTEGER < 160000 THEN 'MEMBER' ELSE 'SET' END;
BEGIN
    FOREACH service IN ARRAY ARRAY['provisioning', 'storage_gateway', 'chunk_worker', 'usage_meter', 'operations'] LOOP
        service := 'jettythunder_' || service;
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = service) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', service);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;
            END;
        END IF;
        -- Whoever migrates may run services; other users are granted the roles by hand. From PostgreSQL 16 on, who
        -- makes a role is a member that may not act as it.
        IF NOT pg_has_role(current_user, service, acting) THEN
            EXECUTE format('GRANT %I TO CURRENT_USER', service);
        END IF;
    END LOOP;
END $$;
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

CREATE SCHEMA partitions;

COMMENT ON SCHEMA partitions IS 'The parts of partitioned tables. Rights are those of the whole tables, so nobody has any here.';

CREATE FUNCTION public.account_of_key_v2(p_api_key text) RETURNS TABLE(account_id uuid, agentcache_user_ref text, tier text, status text, epoch integer, secret_digest text, s3_prefix text, jetty_speed_enabled boolean, storage_quota_gb integer, bandwidth_quota_gb integer, max_file_size_mb integer, rate_limit_per_minute integer)
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    RETURN QUERY
    SELECT a.id, a.agentcache_user_ref, a.agentcache_tier, a.status, a.epoch,
        CASE WHEN a.api_key = p_api_key THEN a.api_secret ELSE a.previous_api_secret END,
        a.s3_prefix, a.jetty_speed_enabled, a.storage_quota_gb, a.bandwidth_quota_gb, t.max_file_size_mb,
        t.rate_limit_per_minute
    FROM agentcache_accounts a JOIN tier_configs t ON t.tier = a.agentcache_tier
    WHERE a.api_key = p_api_key OR (a.previous_api_key = p_api_key AND a.previous_valid_until > now());
END $$;

COMMENT ON FUNCTION public.account_of_key_v2(p_api_key text) IS 'Owner: provisioning. Called by the storage-gateway, which may not read secrets otherwise.';

CREATE FUNCTION public.add_months(p_table text, p_key text) RETURNS void
    LANGUAGE plpgsql
    AS $_$
DECLARE
    starts_at TIMESTAMPTZ;
    ends_at TIMESTAMPTZ;
    month TEXT;
BEGIN
    SELECT greatest(date_trunc('month', now(), 'UTC'), max(p.ends_at)) INTO starts_at FROM partitions_of(p_table) p;
    WHILE starts_at < now() + interval '2 months' LOOP
        ends_at := (starts_at AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC';
        month := p_table || to_char(starts_at AT TIME ZONE 'UTC', '_YYYY_MM');
        IF starts_at <= now() THEN
            EXECUTE format('LOCK TABLE ONLY public.%I IN ACCESS EXCLUSIVE MODE', p_table);
        END IF;
        EXECUTE format('CREATE TABLE partitions.%I (LIKE public.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', month, p_table);
        -- What came before its month was made.
        EXECUTE format('WITH moved AS (DELETE FROM partitions.%1$I WHERE %2$I >= $1 AND %2$I < $2 RETURNING *) '
                       'INSERT INTO partitions.%3$I SELECT * FROM moved', p_table || '_other', p_key, month)
            USING starts_at, ends_at;
        EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION partitions.%I FOR VALUES FROM (%L) TO (%L)',
                       p_table, month, starts_at, ends_at);
        starts_at := ends_at;
    END LOOP;
END $_$;

COMMENT ON FUNCTION public.add_months(p_table text, p_key text) IS 'Makes the partitions of this month and the next two. The partition of all that fits no other is locked meanwhile; it is empty, or nearly so. The whole table is locked where this month has none yet.';

CREATE FUNCTION public.authenticate(p_api_key text, p_secret_digest text) RETURNS TABLE(account_id uuid, agentcache_user_ref text, tier text, status text, epoch integer, secret_digest text, s3_prefix text, jetty_speed_enabled boolean, storage_quota_gb integer, bandwidth_quota_gb integer, max_file_size_mb integer, rate_limit_per_minute integer, allowed boolean, remaining integer, reset_seconds double precision)
    LANGUAGE plpgsql ROWS 1
    AS $$
BEGIN
    SELECT k.* INTO account_id, agentcache_user_ref, tier, status, epoch, secret_digest, s3_prefix,
        jetty_speed_enabled, storage_quota_gb, bandwidth_quota_gb, max_file_size_mb, rate_limit_per_minute
    FROM account_of_key_v2(p_api_key) k;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF secret_digest = p_secret_digest THEN
        SELECT r.* INTO allowed, remaining, reset_seconds
        FROM take_request('account:' || account_id, rate_limit_per_minute, 60) r;
    END IF;
    RETURN NEXT;
END $$;

CREATE FUNCTION public.begin_chunk(p_account_id uuid, p_upload_id uuid, p_number integer, p_limit integer, p_seconds double precision) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
BEGIN
    -- One at a time for each account, or two would both see the last free place.
    PERFORM pg_advisory_xact_lock(hashtextextended('chunks_under_way:' || p_account_id, 0));
    DELETE FROM chunks_under_way WHERE ctid IN (
        SELECT ctid FROM chunks_under_way WHERE expires_at < now() LIMIT 100 FOR UPDATE SKIP LOCKED);
    INSERT INTO chunks_under_way
    SELECT p_account_id, p_upload_id, p_number, now() + make_interval(secs => p_seconds)
    WHERE p_limit > (
        SELECT count(*) FROM chunks_under_way c
        WHERE c.account_id = p_account_id AND (c.upload_id, c.number) <> (p_upload_id, p_number)
          AND c.expires_at >= now())
    ON CONFLICT (account_id, upload_id, number) DO UPDATE SET expires_at = excluded.expires_at;
    RETURN FOUND;
END $$;

CREATE FUNCTION public.chunk_of_upload_v1(p_upload_id uuid, p_number integer) RETURNS TABLE(size_bytes bigint, md5 text, etag text, edge text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    RETURN QUERY
    SELECT c.size_bytes, c.md5, c.etag, c.edge FROM upload_chunks c
    WHERE c.upload_id = p_upload_id AND c.number = p_number;
END $$;

COMMENT ON FUNCTION public.chunk_of_upload_v1(p_upload_id uuid, p_number integer) IS 'Owner: chunk-worker. Called by edges, too, before they store a chunk, and by the storage-gateway for Workers.';

CREATE FUNCTION public.forget_chunks_v1(p_upload_id uuid, p_numbers integer[]) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
    DELETE FROM upload_chunks WHERE upload_id = p_upload_id AND number = ANY (p_numbers)
$$;

COMMENT ON FUNCTION public.forget_chunks_v1(p_upload_id uuid, p_numbers integer[]) IS 'Owner: chunk-worker. Called by the storage-gateway when the object storage lacks recorded chunks.';

CREATE FUNCTION public.hold_receiving_upload(p_upload_id uuid, p_epoch integer) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM uploads u JOIN agentcache_accounts a ON a.id = u.account_id
        WHERE u.id = p_upload_id AND upload_takes_chunks(u.status) AND a.suspended_at IS NULL
          AND coalesce(p_epoch, a.epoch) = a.epoch
        FOR SHARE OF u);
END $$;

CREATE FUNCTION public.keep_bandwidth_v1(p_reservation_ids uuid[], p_expires_at timestamp with time zone) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
    UPDATE usage_reservations SET expires_at = greatest(expires_at, p_expires_at)
    WHERE id = ANY (p_reservation_ids) AND resource = 'bandwidth'
$$;

COMMENT ON FUNCTION public.keep_bandwidth_v1(p_reservation_ids uuid[], p_expires_at timestamp with time zone) IS 'Owner: usage-meter. Called by the storage-gateway while it sends bytes.';

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

CREATE FUNCTION public.keep_inbox_v1(p_keep_days integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    oldest CONSTANT TIMESTAMPTZ := now() - make_interval(days => greatest(p_keep_days, 1));
    gone RECORD;
    dropped INTEGER := 0;
    horizon TIMESTAMPTZ;
BEGIN
    -- Whoever waits for a lock on a table holds up those who come after.
    PERFORM set_config('lock_timeout', '2s', true);
    PERFORM pg_advisory_xact_lock(7305219, 60);
    PERFORM add_months('inbox', 'event_time');
    FOR gone IN SELECT * FROM partitions_of('inbox') p WHERE p.starts_at IS NOT NULL AND p.ends_at <= oldest LOOP
        EXECUTE format('DROP TABLE partitions.%I', gone.name);
        dropped := dropped + 1;
        horizon := greatest(horizon, gone.ends_at);
    END LOOP;
    IF horizon IS NOT NULL THEN
        DELETE FROM partitions.inbox_other WHERE event_time < horizon;
        ALTER TABLE partitions.inbox_other DROP CONSTRAINT IF EXISTS inbox_horizon;
        EXECUTE format('ALTER TABLE partitions.inbox_other ADD CONSTRAINT inbox_horizon CHECK (event_time >= %L)', horizon);
    END IF;
    IF to_regclass('partitions.inbox_before') IS NOT NULL THEN
        IF NOT EXISTS (SELECT FROM partitions.inbox_before WHERE processed_at >= oldest) THEN
            DROP TABLE partitions.inbox_before;
            dropped := dropped + 1;
        END IF;
    END IF;
    RETURN dropped;
END $$;

COMMENT ON FUNCTION public.keep_inbox_v1(p_keep_days integer) IS 'Called by each service that has an inbox, now and then: makes the partitions of the months to come and drops those of events so many days old; how many it dropped. From then on older events are refused.';

CREATE FUNCTION public.keep_usage_v1() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    -- Whoever waits for a lock on a table holds up those who come after.
    PERFORM set_config('lock_timeout', '2s', true);
    PERFORM pg_advisory_xact_lock(7305219, 61);
    PERFORM add_months('usage_ledger', 'occurred_at');
    PERFORM add_months('storage_usage', 'period_start');
END $$;

COMMENT ON FUNCTION public.keep_usage_v1() IS 'Owner: usage-meter, which calls it now and then: makes the partitions of the months to come.';

CREATE FUNCTION public.lock_usage_v1(p_account_id uuid) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
    SELECT EXISTS (SELECT FROM account_usage WHERE account_id = p_account_id FOR UPDATE)
$$;

COMMENT ON FUNCTION public.lock_usage_v1(p_account_id uuid) IS 'Owner: usage-meter. Called by provisioning before it changes an account and its quotas.';

CREATE FUNCTION public.new_id() RETURNS uuid
    LANGUAGE sql PARALLEL SAFE
    AS $$
    SELECT encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
        PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::BIGINT) FROM 3) FROM 1 FOR 6),
        52, 1), 53, 1), 'hex')::UUID
$$;

COMMENT ON FUNCTION public.new_id() IS 'A UUIDv7: milliseconds since 1970 in 48 bits, the version, 74 random bits.';

CREATE FUNCTION public.note_edge_v1(p_edge_id text, p_region text, p_url text, p_in_flight_bytes bigint, p_capacity_bytes bigint, p_started_at timestamp with time zone) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
    DELETE FROM edges WHERE last_seen_at < now() - interval '1 hour' AND id <> p_edge_id;
    INSERT INTO edges (id, region, url, in_flight_bytes, capacity_bytes, started_at, last_seen_at)
    VALUES (p_edge_id, p_region, p_url, p_in_flight_bytes, p_capacity_bytes, p_started_at, now())
    ON CONFLICT (id) DO UPDATE
    SET region = excluded.region, url = excluded.url, in_flight_bytes = excluded.in_flight_bytes,
        capacity_bytes = excluded.capacity_bytes, started_at = excluded.started_at, last_seen_at = now();
$$;

COMMENT ON FUNCTION public.note_edge_v1(p_edge_id text, p_region text, p_url text, p_in_flight_bytes bigint, p_capacity_bytes bigint, p_started_at timestamp with time zone) IS 'Owner: chunk-worker. Called by edges, too, to be listed.';

CREATE FUNCTION public.partitions_of(p_table text) RETURNS TABLE(name text, starts_at timestamp with time zone, ends_at timestamp with time zone)
    LANGUAGE sql STABLE
    AS $_$
    SELECT c.relname::TEXT, b[1]::TIMESTAMPTZ, b[2]::TIMESTAMPTZ
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid),
                                    $x$FROM \((?:'([^']*)'|MINVALUE)\) TO \('([^']*)'\)$x$) AS b
    WHERE i.inhparent = ('public.' || quote_ident(p_table))::regclass AND b IS NOT NULL
$_$;

COMMENT ON FUNCTION public.partitions_of(p_table text) IS 'The partitions of a table, without the one for all that fits no other. The first, of what was there before the table was divided, has no start.';

CREATE FUNCTION public.quota_of_v1(p_account_id uuid) RETURNS TABLE(tier text, status text, storage_used_bytes bigint, storage_reserved_bytes bigint, storage_quota_bytes bigint, bandwidth_used_bytes bigint, bandwidth_reserved_bytes bigint, bandwidth_quota_bytes bigint, request_count bigint, period_start timestamp with time zone, period_end timestamp with time zone)
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1
    SET search_path TO 'public', 'pg_temp'
    AS $$
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

COMMENT ON FUNCTION public.quota_of_v1(p_account_id uuid) IS 'Owner: usage-meter. Called by the storage-gateway.';

CREATE FUNCTION public.record_chunk_v1(p_upload_id uuid, p_number integer, p_size_bytes bigint, p_md5 text, p_etag text, p_edge text, p_epoch integer, p_lane smallint, p_event_id uuid, p_event text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
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

COMMENT ON FUNCTION public.record_chunk_v1(p_upload_id uuid, p_number integer, p_size_bytes bigint, p_md5 text, p_etag text, p_edge text, p_epoch integer, p_lane smallint, p_event_id uuid, p_event text) IS 'Owner: chunk-worker. Called by edges, too, when the object storage has a chunk, and by the storage-gateway for Workers.';

CREATE FUNCTION public.refuse_ledger_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'usage_ledger is append-only: add an adjustment instead';
END $$;

CREATE FUNCTION public.remove_edge_v1(p_edge_id text, p_started_at timestamp with time zone) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
    DELETE FROM edges WHERE id = p_edge_id AND started_at = p_started_at
$$;

COMMENT ON FUNCTION public.remove_edge_v1(p_edge_id text, p_started_at timestamp with time zone) IS 'Owner: chunk-worker. Called by edges, too, when they stop.';

CREATE FUNCTION public.request_object_deletions_v1(p_s3_bucket text, p_s3_keys text[]) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
    INSERT INTO object_deletions (s3_bucket, s3_key) SELECT p_s3_bucket, unnest(p_s3_keys) ON CONFLICT DO NOTHING
$$;

COMMENT ON FUNCTION public.request_object_deletions_v1(p_s3_bucket text, p_s3_keys text[]) IS 'Owner: storage-gateway. Called by the usage-meter''s reconciliation.';

CREATE FUNCTION public.reserve_bandwidth_v1(p_account_id uuid, p_reservation_id uuid, p_bytes bigint, p_expires_at timestamp with time zone) RETURNS TABLE(granted boolean, used_bytes bigint, reserved_bytes bigint, quota_bytes bigint)
    LANGUAGE plpgsql SECURITY DEFINER ROWS 1
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

COMMENT ON FUNCTION public.reserve_bandwidth_v1(p_account_id uuid, p_reservation_id uuid, p_bytes bigint, p_expires_at timestamp with time zone) IS 'Owner: usage-meter. Called by the storage-gateway before it sends bytes.';

CREATE FUNCTION public.reserve_storage_v1(p_account_id uuid, p_reservation_id uuid, p_bytes bigint, p_expires_at timestamp with time zone) RETURNS TABLE(granted boolean, used_bytes bigint, reserved_bytes bigint, quota_bytes bigint)
    LANGUAGE plpgsql SECURITY DEFINER ROWS 1
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

COMMENT ON FUNCTION public.reserve_storage_v1(p_account_id uuid, p_reservation_id uuid, p_bytes bigint, p_expires_at timestamp with time zone) IS 'Owner: usage-meter. Called by the storage-gateway, in the transaction that creates an upload.';

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

CREATE FUNCTION public.set_quotas_v1(p_account_id uuid, p_storage_bytes bigint, p_bandwidth_bytes bigint) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
    SELECT roll_periods(ARRAY[p_account_id]);
    INSERT INTO account_usage (account_id, storage_quota_bytes, bandwidth_quota_bytes, period_start, period_end)
    VALUES (p_account_id, p_storage_bytes, p_bandwidth_bytes, date_trunc('month', now(), 'UTC'),
            (date_trunc('month', now(), 'UTC') AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC')
    ON CONFLICT (account_id) DO UPDATE SET
        storage_quota_bytes = excluded.storage_quota_bytes,
        bandwidth_quota_bytes = excluded.bandwidth_quota_bytes
$$;

COMMENT ON FUNCTION public.set_quotas_v1(p_account_id uuid, p_storage_bytes bigint, p_bandwidth_bytes bigint) IS 'Owner: usage-meter. Called by provisioning, in the transaction that makes an account or moves it to another tier.';

CREATE FUNCTION public.show_usage() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.upload_is_open(status text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT status IN ('created', 'receiving', 'completing')
$$;

CREATE FUNCTION public.upload_of_chunk_v1(p_upload_id uuid, p_account_id uuid) RETURNS TABLE(takes_chunks boolean, keeps_chunks boolean, epoch integer, s3_key text, s3_upload_id text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    RETURN QUERY
    SELECT upload_takes_chunks(u.status) AND a.suspended_at IS NULL,
        upload_is_open(u.status) OR u.status = 'completed', a.epoch, u.s3_key, u.s3_upload_id
    FROM uploads u JOIN agentcache_accounts a ON a.id = u.account_id
    WHERE u.id = p_upload_id AND u.account_id = p_account_id;
END $$;

COMMENT ON FUNCTION public.upload_of_chunk_v1(p_upload_id uuid, p_account_id uuid) IS 'Owner: storage-gateway. Called by chunk-workers and edges before they store a chunk.';

CREATE FUNCTION public.upload_takes_chunks(status text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT upload_is_open(status) AND status <> 'completing'
$$;

CREATE FUNCTION public.usage_price(p_resource text, p_at timestamp with time zone) RETURNS numeric
    LANGUAGE sql STABLE
    AS $$
    SELECT coalesce((SELECT usd_per_gb FROM usage_prices
                     WHERE resource = p_resource AND effective_from <= p_at
                     ORDER BY effective_from DESC LIMIT 1), 0)
$$;

CREATE FUNCTION public.usage_rates(p_month timestamp with time zone) RETURNS TABLE(month_seconds numeric, storage_usd_per_gb numeric, bandwidth_usd_per_gb numeric)
    LANGUAGE sql STABLE ROWS 1
    AS $$
    SELECT extract(epoch FROM m.month + interval '1 month' - m.month),
        usage_price('storage', p_month), usage_price('bandwidth', p_month)
    FROM (SELECT date_trunc('month', p_month AT TIME ZONE 'UTC') AS month) AS m
$$;

CREATE TABLE public.inbox (
    consumer text NOT NULL,
    event_id uuid NOT NULL,
    processed_at timestamp with time zone DEFAULT now() NOT NULL,
    event_time timestamp with time zone NOT NULL
)
PARTITION BY RANGE (event_time);

COMMENT ON TABLE public.inbox IS 'Events a consumer has processed, by the month of their own time, kept for INBOX_KEEP_DAYS: the dedupe horizon is never shorter than the replay horizon.';

CREATE TABLE partitions.inbox_other (
    consumer text NOT NULL,
    event_id uuid NOT NULL,
    processed_at timestamp with time zone DEFAULT now() NOT NULL,
    event_time timestamp with time zone NOT NULL
);

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
)
PARTITION BY RANGE (period_start);

COMMENT ON TABLE public.storage_usage IS 'One row per account and hour (UTC) with activity, computed from usage_ledger: bytes stored at its end, bytes sent and requests in it. In hours without a row the bytes stored stay as they were. Owner: usage-meter.';

COMMENT ON COLUMN public.storage_usage.storage_byte_seconds IS 'Bytes stored, each for the time it was stored within the hour; 3600 make a byte-hour.';

COMMENT ON COLUMN public.storage_usage.revision IS 'Raised when a late event corrects an hour that was closed; storage_usage_history keeps what it said before.';

CREATE TABLE partitions.storage_usage_other (
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
)
PARTITION BY RANGE (occurred_at);

COMMENT ON TABLE public.usage_ledger IS 'Append-only measured facts, one per source event, resource and time, by the month of that time. Owner: usage-meter.';

COMMENT ON COLUMN public.usage_ledger.asset_id IS 'The asset whose bytes these are: its storage entries add up to its size while it lives, and to 0 after.';

COMMENT ON COLUMN public.usage_ledger.occurred_at IS 'The event''s own time, never later than the booking; recorded_at is when it was booked.';

CREATE TABLE partitions.usage_ledger_other (
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
    id uuid DEFAULT public.new_id() NOT NULL,
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
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    suspended_at timestamp with time zone,
    over_quota boolean DEFAULT false NOT NULL,
    status text GENERATED ALWAYS AS (
CASE
    WHEN (suspended_at IS NOT NULL) THEN 'suspended'::text
    WHEN over_quota THEN 'over_quota'::text
    ELSE 'active'::text
END) STORED NOT NULL,
    master_key_id text DEFAULT '1'::text NOT NULL,
    epoch integer DEFAULT 0 NOT NULL
);

COMMENT ON TABLE public.agentcache_accounts IS 'Billable tenants. Owner: provisioning; storage_used_gb, bandwidth_used_gb and over_quota are the usage-meter''s.';

COMMENT ON COLUMN public.agentcache_accounts.agentcache_user_ref IS 'The id as AgentCache gave it; one that is no UUID maps to a UUIDv5 in agentcache_user_id.';

COMMENT ON COLUMN public.agentcache_accounts.tier_changed_at IS 'When the newest tier change was made, at AgentCache where it came as an event: a change that arrives late never undoes a newer one.';

COMMENT ON COLUMN public.agentcache_accounts.api_secret IS 'SHA-256 of the secret, hexadecimal. The secret itself is derived, never stored.';

COMMENT ON COLUMN public.agentcache_accounts.storage_used_gb IS 'Shown only. The truth is account_usage.storage_used_bytes.';

COMMENT ON COLUMN public.agentcache_accounts.suspended_at IS 'Since when the account may do nothing; NULL for one that is not suspended.';

COMMENT ON COLUMN public.agentcache_accounts.over_quota IS 'Whether what is used reaches the storage or the bandwidth quota. Owner: usage-meter.';

COMMENT ON COLUMN public.agentcache_accounts.status IS 'active, over_quota or suspended: computed from suspended_at and over_quota.';

COMMENT ON COLUMN public.agentcache_accounts.master_key_id IS 'The master key that the current credentials were derived from.';

COMMENT ON COLUMN public.agentcache_accounts.epoch IS 'Raised when the account is suspended and when its credentials are revoked: links and edge tokens of an earlier epoch are refused.';

CREATE TABLE public.agentcache_assets (
    id uuid DEFAULT public.new_id() NOT NULL,
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
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    content_hash_verified boolean DEFAULT false NOT NULL,
    serves_duplicates boolean DEFAULT false NOT NULL,
    CONSTRAINT agentcache_assets_serves_duplicates_check CHECK ((content_hash_verified OR (NOT serves_duplicates)))
)
WITH (fillfactor='90');

COMMENT ON TABLE public.agentcache_assets IS 'Immutable stored results. Owner: storage-gateway.';

COMMENT ON COLUMN public.agentcache_assets.content_hash IS 'SHA-256 of the bytes: computed by us where content_hash_verified, else as the client claims.';

COMMENT ON COLUMN public.agentcache_assets.serves_duplicates IS 'Whether uploads of the same bytes are answered with this asset: one of an account''s assets with a hash.';

CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);

CREATE TABLE public.asset_cache_keys (
    account_id uuid NOT NULL,
    cache_key text NOT NULL,
    asset_id uuid NOT NULL
);

COMMENT ON TABLE public.asset_cache_keys IS 'What a cache key names now: the newest upload under it wins, and one asset may have several keys, since equal bytes are stored once. Owner: storage-gateway.';

CREATE UNLOGGED TABLE public.chunks_under_way (
    account_id uuid NOT NULL,
    upload_id uuid NOT NULL,
    number integer NOT NULL,
    expires_at timestamp with time zone NOT NULL
);

COMMENT ON TABLE public.chunks_under_way IS 'Chunks that Workers are storing, until they are recorded, failed or expired. Owner: storage-gateway.';

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

CREATE TABLE public.master_keys (
    id text NOT NULL,
    fingerprint text,
    known_since timestamp with time zone
);

COMMENT ON TABLE public.master_keys IS 'The ids of master keys, never the keys. Owner: provisioning.';

COMMENT ON COLUMN public.master_keys.fingerprint IS 'Derived from the key, so that another one under its id is refused.';

COMMENT ON COLUMN public.master_keys.known_since IS 'When provisioning first started with the key; both are NULL before that.';

CREATE TABLE public.object_deletions (
    s3_bucket text NOT NULL,
    s3_key text NOT NULL,
    requested_at timestamp with time zone DEFAULT now() NOT NULL,
    not_before timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE public.object_deletions IS 'Objects whose row is gone and whose bytes must follow: written in the deleting transaction, worked off after it and by housekeeping. Owner: storage-gateway.';

COMMENT ON COLUMN public.object_deletions.not_before IS 'When to delete it next: a failed attempt moves it on, so one that always fails delays no other.';

CREATE TABLE public.ops_audit (
    id bigint NOT NULL,
    who text NOT NULL,
    began_at timestamp with time zone DEFAULT now() NOT NULL,
    action text NOT NULL,
    filter jsonb NOT NULL,
    result jsonb,
    finished_at timestamp with time zone
);

COMMENT ON TABLE public.ops_audit IS 'Every operation that touches events: written before it begins, its result after. One without a result was cut off. Owner: operations.';

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

CREATE TABLE public.reconciliation_queue (
    account_id uuid NOT NULL,
    is_changed boolean NOT NULL,
    drift_bytes bigint DEFAULT 0 NOT NULL,
    CONSTRAINT reconciliation_queue_drift_bytes_check CHECK ((drift_bytes >= 0))
);

COMMENT ON TABLE public.reconciliation_queue IS 'Accounts, and folders of accounts that are gone, that the scheduled reconciliation looks at: their usage changed, or the last look found something. Owner: usage-meter.';

COMMENT ON COLUMN public.reconciliation_queue.is_changed IS 'Whether an hour was closed since the last look began, or that look failed.';

COMMENT ON COLUMN public.reconciliation_queue.drift_bytes IS 'What the last look found and nobody has mended since.';

CREATE TABLE public.reconciliation_round (
    is_only boolean DEFAULT true NOT NULL,
    began_at timestamp with time zone DEFAULT now() NOT NULL,
    after_account_id uuid,
    account_count bigint DEFAULT 0 NOT NULL,
    CONSTRAINT reconciliation_round_is_only_check CHECK (is_only)
);

COMMENT ON TABLE public.reconciliation_round IS 'How far the scheduled reconciliation has come with all accounts, in the order of their ids; no row between two rounds. Owner: usage-meter.';

COMMENT ON COLUMN public.reconciliation_round.account_count IS 'How many accounts it has looked at.';

CREATE TABLE public.reconciliation_run (
    is_only boolean DEFAULT true NOT NULL,
    ended_at timestamp with time zone NOT NULL,
    CONSTRAINT reconciliation_run_is_only_check CHECK (is_only)
);

COMMENT ON TABLE public.reconciliation_run IS 'When a run of the scheduled reconciliation was last finished; no row before the first. Owner: usage-meter.';

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
    processed_before_count bigint DEFAULT 0 NOT NULL,
    CONSTRAINT replays_status_check CHECK ((status = ANY (ARRAY['running'::text, 'interrupted'::text, 'completed'::text])))
);

COMMENT ON TABLE public.replays IS 'Replays of the event log to one consumer. next_offset is where to go on after an interruption. Owner: operations.';

COMMENT ON COLUMN public.replays.end_offset IS 'The end of the log when the replay was asked for: what came later reaches the consumer anyway.';

COMMENT ON COLUMN public.replays.replayed_count IS 'The wanted events that the replay has come by, delivered or not.';

COMMENT ON COLUMN public.replays.processed_before_count IS 'Those of them that the consumer had processed, and did not get again.';

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

COMMENT ON COLUMN public.uploads.s3_upload_id IS 'The multipart upload in S3 while it may hold parts: Lyve lists no active ones, so this is the only trace.';

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

ALTER TABLE ONLY public.inbox ATTACH PARTITION partitions.inbox_other DEFAULT;

ALTER TABLE ONLY public.storage_usage ATTACH PARTITION partitions.storage_usage_other DEFAULT;

ALTER TABLE ONLY public.usage_ledger ATTACH PARTITION partitions.usage_ledger_other DEFAULT;

ALTER TABLE ONLY public.inbox
    ADD CONSTRAINT inbox_pkey PRIMARY KEY (event_id, consumer, event_time);

ALTER TABLE ONLY partitions.inbox_other
    ADD CONSTRAINT inbox_other_pkey PRIMARY KEY (event_id, consumer, event_time);

ALTER TABLE ONLY public.storage_usage
    ADD CONSTRAINT storage_usage_pkey PRIMARY KEY (account_id, period_start);

ALTER TABLE ONLY partitions.storage_usage_other
    ADD CONSTRAINT storage_usage_other_pkey PRIMARY KEY (account_id, period_start);

ALTER TABLE ONLY public.usage_ledger
    ADD CONSTRAINT usage_ledger_pkey PRIMARY KEY (id, occurred_at);

ALTER TABLE ONLY partitions.usage_ledger_other
    ADD CONSTRAINT usage_ledger_other_pkey PRIMARY KEY (id, occurred_at);

ALTER TABLE ONLY public.usage_ledger
    ADD CONSTRAINT usage_ledger_source_event_id_resource_occurred_at_key UNIQUE (source_event_id, resource, occurred_at);

ALTER TABLE ONLY partitions.usage_ledger_other
    ADD CONSTRAINT usage_ledger_other_source_event_id_resource_occurred_at_key UNIQUE (source_event_id, resource, occurred_at);

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
    ADD CONSTRAINT agentcache_assets_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY public.asset_cache_keys
    ADD CONSTRAINT asset_cache_keys_pkey PRIMARY KEY (account_id, cache_key);

ALTER TABLE ONLY public.chunks_under_way
    ADD CONSTRAINT chunks_under_way_pkey PRIMARY KEY (account_id, upload_id, number);

ALTER TABLE ONLY public.edges
    ADD CONSTRAINT edges_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.master_keys
    ADD CONSTRAINT master_keys_pkey PRIMARY KEY (id);

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

ALTER TABLE ONLY public.reconciliation_queue
    ADD CONSTRAINT reconciliation_queue_pkey PRIMARY KEY (account_id);

ALTER TABLE ONLY public.reconciliation_round
    ADD CONSTRAINT reconciliation_round_pkey PRIMARY KEY (is_only);

ALTER TABLE ONLY public.reconciliation_run
    ADD CONSTRAINT reconciliation_run_pkey PRIMARY KEY (is_only);

ALTER TABLE ONLY public.replays
    ADD CONSTRAINT replays_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.storage_usage_history
    ADD CONSTRAINT storage_usage_history_pkey PRIMARY KEY (account_id, period_start, revision);

ALTER TABLE ONLY public.tier_configs
    ADD CONSTRAINT tier_configs_pkey PRIMARY KEY (tier);

ALTER TABLE ONLY public.upload_chunks
    ADD CONSTRAINT upload_chunks_pkey PRIMARY KEY (upload_id, number);

ALTER TABLE ONLY public.uploads
    ADD CONSTRAINT uploads_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.usage_prices
    ADD CONSTRAINT usage_prices_pkey PRIMARY KEY (resource, effective_from);

ALTER TABLE ONLY public.usage_reservations
    ADD CONSTRAINT usage_reservations_pkey PRIMARY KEY (id, resource);

ALTER TABLE ONLY public.usage_rollup_queue
    ADD CONSTRAINT usage_rollup_queue_pkey PRIMARY KEY (id);

CREATE INDEX storage_usage_open_idx ON ONLY public.storage_usage USING btree (period_end, account_id) WHERE (closed_at IS NULL);

CREATE INDEX storage_usage_other_period_end_account_id_idx ON partitions.storage_usage_other USING btree (period_end, account_id) WHERE (closed_at IS NULL);

CREATE INDEX usage_ledger_account_idx ON ONLY public.usage_ledger USING btree (account_id, occurred_at);

CREATE INDEX usage_ledger_other_account_id_occurred_at_idx ON partitions.usage_ledger_other USING btree (account_id, occurred_at);

CREATE INDEX usage_ledger_reconciled_idx ON ONLY public.usage_ledger USING btree (asset_id) WHERE ((kind = 'adjustment'::text) AND (asset_id IS NOT NULL));

CREATE INDEX usage_ledger_other_asset_id_idx ON partitions.usage_ledger_other USING btree (asset_id) WHERE ((kind = 'adjustment'::text) AND (asset_id IS NOT NULL));

CREATE INDEX account_usage_period_idx ON public.account_usage USING btree (period_end);

CREATE INDEX account_usage_restored_idx ON public.account_usage USING btree (account_id) WHERE (bandwidth_exceeded AND (bandwidth_level = 0));

CREATE INDEX agentcache_accounts_master_key_idx ON public.agentcache_accounts USING btree (master_key_id, created_at);

CREATE INDEX agentcache_accounts_user_ref_idx ON public.agentcache_accounts USING btree (agentcache_user_ref);

CREATE INDEX agentcache_assets_account_idx ON public.agentcache_assets USING btree (account_id, created_at DESC, id DESC);

CREATE INDEX agentcache_assets_cache_key_idx ON public.agentcache_assets USING btree (cache_key);

CREATE UNIQUE INDEX agentcache_assets_duplicates_idx ON public.agentcache_assets USING btree (account_id, content_hash) WHERE serves_duplicates;

CREATE INDEX agentcache_assets_expiry_idx ON public.agentcache_assets USING btree (expires_at) WHERE (expires_at IS NOT NULL);

CREATE INDEX agentcache_assets_filename_idx ON public.agentcache_assets USING btree (account_id, filename COLLATE "C");

CREATE INDEX agentcache_assets_hash_idx ON public.agentcache_assets USING btree (content_hash);

CREATE INDEX agentcache_assets_key_idx ON public.agentcache_assets USING btree (account_id, s3_key COLLATE "C");

CREATE INDEX agentcache_assets_pipeline_idx ON public.agentcache_assets USING btree (account_id, agentcache_pipeline_id, created_at DESC, id DESC) WHERE (agentcache_pipeline_id IS NOT NULL);

CREATE INDEX agentcache_assets_unverified_idx ON public.agentcache_assets USING btree (created_at) WHERE (NOT content_hash_verified);

CREATE INDEX asset_cache_keys_asset_idx ON public.asset_cache_keys USING btree (asset_id);

CREATE INDEX chunks_under_way_expires_idx ON public.chunks_under_way USING btree (expires_at);

CREATE INDEX object_deletions_due_idx ON public.object_deletions USING btree (not_before);

CREATE INDEX object_deletions_key_idx ON public.object_deletions USING btree (s3_bucket, s3_key COLLATE "C");

CREATE INDEX ops_audit_began_idx ON public.ops_audit USING btree (began_at);

CREATE INDEX outbox_lane_idx ON public.outbox USING btree (lane, id);

CREATE INDEX rate_limits_window_idx ON public.rate_limits USING btree (window_start);

CREATE INDEX reconciliation_queue_drift_idx ON public.reconciliation_queue USING btree (account_id) INCLUDE (drift_bytes) WHERE (drift_bytes <> 0);

CREATE INDEX uploads_account_idx ON public.uploads USING btree (account_id, created_at);

CREATE INDEX uploads_closed_idx ON public.uploads USING btree (updated_at) WHERE ((s3_upload_id IS NULL) AND (NOT public.upload_is_open(status)));

CREATE INDEX uploads_leftover_idx ON public.uploads USING btree (updated_at) WHERE ((s3_upload_id IS NOT NULL) AND (NOT public.upload_is_open(status)));

CREATE INDEX uploads_open_account_idx ON public.uploads USING btree (account_id) WHERE public.upload_is_open(status);

CREATE INDEX uploads_open_idx ON public.uploads USING btree (expires_at) WHERE public.upload_is_open(status);

CREATE INDEX uploads_sessions_idx ON public.uploads USING btree (account_id, created_at DESC, id DESC) WHERE (kind = 'session'::text);

CREATE INDEX usage_reservations_account_idx ON public.usage_reservations USING btree (account_id);

CREATE INDEX usage_reservations_expiry_idx ON public.usage_reservations USING btree (expires_at);

CREATE INDEX usage_rollup_queue_account_idx ON public.usage_rollup_queue USING btree (account_id, hour);

CREATE INDEX usage_rollup_queue_hour_idx ON public.usage_rollup_queue USING btree (hour);

ALTER INDEX public.inbox_pkey ATTACH PARTITION partitions.inbox_other_pkey;

ALTER INDEX public.storage_usage_open_idx ATTACH PARTITION partitions.storage_usage_other_period_end_account_id_idx;

ALTER INDEX public.storage_usage_pkey ATTACH PARTITION partitions.storage_usage_other_pkey;

ALTER INDEX public.usage_ledger_account_idx ATTACH PARTITION partitions.usage_ledger_other_account_id_occurred_at_idx;

ALTER INDEX public.usage_ledger_reconciled_idx ATTACH PARTITION partitions.usage_ledger_other_asset_id_idx;

ALTER INDEX public.usage_ledger_pkey ATTACH PARTITION partitions.usage_ledger_other_pkey;

ALTER INDEX public.usage_ledger_source_event_id_resource_occurred_at_key ATTACH PARTITION partitions.usage_ledger_other_source_event_id_resource_occurred_at_key;

CREATE TRIGGER account_usage_show_usage AFTER UPDATE ON public.account_usage FOR EACH ROW WHEN (((old.storage_used_bytes <> new.storage_used_bytes) OR (old.bandwidth_used_bytes <> new.bandwidth_used_bytes) OR (old.storage_quota_bytes <> new.storage_quota_bytes) OR (old.bandwidth_quota_bytes <> new.bandwidth_quota_bytes))) EXECUTE FUNCTION public.show_usage();

CREATE TRIGGER storage_usage_keep_closed_hour AFTER UPDATE ON public.storage_usage FOR EACH ROW WHEN (((old.closed_at IS NOT NULL) AND (new.revision > old.revision))) EXECUTE FUNCTION public.keep_closed_hour();

CREATE TRIGGER usage_ledger_append_only BEFORE DELETE OR UPDATE ON public.usage_ledger FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_ledger_change();

ALTER TABLE ONLY public.account_usage
    ADD CONSTRAINT account_usage_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.agentcache_accounts(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.agentcache_accounts
    ADD CONSTRAINT agentcache_accounts_agentcache_tier_fkey FOREIGN KEY (agentcache_tier) REFERENCES public.tier_configs(tier);

ALTER TABLE ONLY public.agentcache_accounts
    ADD CONSTRAINT agentcache_accounts_master_key_id_fkey FOREIGN KEY (master_key_id) REFERENCES public.master_keys(id);

ALTER TABLE ONLY public.agentcache_assets
    ADD CONSTRAINT agentcache_assets_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.agentcache_accounts(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.asset_cache_keys
    ADD CONSTRAINT asset_cache_keys_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.agentcache_accounts(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.asset_cache_keys
    ADD CONSTRAINT asset_cache_keys_asset_id_fkey FOREIGN KEY (asset_id) REFERENCES public.agentcache_assets(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.replays
    ADD CONSTRAINT replays_audit_id_fkey FOREIGN KEY (audit_id) REFERENCES public.ops_audit(id);

ALTER TABLE public.storage_usage
    ADD CONSTRAINT storage_usage_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.agentcache_accounts(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.upload_chunks
    ADD CONSTRAINT upload_chunks_upload_id_fkey FOREIGN KEY (upload_id) REFERENCES public.uploads(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.uploads
    ADD CONSTRAINT uploads_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.agentcache_accounts(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.usage_reservations
    ADD CONSTRAINT usage_reservations_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.agentcache_accounts(id) ON DELETE CASCADE;

REVOKE ALL ON FUNCTION public.account_of_key_v2(p_api_key text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.account_of_key_v2(p_api_key text) TO jettythunder_storage_gateway;

REVOKE ALL ON FUNCTION public.add_months(p_table text, p_key text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.chunk_of_upload_v1(p_upload_id uuid, p_number integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.chunk_of_upload_v1(p_upload_id uuid, p_number integer) TO jettythunder_chunk_worker;
GRANT ALL ON FUNCTION public.chunk_of_upload_v1(p_upload_id uuid, p_number integer) TO jettythunder_edge;
GRANT ALL ON FUNCTION public.chunk_of_upload_v1(p_upload_id uuid, p_number integer) TO jettythunder_storage_gateway;

REVOKE ALL ON FUNCTION public.forget_chunks_v1(p_upload_id uuid, p_numbers integer[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.forget_chunks_v1(p_upload_id uuid, p_numbers integer[]) TO jettythunder_storage_gateway;

REVOKE ALL ON FUNCTION public.keep_bandwidth_v1(p_reservation_ids uuid[], p_expires_at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.keep_bandwidth_v1(p_reservation_ids uuid[], p_expires_at timestamp with time zone) TO jettythunder_storage_gateway;

REVOKE ALL ON FUNCTION public.keep_inbox_v1(p_keep_days integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.keep_inbox_v1(p_keep_days integer) TO jettythunder_provisioning;
GRANT ALL ON FUNCTION public.keep_inbox_v1(p_keep_days integer) TO jettythunder_storage_gateway;
GRANT ALL ON FUNCTION public.keep_inbox_v1(p_keep_days integer) TO jettythunder_chunk_worker;
GRANT ALL ON FUNCTION public.keep_inbox_v1(p_keep_days integer) TO jettythunder_usage_meter;

REVOKE ALL ON FUNCTION public.keep_usage_v1() FROM PUBLIC;
GRANT ALL ON FUNCTION public.keep_usage_v1() TO jettythunder_usage_meter;

REVOKE ALL ON FUNCTION public.lock_usage_v1(p_account_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.lock_usage_v1(p_account_id uuid) TO jettythunder_provisioning;

REVOKE ALL ON FUNCTION public.note_edge_v1(p_edge_id text, p_region text, p_url text, p_in_flight_bytes bigint, p_capacity_bytes bigint, p_started_at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.note_edge_v1(p_edge_id text, p_region text, p_url text, p_in_flight_bytes bigint, p_capacity_bytes bigint, p_started_at timestamp with time zone) TO jettythunder_chunk_worker;
GRANT ALL ON FUNCTION public.note_edge_v1(p_edge_id text, p_region text, p_url text, p_in_flight_bytes bigint, p_capacity_bytes bigint, p_started_at timestamp with time zone) TO jettythunder_edge;

REVOKE ALL ON FUNCTION public.partitions_of(p_table text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.quota_of_v1(p_account_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.quota_of_v1(p_account_id uuid) TO jettythunder_storage_gateway;
GRANT ALL ON FUNCTION public.quota_of_v1(p_account_id uuid) TO jettythunder_usage_meter;

REVOKE ALL ON FUNCTION public.record_chunk_v1(p_upload_id uuid, p_number integer, p_size_bytes bigint, p_md5 text, p_etag text, p_edge text, p_epoch integer, p_lane smallint, p_event_id uuid, p_event text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.record_chunk_v1(p_upload_id uuid, p_number integer, p_size_bytes bigint, p_md5 text, p_etag text, p_edge text, p_epoch integer, p_lane smallint, p_event_id uuid, p_event text) TO jettythunder_chunk_worker;
GRANT ALL ON FUNCTION public.record_chunk_v1(p_upload_id uuid, p_number integer, p_size_bytes bigint, p_md5 text, p_etag text, p_edge text, p_epoch integer, p_lane smallint, p_event_id uuid, p_event text) TO jettythunder_edge;
GRANT ALL ON FUNCTION public.record_chunk_v1(p_upload_id uuid, p_number integer, p_size_bytes bigint, p_md5 text, p_etag text, p_edge text, p_epoch integer, p_lane smallint, p_event_id uuid, p_event text) TO jettythunder_storage_gateway;

REVOKE ALL ON FUNCTION public.remove_edge_v1(p_edge_id text, p_started_at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.remove_edge_v1(p_edge_id text, p_started_at timestamp with time zone) TO jettythunder_chunk_worker;
GRANT ALL ON FUNCTION public.remove_edge_v1(p_edge_id text, p_started_at timestamp with time zone) TO jettythunder_edge;

REVOKE ALL ON FUNCTION public.request_object_deletions_v1(p_s3_bucket text, p_s3_keys text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.request_object_deletions_v1(p_s3_bucket text, p_s3_keys text[]) TO jettythunder_usage_meter;

REVOKE ALL ON FUNCTION public.reserve_bandwidth_v1(p_account_id uuid, p_reservation_id uuid, p_bytes bigint, p_expires_at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.reserve_bandwidth_v1(p_account_id uuid, p_reservation_id uuid, p_bytes bigint, p_expires_at timestamp with time zone) TO jettythunder_storage_gateway;

REVOKE ALL ON FUNCTION public.reserve_storage_v1(p_account_id uuid, p_reservation_id uuid, p_bytes bigint, p_expires_at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.reserve_storage_v1(p_account_id uuid, p_reservation_id uuid, p_bytes bigint, p_expires_at timestamp with time zone) TO jettythunder_storage_gateway;

REVOKE ALL ON FUNCTION public.set_quotas_v1(p_account_id uuid, p_storage_bytes bigint, p_bandwidth_bytes bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION public.set_quotas_v1(p_account_id uuid, p_storage_bytes bigint, p_bandwidth_bytes bigint) TO jettythunder_provisioning;

REVOKE ALL ON FUNCTION public.upload_of_chunk_v1(p_upload_id uuid, p_account_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.upload_of_chunk_v1(p_upload_id uuid, p_account_id uuid) TO jettythunder_chunk_worker;
GRANT ALL ON FUNCTION public.upload_of_chunk_v1(p_upload_id uuid, p_account_id uuid) TO jettythunder_edge;
GRANT ALL ON FUNCTION public.upload_of_chunk_v1(p_upload_id uuid, p_account_id uuid) TO jettythunder_storage_gateway;

GRANT SELECT,INSERT ON TABLE public.inbox TO jettythunder_provisioning;
GRANT SELECT,INSERT ON TABLE public.inbox TO jettythunder_storage_gateway;
GRANT SELECT,INSERT ON TABLE public.inbox TO jettythunder_chunk_worker;
GRANT SELECT,INSERT ON TABLE public.inbox TO jettythunder_usage_meter;
GRANT SELECT ON TABLE public.inbox TO jettythunder_operations;

GRANT SELECT,INSERT,UPDATE ON TABLE public.storage_usage TO jettythunder_usage_meter;

GRANT SELECT,INSERT ON TABLE public.usage_ledger TO jettythunder_usage_meter;

GRANT SELECT,INSERT,UPDATE ON TABLE public.account_usage TO jettythunder_usage_meter;

GRANT SELECT ON TABLE public.agentcache_accounts TO jettythunder_provisioning;

GRANT INSERT(id) ON TABLE public.agentcache_accounts TO jettythunder_provisioning;
GRANT SELECT(id) ON TABLE public.agentcache_accounts TO jettythunder_storage_gateway;
GRANT SELECT(id) ON TABLE public.agentcache_accounts TO jettythunder_usage_meter;

GRANT INSERT(agentcache_user_id) ON TABLE public.agentcache_accounts TO jettythunder_provisioning;
GRANT SELECT(agentcache_user_id) ON TABLE public.agentcache_accounts TO jettythunder_storage_gateway;
GRANT SELECT(agentcache_user_id) ON TABLE public.agentcache_accounts TO jettythunder_usage_meter;

GRANT INSERT(agentcache_user_ref) ON TABLE public.agentcache_accounts TO jettythunder_provisioning;
GRANT SELECT(agentcache_user_ref) ON TABLE public.agentcache_accounts TO jettythunder_storage_gateway;
GRANT SELECT(agentcache_user_ref) ON TABLE public.agentcache_accounts TO jettythunder_usage_meter;

GRANT INSERT(agentcache_email),UPDATE(agentcache_email) ON TABLE public.agentcache_accounts TO jettythunder_provisioning;
GRANT SELECT(agentcache_email) ON TABLE public.agentcache_accounts TO jettythunder_storage_gateway;
GRANT SELECT(agentcache_email) ON TABLE public.agentcache_accounts TO jettythunder_usage_meter;

GRANT INSERT(agentcache_tier),UPDATE(agentcache_tier) ON TABLE public.agentcache_accounts TO jettythunder_provisioning;
GRANT SELECT(agentcache_tier) ON TABLE public.agentcache_accounts TO jettythunder_storage_gateway;
GRANT SELECT(agentcache_tier) ON TABLE public.agentcache_accounts TO jettythunder_usage_meter;

GRANT UPDATE(tier_changed_at) ON TABLE public.agentcache_accounts TO jettythunder_provisioning;
GRANT SELECT(tier_changed_at) ON TABLE public.agentcache_accounts TO jettythunder_storage_gateway;
GRANT SELECT(tier_changed_at) ON TABLE public.agentcache_accounts TO jettythunder_usage_meter;

GRANT INSERT(api_key),UPDATE(api_key) ON TABLE public.agentcache_accounts TO jettythunder_provisioning;

GRANT INSERT(api_secret),UPDATE(api_secret) ON TABLE public.agentcache_accounts TO jettythunder_provisioning;

GRANT UPDATE(credential_version) ON TABLE public.agentcache_accounts TO jettythunder_provisioning;
GRANT SELECT(credential_version) ON TABLE public.agentcache_accounts TO jettythunder_storage_gateway;
GRANT SELECT(credential_version) ON TABLE public.agentcache_accounts TO jettythunder_usage_meter;

GRANT UPDATE(previous_api_key) ON TABLE public.agentcache_accounts TO jettythunder_provisioning;

GRANT UPDATE(previous_api_secret) ON TABLE public.agentcache_accounts TO jettythunder_provisioning;

GRANT UPDATE(previous_valid_until) ON TABLE public.agentcache_accounts TO jettythunder_provisioning;

GRANT INSERT(storage_quota_gb),UPDATE(storage_quota_gb) ON TABLE public.agentcache_accounts TO jettythunder_provisioning;
GRANT SELECT(storage_quota_gb) ON TABLE public.agentcache_accounts TO jettythunder_storage_gateway;
GRANT SELECT(storage_quota_gb) ON TABLE public.agentcache_accounts TO jettythunder_usage_meter;

GRANT SELECT(storage_used_gb) ON TABLE public.agentcache_accounts TO jettythunder_storage_gateway;
GRANT SELECT(storage_used_gb),UPDATE(storage_used_gb) ON TABLE public.agentcache_accounts TO jettythunder_usage_meter;

GRANT INSERT(bandwidth_quota_gb),UPDATE(bandwidth_quota_gb) ON TABLE public.agentcache_accounts TO jettythunder_provisioning;
GRANT SELECT(bandwidth_quota_gb) ON TABLE public.agentcache_accounts TO jettythunder_storage_gateway;
GRANT SELECT(bandwidth_quota_gb) ON TABLE public.agentcache_accounts TO jettythunder_usage_meter;

GRANT SELECT(bandwidth_used_gb) ON TABLE public.agentcache_accounts TO jettythunder_storage_gateway;
GRANT SELECT(bandwidth_used_gb),UPDATE(bandwidth_used_gb) ON TABLE public.agentcache_accounts TO jettythunder_usage_meter;

GRANT INSERT(jetty_speed_enabled),UPDATE(jetty_speed_enabled) ON TABLE public.agentcache_accounts TO jettythunder_provisioning;
GRANT SELECT(jetty_speed_enabled) ON TABLE public.agentcache_accounts TO jettythunder_storage_gateway;
GRANT SELECT(jetty_speed_enabled) ON TABLE public.agentcache_accounts TO jettythunder_usage_meter;

GRANT INSERT(s3_bucket_name) ON TABLE public.agentcache_accounts TO jettythunder_provisioning;
GRANT SELECT(s3_bucket_name) ON TABLE public.agentcache_accounts TO jettythunder_storage_gateway;
GRANT SELECT(s3_bucket_name) ON TABLE public.agentcache_accounts TO jettythunder_usage_meter;

GRANT INSERT(s3_prefix) ON TABLE public.agentcache_accounts TO jettythunder_provisioning;
GRANT SELECT(s3_prefix) ON TABLE public.agentcache_accounts TO jettythunder_storage_gateway;
GRANT SELECT(s3_prefix) ON TABLE public.agentcache_accounts TO jettythunder_usage_meter;

GRANT UPDATE(folder_created_at) ON TABLE public.agentcache_accounts TO jettythunder_provisioning;
GRANT SELECT(folder_created_at) ON TABLE public.agentcache_accounts TO jettythunder_storage_gateway;
GRANT SELECT(folder_created_at) ON TABLE public.agentcache_accounts TO jettythunder_usage_meter;

GRANT SELECT(created_at) ON TABLE public.agentcache_accounts TO jettythunder_storage_gateway;
GRANT SELECT(created_at) ON TABLE public.agentcache_accounts TO jettythunder_usage_meter;

GRANT UPDATE(updated_at) ON TABLE public.agentcache_accounts TO jettythunder_provisioning;
GRANT SELECT(updated_at) ON TABLE public.agentcache_accounts TO jettythunder_storage_gateway;
GRANT SELECT(updated_at) ON TABLE public.agentcache_accounts TO jettythunder_usage_meter;

GRANT UPDATE(suspended_at) ON TABLE public.agentcache_accounts TO jettythunder_provisioning;
GRANT SELECT(suspended_at) ON TABLE public.agentcache_accounts TO jettythunder_storage_gateway;
GRANT SELECT(suspended_at) ON TABLE public.agentcache_accounts TO jettythunder_usage_meter;

GRANT SELECT(over_quota) ON TABLE public.agentcache_accounts TO jettythunder_storage_gateway;
GRANT SELECT(over_quota),UPDATE(over_quota) ON TABLE public.agentcache_accounts TO jettythunder_usage_meter;

GRANT SELECT(status) ON TABLE public.agentcache_accounts TO jettythunder_storage_gateway;
GRANT SELECT(status) ON TABLE public.agentcache_accounts TO jettythunder_usage_meter;

GRANT INSERT(master_key_id),UPDATE(master_key_id) ON TABLE public.agentcache_accounts TO jettythunder_provisioning;

GRANT UPDATE(epoch) ON TABLE public.agentcache_accounts TO jettythunder_provisioning;
GRANT SELECT(epoch) ON TABLE public.agentcache_accounts TO jettythunder_storage_gateway;
GRANT SELECT(epoch) ON TABLE public.agentcache_accounts TO jettythunder_usage_meter;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.agentcache_assets TO jettythunder_storage_gateway;
GRANT SELECT ON TABLE public.agentcache_assets TO jettythunder_usage_meter;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.asset_cache_keys TO jettythunder_storage_gateway;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.chunks_under_way TO jettythunder_storage_gateway;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.edges TO jettythunder_chunk_worker;
GRANT SELECT ON TABLE public.edges TO jettythunder_storage_gateway;

GRANT SELECT,INSERT ON TABLE public.master_keys TO jettythunder_provisioning;

GRANT UPDATE(fingerprint) ON TABLE public.master_keys TO jettythunder_provisioning;

GRANT UPDATE(known_since) ON TABLE public.master_keys TO jettythunder_provisioning;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.object_deletions TO jettythunder_storage_gateway;
GRANT SELECT ON TABLE public.object_deletions TO jettythunder_usage_meter;

GRANT SELECT,INSERT,UPDATE ON TABLE public.ops_audit TO jettythunder_operations;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.outbox TO jettythunder_provisioning;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.outbox TO jettythunder_storage_gateway;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.outbox TO jettythunder_chunk_worker;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.outbox TO jettythunder_usage_meter;

GRANT INSERT ON TABLE public.outbox_quarantine TO jettythunder_provisioning;
GRANT INSERT ON TABLE public.outbox_quarantine TO jettythunder_storage_gateway;
GRANT INSERT ON TABLE public.outbox_quarantine TO jettythunder_chunk_worker;
GRANT INSERT ON TABLE public.outbox_quarantine TO jettythunder_usage_meter;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.rate_limits TO jettythunder_storage_gateway;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.reconciliation_queue TO jettythunder_usage_meter;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.reconciliation_round TO jettythunder_usage_meter;

GRANT SELECT,INSERT,UPDATE ON TABLE public.reconciliation_run TO jettythunder_usage_meter;

GRANT SELECT,INSERT,UPDATE ON TABLE public.replays TO jettythunder_operations;

GRANT SELECT,INSERT ON TABLE public.storage_usage_history TO jettythunder_usage_meter;

GRANT SELECT ON TABLE public.tier_configs TO jettythunder_provisioning;
GRANT SELECT ON TABLE public.tier_configs TO jettythunder_storage_gateway;
GRANT SELECT ON TABLE public.tier_configs TO jettythunder_usage_meter;

GRANT SELECT,INSERT,UPDATE ON TABLE public.upload_chunks TO jettythunder_chunk_worker;
GRANT SELECT ON TABLE public.upload_chunks TO jettythunder_storage_gateway;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.uploads TO jettythunder_storage_gateway;
GRANT SELECT ON TABLE public.uploads TO jettythunder_usage_meter;

GRANT SELECT,INSERT,UPDATE ON TABLE public.usage_prices TO jettythunder_usage_meter;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.usage_reservations TO jettythunder_usage_meter;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.usage_rollup_queue TO jettythunder_usage_meter;

INSERT INTO public.alembic_version (version_num) VALUES ('0070');

INSERT INTO public.master_keys (id, fingerprint, known_since) VALUES ('1', NULL, NULL);

INSERT INTO public.tier_configs (tier, storage_quota_gb, bandwidth_quota_gb, jetty_speed_enabled, rate_limit_per_minute, max_file_size_mb) VALUES ('free', 0, 0, false, 10, 10);
INSERT INTO public.tier_configs (tier, storage_quota_gb, bandwidth_quota_gb, jetty_speed_enabled, rate_limit_per_minute, max_file_size_mb) VALUES ('starter', 2, 10, false, 60, 50);
INSERT INTO public.tier_configs (tier, storage_quota_gb, bandwidth_quota_gb, jetty_speed_enabled, rate_limit_per_minute, max_file_size_mb) VALUES ('pro', 20, 50, true, 300, 500);
INSERT INTO public.tier_configs (tier, storage_quota_gb, bandwidth_quota_gb, jetty_speed_enabled, rate_limit_per_minute, max_file_size_mb) VALUES ('business', 100, 200, true, 1000, 1000);
INSERT INTO public.tier_configs (tier, storage_quota_gb, bandwidth_quota_gb, jetty_speed_enabled, rate_limit_per_minute, max_file_size_mb) VALUES ('enterprise', 1000, 5000, true, 10000, 5000);

INSERT INTO public.usage_prices (resource, effective_from, usd_per_gb, source) VALUES ('storage', '2020-01-01 00:00:00+00', 0.01000000, 'configurable default: an assumption, no vendor''s price; set your own');
INSERT INTO public.usage_prices (resource, effective_from, usd_per_gb, source) VALUES ('bandwidth', '2020-01-01 00:00:00+00', 0.01000000, 'configurable default: an assumption, no vendor''s price; set your own');
