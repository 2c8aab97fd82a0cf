-- Keeps bandwidth that is being used from expiring; what has expired meanwhile stays away.
CREATE FUNCTION keep_bandwidth_v1(p_reservation_ids UUID[], p_expires_at TIMESTAMPTZ) RETURNS VOID
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE usage_reservations SET expires_at = greatest(expires_at, p_expires_at)
    WHERE id = ANY (p_reservation_ids) AND resource = 'bandwidth'
$$;
COMMENT ON FUNCTION keep_bandwidth_v1 IS 'Owner: usage-meter. Called by the storage-gateway while it sends bytes.';
REVOKE EXECUTE ON FUNCTION keep_bandwidth_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION keep_bandwidth_v1 TO jettythunder_storage_gateway;
