"""Hourly rows of usage, computed from the ledger."""
