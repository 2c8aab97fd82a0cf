"""How a service lives: what it opens, in which order, and work that it repeats.

A service registers each thing it opens once, in an :class:`svcs.Registry`, with its ping and its close. The
registry closes in the reverse order, so whoever uses a thing is closed before it. Readiness asks all pings.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import stamina
import svcs
from prometheus_client import Counter, Gauge

from jettythunder import telemetry, tracing
from jettythunder.database import Database
from jettythunder.errors import JettyThunderError
from jettythunder.settings import ProcessSettings

log = telemetry.logger(__name__)

Opened = TypeVar("Opened")

_START_ATTEMPTS = 30
_FIRST_BACKOFF_SECONDS = 0.5

_runs = Counter("jettythunder_periodic_runs_total", "Runs of periodic work", ["work", "outcome"])
_succeeded_at = Gauge(
    "jettythunder_periodic_success_timestamp_seconds",
    "When periodic work was last done, or begun where it never was",
    ["work"],
)
_expected_every = Gauge(
    "jettythunder_periodic_interval_seconds", "The usual pause between runs of periodic work", ["work"]
)


def open_tracing(registry: svcs.Registry, settings: ProcessSettings, *, service: str) -> None:
    """Trace what the service does, where OTEL_EXPORTER_OTLP_ENDPOINT is set. Open it before all else: what is
    opened later can be traced until it is closed.

    Raises:
        SystemExit: with a sentence, where the packages for it are not installed.
    """
    if settings.otel_exporter_otlp_endpoint is not None:
        tracer = tracing.begin(service, settings)
        registry.register_value(type(tracer), tracer, on_registry_close=tracing.end)


async def open_database(registry: svcs.Registry, settings: ProcessSettings, *, service: str) -> Database:
    """Open the service's database, as the service's own role, and register it.

    Raises:
        SystemExit: with a sentence, if the database can't be reached for half a minute.
    """
    database = Database(
        str(settings.database_url),
        name=service,
        role=role_of(service),
        size=settings.database_pool_size,
    )
    await wait_for("the database (DATABASE_URL)", database.open)
    registry.register_value(Database, database, ping=Database.ping, on_registry_close=database.close)
    return database


def role_of(service: str) -> str:
    """The PostgreSQL role that a service's statements run as."""
    return f"jettythunder_{service.replace('-', '_')}"


async def wait_for(what: str, attempt: Callable[[], Awaitable[Opened]]) -> Opened:
    """Wait for a server that is not there yet: servers and services start in any order.

    Raises:
        SystemExit: with a sentence that says what to do, if it is not there within half a minute.
    """

    def is_worth_waiting(error: Exception) -> bool:
        waits = isinstance(error, JettyThunderError) and error.retryable
        if waits:
            log.warning("waiting for a server", what=what, error_type=type(error).__name__)
        return waits

    try:
        async for attempted in stamina.retry_context(
            on=is_worth_waiting,
            attempts=_START_ATTEMPTS,
            timeout=None,
            wait_initial=1,
            wait_max=1,
            wait_jitter=0,
        ):
            with attempted:
                return await attempt()
    except JettyThunderError as error:
        if not error.retryable:
            raise
        raise SystemExit(
            f"Can't reach {what}: {error.detail} Check the address and that the server runs, then "
            "start again."
        ) from error
    raise AssertionError("retry_context returns or raises")


class Periodic:
    """Runs ``work`` again and again in the background, until it is closed.

    A failed run is logged and counted, and the next one comes after a growing pause; nothing but
    :meth:`close` ends it.

    Args:
        name: for logs and metrics.
        work: returns the seconds until the next run, or None for the usual interval.
        interval_seconds: from the end of one run to the start of the next.
        at_start: whether the first run is at once instead of after the first interval.
        rest_factor: a run that took long is followed by at least this many times as long a pause, so that
            background work leaves most of a server's time to others.
        max_backoff_seconds: the longest pause after failures.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Awaitable[float | None]],
        *,
        interval_seconds: float,
        at_start: bool = True,
        rest_factor: float = 0,
        max_backoff_seconds: float = 30,
    ) -> None:
        self._name = name
        self._work = work
        self._interval_seconds = interval_seconds
        self._at_start = at_start
        self._rest_factor = rest_factor
        self._max_backoff_seconds = max_backoff_seconds
        self._due = asyncio.Event()
        self._is_closing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        for outcome in ("done", "failed"):
            _runs.labels(self._name, outcome)
        _succeeded_at.labels(self._name).set_to_current_time()
        _expected_every.labels(self._name).set(self._interval_seconds)
        self._task = asyncio.create_task(self._run_forever(), name=self._name)

    def run_soon(self) -> None:
        """Run now, or once more right after the run that is under way."""
        self._due.set()

    async def close(self) -> None:
        """Stop at once; a run under way is cancelled."""
        self._is_closing = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run_forever(self) -> None:
        clock = asyncio.get_running_loop().time
        if not self._at_start:
            await self._pause(self._interval_seconds)
        failures = 0
        # A run that fails while it is cancelled may raise its failure instead.
        while not self._is_closing:
            self._due.clear()
            began = clock()
            try:
                wanted = await self._work()
            except Exception as error:
                failures += 1
                self._note_failure(error)
                if self._is_closing:
                    return
                # Not to be cut short: what has just failed would fail again.
                await asyncio.sleep(self._backoff_seconds(failures))
                continue
            failures = 0
            _runs.labels(self._name, "done").inc()
            _succeeded_at.labels(self._name).set_to_current_time()
            pause = self._interval_seconds if wanted is None else wanted
            await self._pause(max(pause, self._rest_factor * (clock() - began)))

    def _backoff_seconds(self, failures: int) -> float:
        grown: float = _FIRST_BACKOFF_SECONDS * 2 ** min(failures - 1, 16)
        return min(grown, self._max_backoff_seconds)

    def _note_failure(self, error: Exception) -> None:
        _runs.labels(self._name, "failed").inc()
        if isinstance(error, JettyThunderError) and error.retryable:
            log.warning("periodic work put off", work=self._name, code=error.code, reason=error.detail)
        else:
            log.error("periodic work failed", work=self._name, exc_info=error)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._due.wait()
