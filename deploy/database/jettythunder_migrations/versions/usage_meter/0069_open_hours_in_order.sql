-- Owner: usage-meter. Hours that are over are looked at in portions, each after the last of the one before.
-- The new index is built beside the old one, so that readers go on; only writers of hourly rows wait for it.
CREATE INDEX storage_usage_open_order_idx ON storage_usage (period_end, account_id) WHERE closed_at IS NULL;
DROP INDEX storage_usage_open_idx;
ALTER INDEX storage_usage_open_order_idx RENAME TO storage_usage_open_idx;
