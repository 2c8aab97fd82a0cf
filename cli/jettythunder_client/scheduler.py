"""Which chunk goes to which edge, and when: decisions only, without I/O, clock or randomness of its own.

The transfer reports to the scheduler what happened (`progressed`, `succeeded`, `failed`) and asks what to do
(`assign`, `stalled`), each time with the time, in seconds of a monotonic clock.

Five rules make up the whole:

- *Work by goodput.* Each edge has a window of parallel connections and takes the next chunk as soon as one is
  free, so edges get work in proportion to what they carry. Towards the end an edge gets a chunk only where it
  would not be the last to finish.
- *The last ones together.* When few chunks are left, all of them begin, so that they end together: no line
  lies idle because the last connections can't fill it.
- *Windows grow while that pays.* A window grows by half; where the edge's goodput did not follow, it goes
  back and stays for a while.
- *A bad edge is left out.* An edge that fails, or takes no bytes any more, gives its chunks back, gets none
  for a growing backoff and is then tried with a single chunk.
- *A straggler is sent twice.* A chunk slower than the observed distribution allows goes to a further edge
  as well, within a budget; the first answer wins.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from jettythunder_client.retry import backoff_seconds

_SMOOTHING_SECONDS = 3.0
_TICK_SECONDS = 0.25


@dataclass(frozen=True)
class Limits:
    """What bounds a transfer; see each field."""

    max_parallel: int = 32
    """Chunks in flight at once, over all edges."""
    per_edge: int = 64
    """Chunks in flight at one edge, those of other transfers with them: EDGE_CHUNKS_PER_ACCOUNT."""
    first_parallel: int = 9
    """Chunks in flight at the beginning, over all edges, which get one each at least."""
    hedge_share: float = 0.1
    """Bytes that may be sent a second time to overtake stragglers, as a share of the file."""
    stall_seconds: float = 5.0
    """Longest time in which a connection takes no byte before it is given up."""
    answer_seconds: float = 60.0
    """Longest wait for the acknowledgement once all bytes of a chunk are sent."""
    hold_seconds: float = 15.0
    """How long a window stays after growing did not pay."""
    worthwhile_gain: float = 1.15
    """Growth of an edge's goodput that justifies a larger window."""
    last_share: float = 2 / 3
    """Chunks left for each in flight, when all that are left begin at once."""
    backoff_cap_seconds: float = 30.0
    """Longest backoff of a failing edge."""


@dataclass
class Attempt:
    """A chunk that is being sent over an edge."""

    id: int
    number: int
    size_bytes: int
    edge: str
    started_at: float
    hedge: bool = False
    sent_bytes: int = 0
    moved_at: float = 0.0

    @property
    def sent(self) -> bool:
        return self.sent_bytes >= self.size_bytes


@dataclass
class Chunk:
    """A chunk that is not acknowledged yet."""

    number: int
    size_bytes: int
    attempts: list[Attempt] = field(default_factory=list)
    hedged: bool = False
    failed_on: str | None = None


