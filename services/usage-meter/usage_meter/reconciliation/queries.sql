-- name: bytes_by_source(account_id)^
-- What an account stores according to each of those who know.
SELECT u.storage_used_bytes AS counter_bytes, u.storage_reserved_bytes AS counter_reserved_bytes,
    u.bandwidth_used_bytes AS counter_bandwidth_bytes, u.bandwidth_reserved_bytes AS counter_bandwidth_reserved_bytes,
    u.request_count AS counter_request_count,
    l.storage_bytes AS ledger_bytes, l.storage_reserved_bytes AS ledger_reserved_bytes,
    l.bandwidth_bytes AS ledger_bandwidth_bytes, l.bandwidth_reserved_bytes AS ledger_bandwidth_reserved_bytes,
    l.request_count AS ledger_request_count, l.adjusted_bytes,
    h.storage_bytes AS held_bytes, h.bandwidth_bytes AS held_bandwidth_bytes,
    CASE WHEN EXISTS (SELECT FROM usage_rollup_queue q WHERE q.account_id = u.account_id) THEN NULL ELSE coalesce((
        SELECT s.storage_bytes FROM storage_usage s
        WHERE s.account_id = u.account_id ORDER BY s.period_start DESC LIMIT 1), 0) END AS hours_bytes
FROM account_usage u
CROSS JOIN LATERAL (
    SELECT coalesce(sum(used_delta_bytes) FILTER (WHERE resource = 'storage'), 0)::bigint AS storage_bytes,
        coalesce(sum(reserved_delta_bytes) FILTER (WHERE resource = 'storage'), 0)::bigint AS storage_reserved_bytes,
        coalesce(sum(used_delta_bytes) FILTER (
            WHERE resource = 'bandwidth' AND occurred_at >= u.period_start), 0)::bigint AS bandwidth_bytes,
        coalesce(sum(reserved_delta_bytes) FILTER (WHERE resource = 'bandwidth'), 0)::bigint AS bandwidth_reserved_bytes,
        coalesce(sum(request_count) FILTER (WHERE occurred_at >= u.period_start), 0)::bigint AS request_count,
        coalesce(sum(used_delta_bytes) FILTER (
            WHERE resource = 'storage' AND kind = 'adjustment' AND asset_id IS NULL), 0)::bigint AS adjusted_bytes
    FROM usage_ledger WHERE account_id = u.account_id
) AS l
CROSS JOIN LATERAL (
    SELECT coalesce(sum(held_bytes) FILTER (WHERE resource = 'storage'), 0)::bigint AS storage_bytes,
        coalesce(sum(held_bytes) FILTER (WHERE resource = 'bandwidth'), 0)::bigint AS bandwidth_bytes
    FROM usage_reservations WHERE account_id = u.account_id
) AS h
WHERE u.account_id = :account_id;

-- name: list_known_objects(account_id, bucket, after_key, until_key, page_size)
-- A page of the objects that an account's assets, open uploads and requested deletions account for, after a key and
-- up to another, in the order of their bytes.
SELECT s3_key, kind, asset_id, size_bytes FROM (
    (SELECT a.s3_key, 'asset' AS kind, a.id AS asset_id, a.size_bytes
     FROM agentcache_assets a
     WHERE a.account_id = :account_id AND a.s3_key COLLATE "C" > :after_key AND a.s3_key COLLATE "C" <= :until_key
     ORDER BY a.s3_key COLLATE "C" LIMIT :page_size)
    UNION ALL
    (SELECT u.s3_key, 'upload', NULL, 0
     FROM uploads u
     WHERE u.account_id = :account_id AND upload_is_open(u.status)
       AND u.s3_key COLLATE "C" > :after_key AND u.s3_key COLLATE "C" <= :until_key)
    UNION ALL
    (SELECT d.s3_key, 'deletion', NULL, 0
     FROM object_deletions d
     WHERE d.s3_bucket = :bucket AND d.s3_key COLLATE "C" > :after_key AND d.s3_key COLLATE "C" <= :until_key)
) AS known
ORDER BY s3_key COLLATE "C"
LIMIT :page_size;

-- name: list_ledger_drift(account_id)
-- Assets whose entries in the ledger don't add up to their size, or to 0 where they are gone.
SELECT coalesce(l.asset_id, a.id) AS asset_id, coalesce(l.bytes, 0) AS ledger_bytes, coalesce(a.size_bytes, 0) AS asset_bytes
FROM (
    SELECT asset_id, sum(used_delta_bytes)::bigint AS bytes FROM usage_ledger
    WHERE account_id = :account_id AND resource = 'storage' AND asset_id IS NOT NULL
    GROUP BY asset_id
) AS l
FULL JOIN (SELECT id, size_bytes FROM agentcache_assets WHERE account_id = :account_id) AS a ON a.id = l.asset_id
WHERE coalesce(l.bytes, 0) <> coalesce(a.size_bytes, 0);

