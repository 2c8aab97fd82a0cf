"""Rebuilding: usage computed anew from the event log, beside the ledger."""
