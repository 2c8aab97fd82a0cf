"""How a service ends: it begins nothing more, finishes what it has begun, and then closes what it uses.

Between the signal to end and the end of its listener a service *drains*: it says that it is not ready, and
still answers. Whoever begins work on its own adds a step to the service's :class:`Drain`.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator

from jettythunder import telemetry
from jettythunder.errors import ShuttingDown

log = telemetry.logger(__name__)

_RETRY_AFTER_SECONDS = 1


class Drain:
    """What a service does before its listener and its servers are closed; made by the application."""

    def __init__(self) -> None:
        self.has_begun = False
        self._steps: list[Callable[[], Awaitable[None]]] = []

    def add(self, step: Callable[[], Awaitable[None]]) -> None:
        """Have this run when the service ends, side by side with the other steps.

        A step begins nothing more, and returns when what was begun is finished. Where the time is over
        before, it is cancelled, and may still bring what is left to a clean end.
        """
        self._steps.append(step)

    async def run(self, *, seconds: float) -> None:
        """Run all steps, for so long at most."""
        self.has_begun = True
        log.info("draining: nothing more is begun", seconds=seconds)
        try:
            async with asyncio.timeout(seconds):
                results = await asyncio.gather(*(step() for step in self._steps), return_exceptions=True)
        except TimeoutError:
            log.warning("not all work was finished before the service ends", seconds=seconds)
            return
        for error in results:
            if isinstance(error, BaseException):
                log.error("a step of draining failed", exc_info=error)


class UnderWay:
    """Work of one kind that a service has begun for callers, and finishes before it ends."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._is_draining = False
        self._is_over = False

    @contextlib.contextmanager
    def begun(self) -> Iterator[None]:
        """While inside, the work of this task is under way.

        Raises:
            ShuttingDown: the service drains already, or ends before the work is finished.
        """
        if self._is_draining:
            raise ShuttingDown(retry_after_seconds=_RETRY_AFTER_SECONDS)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - called within one
        self._tasks.add(task)
        self._is_idle.clear()
        try:
            yield
        except asyncio.CancelledError:
            if not self._is_over or task.uncancel():
                raise
            raise ShuttingDown(retry_after_seconds=_RETRY_AFTER_SECONDS) from None
        finally:
            self._tasks.discard(task)
            if not self._tasks:
                self._is_idle.set()

    async def drain(self) -> None:
        """Begin nothing more, and wait for what is under way; where this is cancelled, cancel that too."""
        self._is_draining = True
        try:
            await self._is_idle.wait()
        finally:
            self._is_over = True
            for task in self._tasks:
                task.cancel()
            await self._is_idle.wait()
