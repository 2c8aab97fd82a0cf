"""Work on a schedule, by one runner at a time however many instances there are."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from zlib import crc32

from prometheus_client import Counter

from jettythunder import telemetry
from jettythunder.database import CONNECTION_ERRORS, Pool, queries

log = telemetry.logger(__name__)

_queries = queries("usage_meter")

# After a run of a minute a job rests for four.
_REST = 4
_runs = Counter("jettythunder_meter_job_runs_total", "Runs of scheduled work", ["job", "outcome"])


@dataclass(frozen=True)
class Job:
    """Something done again and again.

    Args:
        name: names the advisory lock too.
        interval_seconds: from the end of one run to the start of the next; longer after a long run, so that
            scheduled work leaves most of the database's time to the events.
        at_start: whether the first run is at once instead of after the first interval.
    """

    name: str
    interval_seconds: float
    run: Callable[[], Awaitable[object]]
    at_start: bool = True


@contextlib.asynccontextmanager
async def only_runner(pool: Pool, name: str) -> AsyncIterator[bool]:
    """Whether no other instance does ``name`` now; while true, no other will (advisory lock)."""
    key = crc32(f"usage-meter/{name}".encode())
    async with pool.acquire() as connection:
        if not await _queries.try_lock(connection, key=key):
            yield False
            return
        try:
            yield True
        finally:
            await _queries.unlock(connection, key=key)


class Schedule:
    """Runs jobs in the background until it is closed."""

    def __init__(self, pool: Pool, jobs: list[Job]) -> None:
        self._pool = pool
        self._jobs = jobs
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Run the jobs, each at its interval."""
        self._tasks = [asyncio.create_task(self._run_forever(job)) for job in self._jobs]

    async def close(self) -> None:
        """Stop; a run that is cut off leaves its transaction undone and is repeated by the next."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run_forever(self, job: Job) -> None:
        if not job.at_start:
            await asyncio.sleep(job.interval_seconds)
        while True:
            began = time.monotonic()
            try:
                async with only_runner(self._pool, job.name) as is_mine:
                    if is_mine:
                        await job.run()
                        _runs.labels(job.name, "done").inc()
            except CONNECTION_ERRORS as error:
                _runs.labels(job.name, "failed").inc()
                log.warning(
                    "job waits: the database can't be reached", job=job.name, error_type=type(error).__name__
                )
            except Exception as error:
                _runs.labels(job.name, "failed").inc()
                log.error("job failed", job=job.name, exc_info=error)
            took = time.monotonic() - began
            await asyncio.sleep(max(job.interval_seconds, _REST * took))
