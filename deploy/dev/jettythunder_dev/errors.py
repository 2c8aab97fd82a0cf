"""What can go wrong with the developer stack, told as a sentence that says what to do."""

from __future__ import annotations


class StackError(Exception):
    """The stack cannot do what was asked; the message says why and what to do about it."""
