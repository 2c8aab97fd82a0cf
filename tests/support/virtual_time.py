"""An event loop whose clock jumps: waiting takes no time, and lasts exactly as long as it says."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

Returned = TypeVar("Returned")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Moves its clock on to the next timer whenever there is nothing else to do."""

    def __init__(self) -> None:
        super().__init__(_Impatient(self))
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Returned], *args: Any
    ) -> asyncio.Future[Returned]:
        """Runs it at once: a thread would take real time, which passes unseen here."""
        done: asyncio.Future[Returned] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done


class _Impatient(selectors.SelectSelector):
    """A selector that never waits; it lets the loop's clock pass instead."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "Nothing is left that could ever happen."
            self._loop.now += timeout
        return ready


def run_virtually(coroutine: Coroutine[Any, Any, Returned]) -> Returned:
    """Run a coroutine on a virtual clock that begins at 0."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coroutine)


def now() -> float:
    """The running loop's time in seconds."""
    return asyncio.get_running_loop().time()
