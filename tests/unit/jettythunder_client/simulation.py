"""Edges and a clock made of numbers, to run the scheduler against."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from jettythunder_client.scheduler import Attempt, Limits, Scheduler

STEP_SECONDS = 0.05
MB = 1_000_000


@dataclass
class Link:
    """An edge's link: bytes per second in all and for one connection."""

    rate: float
    per_connection: float = math.inf
    stalls_at: float = math.inf
    buffer_bytes: int = 0
    """What it still takes of each chunk, though nothing comes through any more, once it stalls."""
    dies_at: float = math.inf
    returns_at: float = math.inf
    slow_numbers: frozenset[int] = frozenset()
    late_numbers: frozenset[int] = frozenset()
    """Chunks whose first attempt is answered half a minute late."""
    refuses_until: float = 0.0
    spoils: frozenset[int] = frozenset()
    """Chunks that arrive here with other bytes, every time."""

    def dead(self, now: float) -> bool:
        return self.dies_at <= now < self.returns_at

    def demand(self, connections: int, now: float) -> float:
        """What so many connections would carry if nothing else were shared."""
        return min(connections * self.per_connection, self.capacity(now)) if connections else 0.0

    def capacity(self, now: float) -> float:
        return 0.0 if self.dead(now) or now >= self.stalls_at else self.rate


@dataclass
class Simulation:
    """Runs a scheduler until all is acknowledged, or the time is over."""

    links: dict[str, Link]
    chunks: dict[int, int]
    limits: Limits = field(default_factory=Limits)
    latency_seconds: float = 0.02
    uplink: float = math.inf
    """Bytes per second that all links share."""
    now: float = 0.0
    sent: Counter[int] = field(default_factory=Counter)
    acknowledged: Counter[int] = field(default_factory=Counter)
    by_edge: Counter[str] = field(default_factory=Counter)
    most_in_flight: int = 0
    hedges: int = 0

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(
            self.chunks,
            dict.fromkeys(self.links, self.latency_seconds),
            limits=self.limits,
            spread=lambda: 0.5,
        )
        self._sending: dict[int, tuple[Attempt, float]] = {}

    def run(self, *, until_seconds: float = 600.0) -> Simulation:
        while not self.scheduler.done:
            assert self.now < until_seconds, f"{len(self.acknowledged)} of {len(self.chunks)} chunks"
            self.step()
        return self

    def step(self) -> None:
        for attempt in self.scheduler.assign(self.now):
            self.sent[attempt.number] += 1
            self.hedges += attempt.hedge
            self._sending[attempt.id] = (attempt, 0.0)
        for attempt in self.scheduler.surplus():
            del self._sending[attempt.id]
        self.most_in_flight = max(self.most_in_flight, len(self._sending))
        self.now += STEP_SECONDS
        demand = sum(link.demand(self._count(name), self.now) for name, link in self.links.items())
        granted = min(1.0, self.uplink / demand) if demand else 1.0
        for name, link in self.links.items():
            self._move(name, link, granted)
        for attempt in self.scheduler.stalled(self.now):
            self._sending.pop(attempt.id)
            self.scheduler.failed(attempt, self.now)

    def _count(self, name: str) -> int:
        return sum(attempt.edge == name for attempt, _ in self._sending.values())

    def _move(self, name: str, link: Link, granted: float) -> None:
        mine = [(attempt, sent) for attempt, sent in self._sending.values() if attempt.edge == name]
        for attempt, sent in mine:
            if link.dead(self.now):
                self._fail(attempt)
            elif self.now < link.refuses_until:
                self._fail(attempt, retry_after_seconds=1.0)
            else:
                stalled = self.now >= link.stalls_at and sent + link.buffer_bytes >= attempt.size_bytes
                if stalled:
                    self.scheduler.progressed(attempt, attempt.size_bytes, link.stalls_at)
                rate = granted * link.demand(len(mine), self.now) / len(mine)
                rate = rate / 50 if attempt.number in link.slow_numbers else rate
                self._advance(attempt, sent + rate * STEP_SECONDS)

    def _fail(self, attempt: Attempt, *, retry_after_seconds: float | None = None) -> None:
        del self._sending[attempt.id]
        self.scheduler.failed(attempt, self.now, retry_after_seconds=retry_after_seconds)

    def _advance(self, attempt: Attempt, sent: float) -> None:
        if attempt.id not in self._sending:
            return
        self._sending[attempt.id] = (attempt, sent)
        if sent > 0:
            self.scheduler.progressed(attempt, min(int(sent), attempt.size_bytes), self.now)
        late = attempt.number in self.links[attempt.edge].late_numbers and not attempt.hedge
        answer_seconds = 30.0 if late else self.latency_seconds
        if sent >= attempt.size_bytes and self.now - attempt.started_at >= answer_seconds:
            if attempt.number in self.links[attempt.edge].spoils:
                self._fail(attempt)
                return
            del self._sending[attempt.id]
            self.acknowledged[attempt.number] += 1
            self.by_edge[attempt.edge] += attempt.size_bytes
            for loser in self.scheduler.succeeded(attempt, self.now):
                self._sending.pop(loser.id, None)

    def available_bytes(self) -> float:
        """What the links could have carried until now."""
        steps = int(self.now / STEP_SECONDS)
        return sum(
            min(self.uplink, sum(link.capacity(step * STEP_SECONDS) for link in self.links.values()))
            * STEP_SECONDS
            for step in range(steps)
        )


def chunks(count: int, size_bytes: int = 5 * 1024 * 1024) -> dict[int, int]:
    return dict.fromkeys(range(1, count + 1), size_bytes)
