"""Reconciliation: bucket, assets, ledger, counters and hours must agree on the bytes."""
