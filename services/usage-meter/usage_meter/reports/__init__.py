"""What operators and bills read: quotas, ledgers, usage over time, prices."""
