"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

Value = TypeVar("Value")

POLL_SECONDS = 0.05


@overload
async def eventually(
    predicate: Callable[[], Awaitable[Value | None]],
    *,
    timeout_seconds: float = ...,
    poll_seconds: float = ...,
) -> Value: ...


@overload
async def eventually(
    predicate: Callable[[], Value | None],
    *,
    timeout_seconds: float = ...,
    poll_seconds: float = ...,
) -> Value: ...


async def eventually(
    predicate: Callable[[], Value | Awaitable[Value | None] | None],
    *,
    timeout_seconds: float = 30,
    poll_seconds: float = POLL_SECONDS,
) -> Value:
    """Call the predicate, a function or a coroutine function, until it gives something true; return that.

    An AssertionError counts as "not yet", so the predicate may consist of assertions (and return True). When
    the time is over the last AssertionError is raised, or one that shows the last value.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            given = predicate()
            value = await given if inspect.isawaitable(given) else given
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        else:
            if value:
                return value
            _refuse_when_late(deadline, timeout_seconds, value)
        await asyncio.sleep(poll_seconds)


def eventually_sync(
    predicate: Callable[[], Value], *, timeout_seconds: float = 30, poll_seconds: float = POLL_SECONDS
) -> Value:
    """As `eventually`, for tests that are no coroutines."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            value = predicate()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        else:
            if value:
                return value
            _refuse_when_late(deadline, timeout_seconds, value)
        time.sleep(poll_seconds)


def _refuse_when_late(deadline: float, timeout_seconds: float, value: object) -> None:
    if time.monotonic() > deadline:
        raise AssertionError(f"after {timeout_seconds} s the condition still gives {value!r}")
