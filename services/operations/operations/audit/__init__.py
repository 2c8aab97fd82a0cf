"""Who did what to events and dead letters, when, and what came of it."""

from operations.audit.model import AuditEntry
from operations.audit.record import Audit

__all__ = ["Audit", "AuditEntry"]
