-- Owner: usage-meter. Hours that are over are looked at in portions, each after the last of the one before.
DROP INDEX storage_usage_open_idx;
CREATE INDEX storage_usage_open_idx ON storage_usage (period_end, account_id) WHERE closed_at IS NULL;
