"""Accounts as AgentCache makes them, and their quotas."""
