"""The error of the developer stack, a sentence that says what happened and what to do."""

from __future__ import annotations

from jettythunder_client.errors import ClientError


class StackError(ClientError):
    """The stack cannot do what was asked; the message says why and what to do about it."""

    code, status, retryable = "stack_error", 500, False
