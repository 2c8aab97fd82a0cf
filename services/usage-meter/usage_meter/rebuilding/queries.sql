-- name: clock()$
-- The database's time.
SELECT clock_timestamp();

-- name: known_events(consumer, event_ids)
-- Which of the events a consumer has processed.
SELECT event_id FROM inbox WHERE consumer = :consumer AND event_id = ANY (:event_ids::uuid[]);

-- name: ledger_sums(account_id, event_ids, began_at)
-- Used bytes by account, resource and month (UTC): people's adjustments, and all else that was booked before a
-- moment or comes from one of these events. Of all accounts without an id.
SELECT account_id, resource, date_trunc('month', occurred_at, 'UTC') AS month,
    coalesce(sum(used_delta_bytes) FILTER (WHERE kind <> 'adjustment'), 0)::bigint AS event_bytes,
    coalesce(sum(used_delta_bytes) FILTER (WHERE kind = 'adjustment'), 0)::bigint AS adjusted_bytes
FROM usage_ledger
WHERE (:account_id::uuid IS NULL OR account_id = :account_id::uuid)
  AND (recorded_at < :began_at OR source_event_id = ANY (:event_ids::text[]))
GROUP BY account_id, resource, month;

-- name: accounts_beyond_log(account_id, event_ids, began_at)
-- Accounts with used bytes from events that were booked before a moment and are not among these: they have left the log.
SELECT DISTINCT account_id FROM usage_ledger
WHERE (:account_id::uuid IS NULL OR account_id = :account_id::uuid)
  AND used_delta_bytes <> 0 AND kind <> 'adjustment' AND recorded_at < :began_at
  AND NOT (source_event_id = ANY (:event_ids::text[]));
