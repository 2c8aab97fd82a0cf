-- name: keep_usage()!
-- Makes the partitions of the months to come of the ledger and the hourly rows.
SELECT keep_usage_v1();

-- name: try_lock(key)$
-- Takes an advisory lock until the transaction ends, unless another transaction has it.
SELECT pg_try_advisory_xact_lock(:key);
