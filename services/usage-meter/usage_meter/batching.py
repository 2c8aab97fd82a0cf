"""Gathers what concurrent callers bring into batches, so that one transaction serves many of them.

Guarantees given here: a caller's await returns only after the batch with its item was applied; an item that
fails does so alone, because the items of a failed batch are applied one by one.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from prometheus_client import Histogram

from jettythunder import telemetry
from jettythunder.database import CONNECTION_ERRORS
from jettythunder.errors import DatabaseUnavailable, JettyThunderError, ShuttingDown

log = telemetry.logger(__name__)

Item = TypeVar("Item")

_batch_size = Histogram(
    "jettythunder_meter_batch_size",
    "Events applied in one transaction",
    buckets=(1, 5, 20, 50, 100, 200, 500),
)


class Batcher(Generic[Item]):
    """Applies items in batches, one batch at a time, in the order in which they came.

    Args:
        apply: applies all the items or, raising, none.
        max_size: how many items a batch has at most.
        linger_seconds: how long the first item of a batch waits for others.
    """

    def __init__(
        self,
        apply: Callable[[Sequence[Item]], Awaitable[None]],
        *,
        max_size: int,
        linger_seconds: float,
    ) -> None:
        self._apply = apply
        self._max_size = max_size
        self._linger_seconds = linger_seconds
        self._waiting: list[tuple[Item, asyncio.Future[None]]] = []
        self._arrived = asyncio.Event()
        self._full = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Run in the background."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop. Whoever still waits is told to come again; call it when nobody should."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        _fail(self._waiting, ShuttingDown)
        self._waiting.clear()

    async def submit(self, item: Item) -> None:
        """Apply an item with others, and return when that is committed."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        self._arrived.set()
        if len(self._waiting) >= self._max_size:
            self._full.set()
        await done

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._linger_seconds):
                    await self._full.wait()
            batch, self._waiting = self._waiting[: self._max_size], self._waiting[self._max_size :]
            if not self._waiting:
                self._arrived.clear()
            if len(self._waiting) < self._max_size:
                self._full.clear()
            _batch_size.observe(len(batch))
            await self._apply_batch(batch)

    async def _apply_batch(self, batch: list[tuple[Item, asyncio.Future[None]]]) -> None:
        try:
            await self._apply([item for item, _ in batch])
        except asyncio.CancelledError:
            _fail(batch, ShuttingDown)
            raise
        except CONNECTION_ERRORS as error:
            log.warning("batch waits: the database can't be reached", error_type=type(error).__name__)
            _fail(batch, DatabaseUnavailable)
        except Exception as error:
            if len(batch) > 1:
                for single in batch:
                    await self._apply_batch([single])
            elif not batch[0][1].done():
                batch[0][1].set_exception(error)
        else:
            for _, done in batch:
                if not done.done():
                    done.set_result(None)


def _fail(batch: list[tuple[Item, asyncio.Future[None]]], failure: type[JettyThunderError]) -> None:
    for _, done in batch:
        if not done.done():
            done.set_exception(failure())
