"""What operators' commands share: settings, who the operator is, times and rates as people give them."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import re
import socket
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import typer

from jettythunder.errors import JettyThunderError
from jettythunder.settings import AnySettings, load
from jettythunder_client.errors import ApiError, InvalidConfiguration

Given = TypeVar("Given")

_AGO = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def operator() -> str:
    """The operator's name for the audit: JETTYTHUNDER_OPERATOR, or the system's user and host."""
    return os.environ.get("JETTYTHUNDER_OPERATOR") or f"{getpass.getuser()}@{socket.gethostname()}"


def moment(given: str | None) -> datetime | None:
    """A time as ISO 8601 (UTC without an offset), or as an age such as `90s`, `15m`, `2h`, `3d`."""
    if given is None:
        return None
    if ago := _AGO.fullmatch(given):
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        at = datetime.fromisoformat(given)
    except ValueError:
        raise typer.BadParameter(
            f"{given!r} is no time: give one such as 2030-01-31T12:00:00Z, or an age such as 15m, 2h or 3d."
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def pace(given: str | None) -> float | None:
    """A rate such as `500/s`, `500` or `30/m`, in items a second."""
    if given is None:
        return None
    number, _, unit = given.partition("/")
    try:
        rate = float(number) / {"": 1, "s": 1, "m": 60}[unit]
    except (KeyError, ValueError):
        rate = 0
    if rate <= 0:
        raise typer.BadParameter(f"{given!r} is no rate: give one such as 500/s or 30/m.")
    return rate


def read_settings(settings: type[AnySettings]) -> AnySettings:
    """Settings from the environment.

    Raises:
        InvalidConfiguration: one of them is not set, or wrong.
    """
    try:
        return load(settings)
    except SystemExit as error:
        raise InvalidConfiguration(str(error)) from None


def run(work: Callable[[], Coroutine[Any, Any, Given]]) -> Given:
    """Run a command's coroutine.

    Raises:
        ApiError: an error of the server's table, as if it had come over HTTP.
    """
    with as_api_errors():
        return asyncio.run(work())


@contextlib.contextmanager
def as_api_errors() -> Iterator[None]:
    """Raise errors of the server's table as if they had come over HTTP."""
    try:
        yield
    except JettyThunderError as error:
        raise ApiError(
            error.detail,
            code=error.code,
            status=error.status,
            retryable=error.retryable,
            retry_after_seconds=error.retry_after_seconds,
        ) from error
