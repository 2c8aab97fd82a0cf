-- Owner: usage-meter. New quotas are judged by what is used in the period that runs: one that is over is closed first.
CREATE OR REPLACE FUNCTION set_quotas_v1(p_account_id UUID, p_storage_bytes BIGINT, p_bandwidth_bytes BIGINT) RETURNS VOID
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT roll_periods(ARRAY[p_account_id]);
    INSERT INTO account_usage (account_id, storage_quota_bytes, bandwidth_quota_bytes, period_start, period_end)
    VALUES (p_account_id, p_storage_bytes, p_bandwidth_bytes, date_trunc('month', now(), 'UTC'),
            (date_trunc('month', now(), 'UTC') AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC')
    ON CONFLICT (account_id) DO UPDATE SET
        storage_quota_bytes = excluded.storage_quota_bytes,
        bandwidth_quota_bytes = excluded.bandwidth_quota_bytes
$$;
