"""Runs what the scheduler decides: one task for each attempt, until every chunk is acknowledged."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from jettythunder_client.budget import Budget
from jettythunder_client.errors import ClientError, ClockSkewed, TransferStalled, Unreachable
from jettythunder_client.events import EdgeProgress, Moved, Observer
from jettythunder_client.problems import NETWORK_ERRORS, network_problem
from jettythunder_client.retry import worth_repeating
from jettythunder_client.scheduler import Attempt, Limits, Scheduler

_TICK_SECONDS = 0.1
_NEW_EDGES_SECONDS = 20.0

# By code: what ends the transfer, and what is worth another attempt though its status does not say so.
_FATAL = frozenset({"file_changed", "file_unreadable", "upload_not_open", "download_corrupt"})
_TOKEN_ENDED = frozenset({"link_expired", "link_revoked", ClockSkewed.code})
_REPEATED = frozenset({"checksum_mismatch", "link_expired", "link_revoked"})

Transfer = Callable[[Attempt, Callable[[int], None]], Awaitable[None]]
FindEdges = Callable[[], Awaitable[Mapping[str, float | None]]]


@dataclass(frozen=True)
class TransferStats:
    """What was done; ``single_stream`` is one connection's goodput in bytes per second, where measured."""

    transferred_bytes: int
    seconds: float
    single_stream: float | None
    connection_speed: float | None
    edges_used: tuple[str, ...]
    retries: int
    hedges: int


