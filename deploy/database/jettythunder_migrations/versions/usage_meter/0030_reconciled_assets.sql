-- Owner: usage-meter. Reconciliation's adjustments, by the asset whose lost event each stands for: where the event
-- comes after all, its adjustment is taken back.
CREATE INDEX usage_ledger_reconciled_idx ON usage_ledger (asset_id) WHERE kind = 'adjustment' AND asset_id IS NOT NULL;
