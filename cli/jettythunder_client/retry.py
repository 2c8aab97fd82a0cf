"""When to try again, and how long to wait before."""

import random
from collections.abc import Iterator

from jettythunder_client.errors import ClientError

_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504, 507})


def worth_repeating(error: ClientError) -> bool:
    """Whether the very same call may succeed a moment later."""
    return error.retryable and error.status in _TRANSIENT


def backoff_seconds(failures: int, *, base: float = 0.25, cap: float = 15.0, spread: float) -> float:
    """A growing, spread-out pause after the given number of failures in a row (from 1 on).

    Half of it is fixed and half is random, ``spread`` being from 0 to 1: clients that failed together do not
    come back together (Brooker, "Exponential Backoff And Jitter", the "equal jitter" variant).
    """
    whole = min(cap, base * 2.0 ** min(failures - 1, 30))
    return whole / 2 + whole / 2 * spread


def pauses(*, base: float = 0.25, cap: float = 15.0) -> Iterator[float]:
    """Pauses before the second, third … attempt."""
    failures = 0
    while True:
        failures += 1
        yield backoff_seconds(failures, base=base, cap=cap, spread=random.random())  # noqa: S311
