"""Errors that only the usage-meter raises."""

from jettythunder.errors import JettyThunderError


class ReconciliationRunning(JettyThunderError):
    """A reconciliation runs already. Wait for its end."""

    code, status, retryable = "reconciliation_running", 409, True


class WebhookRefused(JettyThunderError):
    """The receiver of a webhook refused it, and would refuse it again."""

    code, status, retryable = "webhook_refused", 502, False


class WebhookUndelivered(JettyThunderError):
    """The receiver of a webhook can't be reached, or failed. It is sent again later."""

    code, status, retryable = "webhook_undelivered", 502, True
