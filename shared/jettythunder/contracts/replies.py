"""Answers to commands: what was asked for, or why not."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Denied(BaseModel):
    """A command was refused or failed; ``code`` is from the error table."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    outcome: Literal["denied"] = "denied"
    code: str
    detail: str
    status: int
    retryable: bool