class Window:
    """How many parallel connections an edge gets: half as many more for as long as its goodput follows.

    Goodput is measured over an epoch that begins once new connections had time to get up to speed.
    """

    def __init__(self, size: int, *, limits: Limits, latency_seconds: float) -> None:
        self.size = size
        self.shrank = False
        """Whether a larger window was given up and its further connections are still there."""
        self._limits = limits
        self._settle_seconds = 0.25 + 2 * latency_seconds
        self._measure_seconds = 0.75 + 2 * latency_seconds
        self._kept = size
        self._kept_rate = 0.0
        self._hold_until = -math.inf
        self._epoch: tuple[float, int] | None = None
        self._settled_at: float | None = None

    def observe(self, now: float, *, moved_bytes: int, full: bool, spare: int) -> None:
        """Note the bytes moved so far; where an epoch ends, grow by ``spare`` at most."""
        if not full or now < self._hold_until:
            self._settled_at = self._epoch = None
            return
        if self._settled_at is None:
            self._settled_at = now + self._settle_seconds
        if now < self._settled_at:
            return
        if self._epoch is None:
            self._epoch = (now, moved_bytes)
            return
        began_at, began_bytes = self._epoch
        if now - began_at < self._measure_seconds:
            return
        self._judge(now, (moved_bytes - began_bytes) / (now - began_at), spare)
        self._settled_at = self._epoch = None

    def _judge(self, now: float, rate: float, spare: int) -> None:
        paid = self.size == self._kept or rate >= self._kept_rate * self._limits.worthwhile_gain
        if not paid:
            self.size = self._kept
            self.shrank = True
            self._hold_until = now + self._limits.hold_seconds
            return
        held_before = self._hold_until > -math.inf
        self._kept, self._kept_rate = self.size, rate
        self.size += min(spare, math.ceil(self.size / (4 if held_before else 2)))

    def shrink(self) -> None:
        """Halve the window: the edge failed or said that it is busy. It may grow again at once."""
        self.size = self._kept = max(1, self.size // 2)
        self._kept_rate = 0.0
        self._hold_until = -math.inf
        self._settled_at = self._epoch = None


@dataclass
class Edge:
    """What is known of an edge."""

    id: str
    window: Window
    latency_seconds: float
    in_flight: int = 0
    moved_bytes: int = 0
    moved_at: float = -math.inf
    """When it last took a byte or acknowledged a chunk."""
    acknowledged_bytes: int = 0
    goodput: float = 0.0
    chunk_rate: float = 0.0
    """Bytes per second of one connection, acknowledgement included, smoothed over chunks."""
    failures: int = 0
    failed_at: float = -math.inf
    backs_off_until: float = -math.inf
    _ticked_bytes: int = 0

    def healthy(self, now: float) -> bool:
        return self.backs_off_until <= now

    @property
    def room(self) -> int:
        """Free connections; an edge that failed last is tried with one."""
        return (1 if self.failures else self.window.size) - self.in_flight

    def expected_seconds(self, size_bytes: int) -> float:
        """How long a chunk will take; an edge that carried nothing yet is believed to be fast."""
        rate = self.chunk_rate or self.goodput / max(1, self.in_flight)
        return size_bytes / rate if rate > 0 else self.latency_seconds

    def tick(self, seconds: float) -> None:
        moved = self.moved_bytes - self._ticked_bytes
        self._ticked_bytes = self.moved_bytes
        if moved == 0 and self.in_flight == 0:
            return
        weight = 1 - math.exp(-seconds / _SMOOTHING_SECONDS)
        rate = moved / seconds
        self.goodput = rate if self.goodput == 0 else self.goodput + weight * (rate - self.goodput)


class Scheduler:
    """Decides what each edge sends next, until every chunk is acknowledged.

    ``chunks`` gives the size in bytes by number, ``edges`` the latency in seconds by id. ``spread`` gives
    numbers from 0 to 1 for the jitter of backoffs, ``others_at`` how many chunks other transfers have in
    flight at an edge.
    """

    def __init__(
        self,
        chunks: Mapping[int, int],
        edges: Mapping[str, float],
        *,
        limits: Limits,
        spread: Callable[[], float],
        others_at: Callable[[str], int] = lambda _: 0,
    ) -> None:
        edge_count = max(1, len(edges))
        first = max(1, min(limits.first_parallel, limits.max_parallel) // edge_count)
        self.limits = limits
        self._first_window = first
        self.edges: dict[str, Edge] = {}
        for name, latency in edges.items():
            self.add_edge(name, latency)
        self.acknowledged_bytes = 0
        self.hedged_bytes = 0
        self.last_success_at: float | None = None
        self._spread = spread
        self._others_at = others_at
        self._waiting = deque(Chunk(number, size) for number, size in sorted(chunks.items()))
        self._open = {chunk.number: chunk for chunk in self._waiting}
        self._total_bytes = sum(chunks.values())
        self._largest_bytes = max(chunks.values(), default=0)
        self._attempts: dict[int, Attempt] = {}
        self._next_id = 1
        self._ticked_at: float | None = None
        self._pace: deque[float] = deque(maxlen=200)

    @property
    def done(self) -> bool:
        return not self._open

    @property
    def wanted(self) -> int:
        """How many attempts it could start at most: each open chunk once, or once more."""
        return len(self._open)

    @property
    def in_flight(self) -> list[Attempt]:
        return list(self._attempts.values())

    def upcoming(self, count: int) -> list[int]:
        """Numbers of the chunks that come next."""
        return [chunk.number for _, chunk in zip(range(count), self._waiting, strict=False)]

    def add_edge(self, name: str, latency_seconds: float) -> None:
        """Take an edge into account from now on."""
        window = Window(self._first_window, limits=self.limits, latency_seconds=latency_seconds)
        self.edges[name] = Edge(name, window, latency_seconds)

    def back_off(self, edge: str, *, until: float) -> None:
        """Leave an edge out for a while, for example because it did not answer a ping."""
        self.edges[edge].failures += 1
        self.edges[edge].backs_off_until = until

    def assign(self, now: float, *, at_most: int | None = None) -> list[Attempt]:
        """Attempts to start now: waiting chunks first, then second attempts for stragglers."""
        room = self.limits.max_parallel - len(self._attempts)
        room = room if at_most is None else min(room, at_most)
        started: list[Attempt] = []
        while len(started) < room and self._waiting:
            choice = self._choose(now) or self._choose_at_the_end(now)
            if choice is None:
                break
            started.append(self._start(*choice, now))
        while len(started) < room:
            straggler = self._straggler(now)
            if straggler is None:
                break
            chunk, edge = straggler
            chunk.hedged = True
            self.hedged_bytes += chunk.size_bytes
            started.append(self._start(chunk, edge, now, hedge=True))
        self._tick(now)
        return started

    def progressed(self, attempt: Attempt, sent_bytes: int, now: float) -> None:
        """The connection has taken so many bytes of the chunk."""
        if attempt.id in self._attempts and sent_bytes > attempt.sent_bytes:
            edge = self.edges[attempt.edge]
            edge.moved_bytes += sent_bytes - attempt.sent_bytes
            edge.moved_at = attempt.moved_at = now
            attempt.sent_bytes = sent_bytes

    def succeeded(self, attempt: Attempt, now: float) -> list[Attempt]:
        """The chunk is acknowledged; returns the attempts that lost the race and are to be cancelled."""
        if not self._end(attempt):
            return []
        edge = self.edges[attempt.edge]
        seconds = max(now - attempt.started_at, 1e-6)
        rate = attempt.size_bytes / seconds
        edge.chunk_rate = rate if edge.chunk_rate == 0 else 0.7 * edge.chunk_rate + 0.3 * rate
        edge.moved_bytes += attempt.size_bytes - attempt.sent_bytes
        edge.failures = 0
        edge.moved_at = now
        self.last_success_at = now
        chunk = self._open.pop(attempt.number, None)
        if chunk is None:
            return []
        edge.acknowledged_bytes += chunk.size_bytes
        self.acknowledged_bytes += chunk.size_bytes
        self._pace.append(seconds / (attempt.size_bytes / edge.chunk_rate))
        losers = list(chunk.attempts)
        for loser in losers:
            self._end(loser)
            if now - self.edges[loser.edge].moved_at > self.limits.stall_seconds / 2:
                # Overtaken before the stall was certain: without this the edge would get the next chunk.
                self._penalise(self.edges[loser.edge], loser, now, None)
        return losers

    def failed(
        self,
        attempt: Attempt,
        now: float,
        *,
        retry_after_seconds: float | None = None,
        edge_at_fault: bool = True,
    ) -> None:
        """The attempt is over without an acknowledgement; its chunk waits again, at the front."""
        if not self._end(attempt):
            return
        chunk = self._open.get(attempt.number)
        if chunk is not None and not chunk.attempts:
            chunk.hedged = False
            chunk.failed_on = attempt.edge if edge_at_fault else None
            self._waiting.appendleft(chunk)
        if edge_at_fault:
            self._penalise(self.edges[attempt.edge], attempt, now, retry_after_seconds)

    def surplus(self) -> list[Attempt]:
        """Attempts to take back, hardly begun, where more connections turned out to carry no more.

        The chunks that stay are through sooner, so less is lost when the edge fails, and the end comes
        closer together. They wait again as if they had never been started.
        """
        taken = []
        for edge in self.edges.values():
            excess = edge.in_flight - edge.window.size
            shrank, edge.window.shrank = edge.window.shrank, False
            if excess <= 0 or edge.failures or not shrank:
                continue
            mine = [attempt for attempt in self._attempts.values() if attempt.edge == edge.id]
            young = [a for a in mine if not a.hedge and a.sent_bytes < a.size_bytes / 8]
            taken += sorted(young, key=lambda attempt: attempt.sent_bytes)[:excess]
        for attempt in taken:
            self.failed(attempt, attempt.started_at, edge_at_fault=False)
        return taken

    def stalled(self, now: float) -> list[Attempt]:
        """Attempts whose connection takes no more bytes, or whose acknowledgement does not come."""
        return [attempt for attempt in self._attempts.values() if self._is_stalled(attempt, now)]

    def _is_stalled(self, attempt: Attempt, now: float) -> bool:
        silent_seconds = now - attempt.moved_at
        if attempt.sent:
            return silent_seconds > self.limits.answer_seconds
        # A slow connection legitimately takes long for the bytes that were handed to it last.
        rate = self.edges[attempt.edge].chunk_rate
        allowed = self.limits.stall_seconds + (attempt.size_bytes / 8 / rate if rate else 0)
        return silent_seconds > min(allowed, self.limits.answer_seconds)

    def _penalise(self, edge: Edge, attempt: Attempt, now: float, retry_after: float | None) -> None:
        # Connections that break together are one failure of the edge, not several.
        if attempt.started_at >= edge.failed_at:
            edge.failures += 1
            edge.window.shrink()
            edge.failed_at = now
        backoff = backoff_seconds(edge.failures, cap=self.limits.backoff_cap_seconds, spread=self._spread())
        edge.backs_off_until = max(edge.backs_off_until, now + max(backoff, retry_after or 0))

    def _tick(self, now: float) -> None:
        if self._ticked_at is None:
            self._ticked_at = now
        if now - self._ticked_at < _TICK_SECONDS:
            return
        seconds, self._ticked_at = now - self._ticked_at, now
        spare = self.limits.max_parallel - sum(edge.window.size for edge in self.edges.values())
        fair = max(0, spare) // max(1, sum(edge.healthy(now) for edge in self.edges.values()))
        for edge in self.edges.values():
            edge.tick(seconds)
            full = bool(self._waiting) and edge.room <= 0 and not edge.failures
            edge.window.observe(now, moved_bytes=edge.moved_bytes, full=full, spare=fair)

    def _choose(self, now: float) -> tuple[Chunk, Edge] | None:
        """The next waiting chunk and the edge for it, or None where waiting for a better edge pays."""
        healthy = [edge for edge in self.edges.values() if edge.healthy(now)]
        free = [edge for edge in healthy if edge.room > 0 and not self._is_full(edge)]
        free.sort(
            key=lambda edge: (edge.in_flight / edge.window.size, edge.expected_seconds(self._largest_bytes))
        )
        remaining_seconds = self._remaining_seconds(now)
        for edge in free:
            chunk = self._chunk_for(edge, alone=len(healthy) == 1)
            if chunk is None:
                continue
            expected = edge.expected_seconds(chunk.size_bytes)
            late = bool(self._attempts) and expected > max(remaining_seconds, 0.5)
            if late and self._sooner_elsewhere(edge, chunk, expected, now):
                continue
            self._waiting.remove(chunk)
            return chunk, edge
        return None

    def _choose_at_the_end(self, now: float) -> tuple[Chunk, Edge] | None:
        """The last chunks begin together, whatever the windows: so they end together, on all connections.

        Each goes to the edge that will first be through with it and all that it has already. Begun one by
        one, they would end one by one, and what the connections that are done could carry would be lost.
        """
        if len(self._waiting) > self.limits.last_share * len(self._attempts):
            return None
        found: tuple[float, Chunk, Edge] | None = None
        healthy = [edge for edge in self.edges.values() if edge.healthy(now)]
        for edge in healthy:
            chunk = self._chunk_for(edge, alone=len(healthy) == 1)
            if chunk is None or edge.failures or edge.chunk_rate == 0 or self._is_full(edge):
                continue
            seconds = self._through_seconds(edge, chunk.size_bytes)
            if found is None or seconds < found[0]:
                found = (seconds, chunk, edge)
        if found is None:
            return None
        self._waiting.remove(found[1])
        return found[1], found[2]

    def _is_full(self, edge: Edge) -> bool:
        return edge.in_flight + self._others_at(edge.id) >= self.limits.per_edge

    def _sooner_elsewhere(self, edge: Edge, chunk: Chunk, expected: float, now: float) -> bool:
        """Whether waiting for another edge's next free connection brings the chunk through sooner."""
        for other in self.edges.values():
            if other is edge or other.id == chunk.failed_on or not other.healthy(now):
                continue
            if other.failures or other.chunk_rate == 0:
                continue
            waits = (
                self._seconds_left(attempt, now)
                for attempt in self._attempts.values()
                if attempt.edge == other.id
            )
            wait = 0.0 if other.room > 0 else min(waits, default=0.0)
            if wait + other.expected_seconds(chunk.size_bytes) < expected:
                return True
        return False

    def _remaining_seconds(self, now: float) -> float:
        """When everything would be sent if each edge took its share; infinite where unknown."""
        rate = sum(edge.goodput for edge in self.edges.values() if edge.healthy(now))
        if rate <= 0:
            return math.inf
        left = self._total_bytes - self.acknowledged_bytes
        left -= sum(attempt.sent_bytes for attempt in self._attempts.values() if not attempt.hedge)
        slowest = max((self._seconds_left(attempt, now) for attempt in self._attempts.values()), default=0.0)
        return max(1.25 * left / rate, slowest)

    def _chunk_for(self, edge: Edge, *, alone: bool) -> Chunk | None:
        # A chunk that failed on an edge goes to another one first: the fault may be on the way there.
        for chunk in self._waiting:
            if alone or chunk.failed_on != edge.id:
                return chunk
        return None

    def _straggler(self, now: float) -> tuple[Chunk, Edge] | None:
        """The slowest chunk that another edge would have through sooner, within the budget."""
        budget = max(2 * self._largest_bytes, self.limits.hedge_share * self._total_bytes)
        ending = not self._waiting
        found: tuple[float, Chunk, Edge] | None = None
        for attempt in self._attempts.values():
            chunk = self._open.get(attempt.number)
            if chunk is None or chunk.hedged:
                continue
            if self.hedged_bytes + chunk.size_bytes > budget and not self._edge_is_silent(attempt, now):
                continue
            late = self._is_late(attempt, now) or self._is_silent(attempt, now)
            # A further connection to the only edge takes from the others what it carries.
            if not late and (not ending or len(self.edges) == 1):
                continue
            # A straggler goes beyond an edge's window: by one while chunks wait, else however full it is.
            least_room = 1.0 if not late else -math.inf if ending else 0.0
            seconds_left = self._seconds_left(attempt, now)
            edge = self._hedge_edge(attempt, now, least_room=least_room)
            if edge is None or self._through_seconds(edge, chunk.size_bytes) * 1.25 + 0.2 > seconds_left:
                continue
            if found is None or seconds_left > found[0]:
                found = (seconds_left, chunk, edge)
        return None if found is None else (found[1], found[2])

    def _is_late(self, attempt: Attempt, now: float) -> bool:
        """Slower than the observed distribution allows.

        A chunk's pace is its time over what its edge takes on average, so slow edges are no stragglers by
        being slow; late is one and a half times the 95th percentile of all paces.
        """
        edge = self.edges[attempt.edge]
        elapsed = now - attempt.started_at
        if len(self._pace) < 5 or edge.chunk_rate == 0:
            return now - attempt.moved_at > self.limits.stall_seconds / 2
        paces = sorted(self._pace)
        bound = max(2.0, 1.5 * paces[min(len(paces) - 1, math.ceil(0.95 * len(paces)) - 1)])
        return elapsed > max(1.0, bound * attempt.size_bytes / edge.chunk_rate)

    def _edge_is_silent(self, attempt: Attempt, now: float) -> bool:
        """Whether the edge takes and acknowledges nothing any more, on no connection, while there are others.

        What its buffers have swallowed is most likely lost, so no budget holds its chunks back.
        """
        return len(self.edges) > 1 and now - self.edges[attempt.edge].moved_at > self.limits.stall_seconds

    def _is_silent(self, attempt: Attempt, now: float) -> bool:
        """Whether the connection has taken no byte for suspiciously long."""
        return not attempt.sent and now - attempt.moved_at > self.limits.stall_seconds / 2

    def _seconds_left(self, attempt: Attempt, now: float) -> float:
        """How much longer an attempt will take at the speed it had so far.

        Infinite where it does not move, or where everything is sent and the answer is overdue.
        """
        elapsed = max(now - attempt.started_at, 1e-6)
        if self._is_silent(attempt, now):
            return math.inf
        if attempt.sent:
            return math.inf if self._is_late(attempt, now) else 0.0
        if attempt.sent_bytes == 0:
            return self.edges[attempt.edge].expected_seconds(attempt.size_bytes)
        return (attempt.size_bytes - attempt.sent_bytes) * elapsed / attempt.sent_bytes

    def _hedge_edge(self, attempt: Attempt, now: float, *, least_room: float) -> Edge | None:
        """The other edge that would be through with the chunk first, of those that carry chunks.

        With one edge alone a late chunk gets a further connection to it.
        """
        proven = [
            edge
            for edge in self.edges.values()
            if edge.healthy(now) and edge.chunk_rate > 0 and not edge.failures and edge.room >= least_room
            if not self._is_full(edge)
        ]
        others = [edge for edge in proven if edge.id != attempt.edge]
        if not others and len(self.edges) > 1:
            return None
        return min(
            others or proven,
            key=lambda edge: self._through_seconds(edge, attempt.size_bytes),
            default=None,
        )

    def _through_seconds(self, edge: Edge, size_bytes: int) -> float:
        """When an edge that carries chunks would be through with a further one, after all that it has."""
        expected = edge.expected_seconds(size_bytes)
        if edge.goodput == 0:
            return expected
        mine = (attempt for attempt in self._attempts.values() if attempt.edge == edge.id)
        outstanding = sum(attempt.size_bytes - attempt.sent_bytes for attempt in mine)
        return max(expected, (outstanding + size_bytes) / edge.goodput)

    def _start(self, chunk: Chunk, edge: Edge, now: float, *, hedge: bool = False) -> Attempt:
        attempt = Attempt(
            self._next_id, chunk.number, chunk.size_bytes, edge.id, now, hedge=hedge, moved_at=now
        )
        self._next_id += 1
        self._attempts[attempt.id] = attempt
        chunk.attempts.append(attempt)
        edge.in_flight += 1
        return attempt

    def _end(self, attempt: Attempt) -> bool:
        if self._attempts.pop(attempt.id, None) is None:
            return False
        self.edges[attempt.edge].in_flight -= 1
        chunk = self._open.get(attempt.number)
        if chunk is not None:
            chunk.attempts.remove(attempt)
        return True


def missing_numbers(ranges: Iterable[tuple[int, int]]) -> list[int]:
    """The numbers of inclusive ranges."""
    return [number for first, last in ranges for number in range(first, last + 1)]