class Engine:
    """Transfers chunks with ``transfer``, which gets an attempt and a function to report its bytes to.

    It takes its connections from ``budget``, which other transfers share.

    ``find_edges`` is called every 20 seconds for the latencies of edges that have come up since. The transfer
    fails after ``stall_seconds`` without an acknowledged chunk.
    """

    def __init__(
        self,
        transfer: Transfer,
        *,
        chunks: Mapping[int, int],
        latencies: Mapping[str, float | None],
        regions: Mapping[str, str],
        limits: Limits,
        budget: Budget,
        total_bytes: int,
        stall_seconds: float,
        observe: Observer,
        find_edges: FindEdges | None = None,
    ) -> None:
        self._changed = asyncio.Event()
        self._share = budget.join(self._changed.set)
        # An edge that answered no ping comes last, and is tried a little later.
        known = {name: 1.0 if latency is None else latency for name, latency in latencies.items()}
        self.scheduler = Scheduler(
            chunks,
            known,
            limits=limits,
            spread=random.random,
            others_at=self._share.others_at,
        )
        for name, latency in latencies.items():
            if latency is None:
                self.scheduler.back_off(name, until=time.monotonic() + 2.0)
        self._find_new_edges = find_edges
        self._transfer = transfer
        self._regions = regions
        self._total_bytes = total_bytes
        self._before_bytes = total_bytes - sum(chunks.values())
        self._stall_seconds = stall_seconds
        self._observe = observe
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._refusals: Counter[int] = Counter()
        self._retries = 0
        self._hedges = 0
        self._fatal: ClientError | None = None
        self._last_error: ClientError | None = None

    async def run(self, *, compare: bool = False) -> TransferStats:
        """Transfer everything; with ``compare`` the first chunk goes alone, to measure a single stream.

        Raises:
            TransferStalled: no chunk was acknowledged for ``stall_seconds``.
            ClientError: a refusal that trying again does not change.
        """
        began = self._served_at = time.monotonic()
        looking = asyncio.create_task(self._find_edges())
        try:
            single = await self._transfer_one_alone(began) if compare else None
            while not self.scheduler.done:
                self._start_more()
                self._stop(self.scheduler.surplus())
                await self._wait()
        finally:
            tasks = [looking, *self._tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._share.leave()
        self._report()
        edges = self.scheduler.edges.values()
        rates = [edge.chunk_rate for edge in edges if edge.chunk_rate > 0]
        return TransferStats(
            transferred_bytes=self.scheduler.acknowledged_bytes,
            seconds=time.monotonic() - began,
            single_stream=single,
            connection_speed=sum(rates) / len(rates) if rates else None,
            edges_used=tuple(edge.id for edge in edges if edge.acknowledged_bytes),
            retries=self._retries,
            hedges=self._hedges,
        )

    async def _find_edges(self) -> None:
        """Take in edges that have come up since the beginning."""
        while self._find_new_edges is not None:
            await asyncio.sleep(_NEW_EDGES_SECONDS)
            # The transfer goes on with the edges it has.
            with suppress(ClientError):
                for name, latency in (await self._find_new_edges()).items():
                    if latency is not None and name not in self.scheduler.edges:
                        self.scheduler.add_edge(name, latency)

    async def _transfer_one_alone(self, began: float) -> float | None:
        """Goodput of one connection over one chunk, in bytes per second; None where it failed."""
        while not self._start_more(at_most=1):
            await self._wait()
        while self._tasks:
            await self._wait()
        moved = self.scheduler.acknowledged_bytes
        return moved / (time.monotonic() - began) if moved else None

    def _start_more(self, *, at_most: int | None = None) -> int:
        """Start what the scheduler decides within the budget of all transfers; how many that were."""
        wanted = self.scheduler.wanted if at_most is None else at_most
        room = self._share.room(wanted)
        now = time.monotonic()
        if not room and wanted and not self._tasks:
            # Others have all connections: that is no stall of this transfer.
            self._served_at = now
        started = self.scheduler.assign(now, at_most=room)
        for attempt in started:
            self._hedges += attempt.hedge
            self._share.take(attempt.edge)
            task = self._tasks[attempt.id] = asyncio.create_task(self._attempt(attempt))
            task.add_done_callback(partial(self._ended, attempt))
        if len(started) < room:
            self._share.settle()
        return len(started)

    async def _wait(self) -> None:
        """Wait for a change, give up stalled connections, and report how far it is."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_TICK_SECONDS):
                await self._changed.wait()
        self._changed.clear()
        now = time.monotonic()
        for attempt in self.scheduler.stalled(now):
            self._lose(attempt, Unreachable(f"{attempt.edge} moved no bytes for too long."))
            self._stop([attempt])
        self._report()
        if self._fatal is not None:
            raise self._fatal
        if now - max(self.scheduler.last_success_at or 0.0, self._served_at) > self._stall_seconds:
            cause = f" The last error was: {self._last_error.detail}" if self._last_error else ""
            raise TransferStalled((TransferStalled.__doc__ or "") + cause)

    def _stop(self, attempts: Iterable[Attempt]) -> None:
        for attempt in attempts:
            if (task := self._tasks.get(attempt.id)) is not None:
                task.cancel()

    async def _attempt(self, attempt: Attempt) -> None:
        """One attempt from beginning to end, its outcome reported to the scheduler."""

        def moved(moved_bytes: int) -> None:
            self.scheduler.progressed(attempt, moved_bytes, time.monotonic())

        try:
            await self._transfer(attempt, moved)
        except ClientError as error:
            self._lose(attempt, error)
        except NETWORK_ERRORS as error:
            self._lose(attempt, network_problem(f"{attempt.edge} can't be reached", error))
        else:
            self._stop(self.scheduler.succeeded(attempt, time.monotonic()))

    def _ended(self, attempt: Attempt, _: asyncio.Task[None]) -> None:
        # Not in the task itself: one that is cancelled at once never begins.
        self._tasks.pop(attempt.id, None)
        self._share.release(attempt.edge)
        self._changed.set()

    def _lose(self, attempt: Attempt, error: ClientError) -> None:
        self._retries += 1
        self._last_error = error
        if error.code in _FATAL:
            self._fatal = error
        elif not worth_repeating(error) and error.code not in _REPEATED:
            self._refusals[attempt.number] += 1
            # An edge that is not ours may refuse what the others take; all of them do not err.
            if self._refusals[attempt.number] > max(3, len(self.scheduler.edges)):
                self._fatal = error
        self.scheduler.failed(
            attempt,
            time.monotonic(),
            retry_after_seconds=error.retry_after_seconds,
            edge_at_fault=error.code not in _TOKEN_ENDED,
        )

    def _report(self) -> None:
        now = time.monotonic()
        underway = sum(attempt.sent_bytes for attempt in self.scheduler.in_flight if not attempt.hedge)
        edges = tuple(
            EdgeProgress(
                edge.id,
                self._regions.get(edge.id, ""),
                edge.goodput if edge.in_flight else 0.0,
                edge.in_flight,
                edge.acknowledged_bytes,
                not edge.healthy(now),
            )
            for edge in self.scheduler.edges.values()
        )
        done = self._before_bytes + self.scheduler.acknowledged_bytes + underway
        self._observe(Moved(done, self._total_bytes, edges))
