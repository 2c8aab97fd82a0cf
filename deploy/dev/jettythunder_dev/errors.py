"""The error of the developer stack, a sentence that says what happened and what to do."""

from __future__ import annotations


class StackError(Exception):
    """The stack cannot do what was asked; the message says why and what to do about it."""
