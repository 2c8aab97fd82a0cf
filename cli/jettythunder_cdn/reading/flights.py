"""Blocks on their way: each is fetched once, however many readers wait for it.

A flight is one request to the gateway for up to eight blocks in a row. Its bytes go to the store block by
block; a block that the store has no room for stays in memory until those who wait for it have sent it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from jettythunder_cdn.errors import UpstreamMisbehaved, UpstreamUnavailable
from jettythunder_cdn.figures import Figures
from jettythunder_cdn.model import BLOCK_BYTES, Asset, Credential, Span
from jettythunder_cdn.store.store import Store
from jettythunder_cdn.upstream import Upstream
from jettythunder_client.errors import ClientError

FLIGHTS_AT_ONCE = 3
"""Bounds memory: each holds one block. A reader of many has two of them, so that one arrives while the other
is stored."""


class Arrival:
    """A block on its way, and in the end what became of it."""

    def __init__(self, number: int, size_bytes: int, credential: Credential) -> None:
        self.number = number
        self.size_bytes = size_bytes
        self.credential = credential
        self.buffer: bytearray | None = None
        self.filled = 0
        self.readers = 0
        self.followers = 0
        self.settled = False
        self.stored = False
        self.error: ClientError | None = None
        self._growth: list[asyncio.Future[None]] = []
        self._end: list[asyncio.Future[None]] = []

    @property
    def failed(self) -> bool:
        """Whether it will not come."""
        return self.settled and not self.stored and self.buffer is None

    def changed(self) -> None:
        """Wake those who wait for a change."""
        self._growth = _woken(self._growth)

    async def change(self) -> None:
        """Wait until there is more of it, it is settled, or nobody reads it any more."""
        await _sleep(self._growth)

    async def end(self) -> None:
        """Wait until it is settled."""
        await _sleep(self._end)

    def settle(self, *, stored: bool, error: ClientError | None = None) -> None:
        """Say what became of it."""
        self.settled, self.stored, self.error = True, stored, error
        if stored or error is not None:
            self.buffer = None
        self._end = _woken(self._end)
        self.changed()

    def leave(self) -> None:
        """One reader less waits for it."""
        self.readers -= 1
        if not self.readers:
            self.changed()


class Flights:
    """The blocks that are on their way, by content and number.

    Args:
        landed: is called with the asset when a flight is over.
    """

    def __init__(
        self, upstream: Upstream, store: Store, *, figures: Figures, landed: Callable[[Asset], None]
    ) -> None:
        self._landed = landed
        self._upstream = upstream
        self._store = store
        self._figures = figures
        self._slots = asyncio.Semaphore(FLIGHTS_AT_ONCE)
        self._arrivals: dict[tuple[str, int], Arrival] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def get(self, content: str, number: int) -> Arrival | None:
        """A block that is on its way."""
        return self._arrivals.get((content, number))

    def start(
        self, asset: Asset, credential: Credential, numbers: Sequence[int], *, ahead: bool = False
    ) -> list[Arrival]:
        """Fetch blocks in a row, none of which is on its way.

        The caller is the reader of each, and leaves each; ``ahead`` has none.
        """
        arrivals = [Arrival(number, asset.block_size(number), credential) for number in numbers]
        for arrival in arrivals:
            arrival.readers = 0 if ahead else 1
            self._arrivals[asset.content, arrival.number] = arrival
        task = asyncio.create_task(self._fly(asset, credential, arrivals, ahead=ahead))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return arrivals

    @property
    def readers(self) -> int:
        """How many wait for blocks, each block counted."""
        return sum(arrival.readers for arrival in self._arrivals.values())

    async def landed(self) -> None:
        """Wait until nothing is on its way."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Give up what is on its way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _fly(
        self, asset: Asset, credential: Credential, arrivals: list[Arrival], *, ahead: bool
    ) -> None:
        error: ClientError = UpstreamUnavailable("The desktop CDN is being stopped.")
        try:
            async with self._slots:
                await self._fetch(asset, credential, arrivals, ahead=ahead)
            # Those that nobody wanted any more.
            error = UpstreamUnavailable("The block was given up.")
        except ClientError as raised:
            error = raised
        except OSError as raised:
            error = UpstreamUnavailable(f"The block could not be fetched: {raised}.")
        finally:
            for arrival in arrivals:
                if not arrival.settled:
                    arrival.settle(stored=False, error=error)
                self._arrivals.pop((asset.content, arrival.number), None)
            self._landed(asset)

    async def _fetch(
        self, asset: Asset, credential: Credential, arrivals: list[Arrival], *, ahead: bool
    ) -> None:
        if not ahead and not any(arrival.readers for arrival in arrivals):
            return
        start = arrivals[0].number * BLOCK_BYTES
        span = Span(start, start + sum(arrival.size_bytes for arrival in arrivals) - 1)
        self._figures.upstream_requests += 1
        async with self._upstream.read(asset, credential, span) as pieces:
            rest = b""
            for position, arrival in enumerate(arrivals):
                if not ahead and not any(left.readers for left in arrivals[position:]):
                    return
                rest = await self._receive(arrival, pieces, rest)
                await self._keep(asset, arrival)

    async def _receive(self, arrival: Arrival, pieces: AsyncIterator[bytes], rest: bytes) -> bytes:
        """Fill a block; what came beyond it."""
        arrival.buffer = bytearray(arrival.size_bytes)
        while True:
            taken = rest[: arrival.size_bytes - arrival.filled]
            arrival.buffer[arrival.filled : arrival.filled + len(taken)] = taken
            arrival.filled += len(taken)
            self._figures.upstream_bytes += len(taken)
            rest = rest[len(taken) :]
            if taken:
                arrival.changed()
            if arrival.filled == arrival.size_bytes:
                return rest
            rest = await anext(pieces, b"")
            if not rest:
                raise UpstreamMisbehaved("The gateway's answer ended too early.")

    async def _keep(self, asset: Asset, arrival: Arrival) -> None:
        """Store a block; where that fails, hold it until its readers have sent it."""
        assert arrival.buffer is not None  # noqa: S101 - it was filled
        stored = await self._store.write_block(asset, arrival.number, arrival.buffer)
        arrival.settle(stored=stored)
        if not stored:
            self._arrivals.pop((asset.content, arrival.number), None)
            while arrival.readers:
                await arrival.change()
            arrival.buffer = None


async def _sleep(sleepers: list[asyncio.Future[None]]) -> None:
    future = asyncio.get_running_loop().create_future()
    sleepers.append(future)
    await future


def _woken(sleepers: list[asyncio.Future[None]]) -> list[asyncio.Future[None]]:
    for future in sleepers:
        if not future.done():
            future.set_result(None)
    return []