-- name: booked_bytes(account_id)$
-- What an account stores by its ledger.
SELECT coalesce(sum(used_delta_bytes), 0)::bigint FROM usage_ledger
WHERE account_id = :account_id AND resource = 'storage';

-- name: is_in_ledger(account_id)$
-- Whether the ledger has an entry of an account.
SELECT EXISTS (SELECT FROM usage_ledger WHERE account_id = :account_id);

-- name: list_lost_holds(account_id, settle_seconds)
-- Storage held for uploads that were completed a while ago: their event should have ended it.
SELECT r.id AS upload_id, u.asset_id, r.held_bytes
FROM usage_reservations r
JOIN uploads u ON u.id = r.id
WHERE r.account_id = :account_id AND r.resource = 'storage' AND u.status = 'completed'
  AND u.updated_at <= now() - make_interval(secs => :settle_seconds)
ORDER BY r.id;

-- name: request_deletions(s3_bucket, s3_keys)!
-- Asks the storage-gateway's housekeeping to delete objects.
SELECT request_object_deletions_v1(:s3_bucket, :s3_keys::text[]);

-- name: restore_counters(account_id, storage_used, storage_reserved, bandwidth_used, bandwidth_reserved, requests)!
-- Sets a locked account's running sums to what its ledger adds up to.
UPDATE account_usage
SET storage_used_bytes = :storage_used, storage_reserved_bytes = :storage_reserved,
    bandwidth_used_bytes = :bandwidth_used, bandwidth_reserved_bytes = :bandwidth_reserved,
    request_count = :requests, updated_at = now()
WHERE account_id = :account_id;

-- name: queue_changed(account_ids)!
-- Queues accounts whose usage changed, in the order of their ids, in which all lock them.
INSERT INTO reconciliation_queue AS q (account_id, is_changed)
SELECT DISTINCT g.account_id, true FROM unnest(:account_ids::uuid[]) AS g (account_id) ORDER BY g.account_id
ON CONFLICT (account_id) DO UPDATE SET is_changed = true WHERE NOT q.is_changed;

-- name: list_queued(after, page_size)
-- A page of the queued accounts, in the order of their ids.
SELECT account_id FROM reconciliation_queue
WHERE account_id > coalesce(:after::uuid, '00000000-0000-0000-0000-000000000000')
ORDER BY account_id
LIMIT :page_size;

-- name: begin_look(account_id)!
-- From now on a change of an account's usage is one that the look may not see.
UPDATE reconciliation_queue SET is_changed = false WHERE account_id = :account_id AND is_changed;

-- name: note_drift(account_id, drift_bytes)!
-- Keeps what a look found.
INSERT INTO reconciliation_queue (account_id, is_changed, drift_bytes) VALUES (:account_id, false, :drift_bytes)
ON CONFLICT (account_id) DO UPDATE SET drift_bytes = excluded.drift_bytes;

-- name: forget_drift(account_id)!
-- A look found nothing.
UPDATE reconciliation_queue SET drift_bytes = 0 WHERE account_id = :account_id AND drift_bytes <> 0;

-- name: leave_queue(account_id)!
-- Removes an account whose usage has not changed since its look began.
DELETE FROM reconciliation_queue WHERE account_id = :account_id AND NOT is_changed;

-- name: sum_drift()$
-- What was found and not mended.
SELECT coalesce(sum(drift_bytes), 0)::bigint FROM reconciliation_queue WHERE drift_bytes <> 0;

-- name: begin_round()!
-- Begins a round over all accounts where none is under way.
INSERT INTO reconciliation_round DEFAULT VALUES ON CONFLICT DO NOTHING;

-- name: fetch_round()^
-- The round under way, and how many accounts there are by PostgreSQL's estimate: counting them would take as long as there are.
SELECT r.after_account_id, r.account_count, extract(epoch FROM now() - r.began_at)::float8 AS age_seconds,
    greatest(c.reltuples, 0)::bigint AS estimated_account_count
FROM reconciliation_round r
JOIN pg_class c ON c.oid = 'agentcache_accounts'::regclass;

-- name: move_round(after)!
-- The round has come to an account.
UPDATE reconciliation_round SET after_account_id = :after, account_count = account_count + 1;

-- name: end_round()!
-- The round has come to the end of the accounts.
DELETE FROM reconciliation_round;

-- name: run_age_seconds()$
-- How long ago the last finished run ended.
SELECT extract(epoch FROM now() - ended_at)::float8 FROM reconciliation_run;

-- name: end_run()!
-- A run was finished.
INSERT INTO reconciliation_run (ended_at) VALUES (now()) ON CONFLICT (is_only) DO UPDATE SET ended_at = excluded.ended_at;
