"""Webhooks: AgentCache receives what is announced about quotas."""
