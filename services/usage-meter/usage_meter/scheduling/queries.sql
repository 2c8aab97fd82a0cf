-- name: try_lock(key)$
-- Takes an advisory lock until the transaction ends, unless another transaction has it.
SELECT pg_try_advisory_xact_lock(:key);
