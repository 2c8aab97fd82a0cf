"""Reading through the cache: an asset's range, from the disk where it is there, else from the gateway."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol

from jettythunder_cdn.errors import Changed, ReaderStalled, Refused, UpstreamUnavailable
from jettythunder_cdn.figures import Figures
from jettythunder_cdn.model import BLOCK_BYTES, FETCH_BLOCKS, Asset, Credential, ReadAhead, Span, runs
from jettythunder_cdn.reading.flights import Arrival, Flights
from jettythunder_cdn.reading.grants import Freshness, Grants
from jettythunder_cdn.settings import GRANT_SECONDS
from jettythunder_cdn.store.store import Store
from jettythunder_cdn.upstream import Upstream

Outcome = Literal["HIT", "MISS", "PARTIAL", "REVALIDATED", "STALE", "BYPASS"]

_FOLLOWERS = 4
"""Readers that get a block as it arrives; more of them wait for its file, which costs no memory."""
_ATTEMPTS = 2
_PIECE_BYTES = 32 * 1024
_NEXT_REQUEST_BLOCKS = 4
_STALL_SECONDS = 30.0


class Sink(Protocol):
    """Where bytes go."""

    async def write(self, piece: bytes) -> None:
        """Send bytes, and wait until there is room for more."""

    async def send_file(self, file: FileIO, offset: int, count: int) -> None:
        """Send bytes of a file."""


class Cache:
    """Assets of one account, read through."""

    def __init__(
        self,
        upstream: Upstream,
        store: Store,
        *,
        figures: Figures,
        offline_seconds: float,
        cache_key_seconds: float = 0.0,
        cache_key_offline: bool = False,
        clock: Callable[[], float],
    ) -> None:
        self.store = store
        self.figures = figures
        self.clock = clock
        self.grants = Grants(upstream, store, offline_seconds=offline_seconds, clock=clock)
        self.flights = Flights(upstream, store, figures=figures, landed=self.settle)
        self._upstream = upstream
        self._read_ahead = ReadAhead()
        self._cache_key_seconds = cache_key_seconds
        self._cache_key_offline = cache_key_offline
        self._verifying: dict[str, asyncio.Task[object]] = {}
        self._offline_seconds = offline_seconds
        self.forget_old()

    def forget_old(self) -> None:
        """Forget rights that have ended by their age, and what is known of assets that nobody may read."""
        with suppress(sqlite3.OperationalError):
            self.store.index.forget_old(self.clock() - max(self._offline_seconds, GRANT_SECONDS))

    async def asset(self, asset_id: str, credential: Credential) -> tuple[Asset, Freshness]:
        """The asset, where the credential may read it; see `Grants.asset`."""
        return await self.grants.asset(asset_id, credential)

    async def find(self, cache_key: str, credential: Credential) -> tuple[str, bool]:
        """The id of the asset that a cache key names, and whether that may be out of date.

        Raises:
            Refused, UpstreamUnavailable: as their names say.
        """
        index, now = self.store.index, self.clock()
        known = index.named(cache_key, credential.id)
        if known is not None and 0 <= now - known[1] < self._cache_key_seconds:
            return known[0], False
        try:
            asset_id = await self._upstream.find(cache_key, credential)
        except Refused:
            with suppress(sqlite3.OperationalError):
                index.forget_name(cache_key, credential.id)
            raise
        except UpstreamUnavailable:
            if known is None or not self._cache_key_offline:
                raise
            return known[0], True
        with suppress(sqlite3.OperationalError):
            index.put_name(cache_key, credential.id, asset_id, now)
        return asset_id, False

    def read(self, asset: Asset, credential: Credential, span: Span, freshness: Freshness) -> "Reading":
        """A range of an asset; enter it, then prepare it, then send it."""
        ahead = self._read_ahead.blocks(credential.id, asset.id, span) if freshness != "stale" else 0
        return Reading(self, asset, credential, span, freshness, ahead)

    def settle(self, asset: Asset) -> None:
        """Verify a content once all its blocks are there."""
        content = self.store.index.content(asset.content)
        if content is None or content.verified or asset.sha256 is None or asset.content in self._verifying:
            return
        if self.store.index.block_count(asset.content) == asset.block_count:
            task = self._verifying[asset.content] = asyncio.create_task(self.store.verify(asset))
            task.add_done_callback(lambda _: self._verifying.pop(asset.content, None))

    async def settled(self) -> None:
        """Wait until nothing is on its way, and what is there as a whole is verified."""
        await self.flights.landed()
        while self._verifying:
            await asyncio.gather(*self._verifying.values(), return_exceptions=True)

    async def fetch_all(self, asset: Asset, credential: Credential) -> None:
        """Have all bytes of an asset here.

        Raises:
            ClientError: they can't be fetched, or kept.
        """
        if asset.size_bytes:
            with Reading(self, asset, credential, Span(0, asset.size_bytes - 1), "fresh", 0) as reading:
                await reading.send(_Nowhere())
        await self.settled()

    async def admit(self, asset: Asset, file: Path) -> None:
        """Keep the bytes of an asset that was just uploaded, as far as there is room."""
        with file.open("rb", buffering=0) as opened:
            for number in range(asset.block_count):
                block = await asyncio.to_thread(opened.read, BLOCK_BYTES)
                kept = len(block) == asset.block_size(number)
                if not kept or not await self.store.write_block(asset, number, block):
                    return
        self.settle(asset)

    async def close(self) -> None:
        """Give up what is on its way, and finish what is being verified."""
        await self.flights.close()
        await self.settled()


class Reading:
    """One range for one reader."""

    def __init__(
        self,
        cache: Cache,
        asset: Asset,
        credential: Credential,
        span: Span,
        freshness: Freshness,
        ahead: int,
    ) -> None:
        self.asset = asset
        self.span = span
        self._cache = cache
        self._credential = credential
        self._freshness = freshness
        self._ahead = ahead
        self._mine: dict[int, Arrival] = {}
        self._requested_until = span.first_block
        self._opened: FileIO | None = None
        self._stack = ExitStack()
        self._kept_blocks = cache.store.index.block_count(asset.content, span.first_block, span.last_block)
        self._first_seconds = 0.0

    def __enter__(self) -> "Reading":
        self._stack.enter_context(self._cache.store.held(self.asset.content))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            self._opened.close()
        for arrival in self._mine.values():
            arrival.leave()
        self._mine.clear()
        self._stack.close()
        self._cache.settle(self.asset)

    @property
    def outcome(self) -> Outcome:
        """How the range is answered, for X-Cache."""
        wanted = self.span.last_block - self.span.first_block + 1
        if self._freshness == "stale":
            return "STALE"
        if self._kept_blocks == wanted:
            return "REVALIDATED" if self._freshness == "revalidated" else "HIT"
        if self._cache.store.is_full:
            return "BYPASS"
        return "PARTIAL" if self._kept_blocks else "MISS"

    @property
    def first_seconds(self) -> float:
        """How long the first bytes took."""
        return self._first_seconds

    async def prepare(self) -> None:
        """Wait for the first bytes, so that a failure can still be answered with its status.

        Raises:
            ClientError: they can't be had.
        """
        began = time.monotonic()
        number = self.span.first_block
        for attempt in range(1, _ATTEMPTS + 1):
            self._opened = await self._cache.store.open_block(self.asset.content, number)
            if self._opened is not None:
                break
            arrival = self._arrival(number)
            while not arrival.settled and not arrival.filled:
                await arrival.change()
            if not arrival.failed:
                break
            await self._failed(arrival, final=attempt == _ATTEMPTS)
        self._first_seconds = time.monotonic() - began

    async def send(self, sink: Sink) -> None:
        """Send the range.

        Raises:
            ClientError: the rest can't be had; what was sent is less than the range.
        """
        for number in range(self.span.first_block, self.span.last_block + 1):
            self._request_next(number)
            await self._send_block(sink, number)
        self._fetch_ahead()

    async def _send_block(self, sink: Sink, number: int) -> None:
        """Send what the range has of a block: from its file, or as it arrives, and the rest from its file."""
        start, stop = self.span.within(number)
        for attempt in range(1, _ATTEMPTS + 1):
            if await self._send_stored(sink, number, start, stop):
                return
            arrival = self._arrival(number)
            start = await self._follow(sink, arrival, start, stop)
            if start == stop or (arrival.stored and await self._send_stored(sink, number, start, stop)):
                self._leave(number)
                return
            await self._failed(arrival, final=attempt == _ATTEMPTS)

    async def _send_stored(self, sink: Sink, number: int, start: int, stop: int) -> bool:
        """Send a part of a block from its file; False where there is none."""
        file, self._opened = self._opened, None
        if file is None:
            file = await self._cache.store.open_block(self.asset.content, number)
        if file is None:
            return False
        with file:
            await sink.send_file(file, start, stop - start)
        if number not in self._mine:
            self._cache.figures.hit_bytes += stop - start
        self._leave(number)
        return True

    async def _follow(self, sink: Sink, arrival: Arrival, start: int, stop: int) -> int:
        """Send a block as it arrives, for a few readers, and as it is kept in memory; up to where it went."""
        follows = arrival.followers < _FOLLOWERS
        arrival.followers += follows
        try:
            while start < stop and not arrival.stored and not arrival.failed:
                there = min(arrival.filled, stop)
                buffer = arrival.buffer
                if buffer is not None and start < there and (follows or arrival.settled):
                    piece = bytes(memoryview(buffer)[start : min(there, start + _PIECE_BYTES)])
                    await self._write(sink, piece, in_memory=arrival.settled)
                    start += len(piece)
                elif follows:
                    await arrival.change()
                else:
                    await arrival.end()
        finally:
            arrival.followers -= follows
        return start

    async def _write(self, sink: Sink, piece: bytes, *, in_memory: bool) -> None:
        """Send a piece; a reader that holds a block in memory has to take it in time."""
        if not in_memory:
            await sink.write(piece)
            return
        try:
            async with asyncio.timeout(_STALL_SECONDS):
                await sink.write(piece)
        except TimeoutError:
            raise ReaderStalled from None

    def _arrival(self, number: int) -> Arrival:
        """The block on its way; fetched from here on where it is not."""
        if (mine := self._mine.get(number)) is not None:
            if not mine.stored:
                return mine
            # It was stored, and is no longer there.
            self._leave(number)
        arrival = self._cache.flights.get(self.asset.content, number)
        if arrival is None:
            if self._freshness == "stale":
                raise UpstreamUnavailable
            self._request(number)
            if number not in self._mine:
                # The index could not be written when its file was found to be damaged.
                (self._mine[number],) = self._cache.flights.start(self.asset, self._credential, [number])
            return self._mine[number]
        arrival.readers += 1
        self._mine[number] = arrival
        return arrival

    def _request_next(self, number: int) -> None:
        """Have the next request under way before the blocks of this one are sent."""
        if number + _NEXT_REQUEST_BLOCKS >= self._requested_until <= self.span.last_block:
            self._request(self._requested_until)

    def _request(self, first: int) -> None:
        """Request what is missing of the next blocks, from one on."""
        if self._freshness == "stale":
            return
        last = min(first + FETCH_BLOCKS - 1, self.span.last_block)
        for run in self._missing(first, last):
            for arrival in self._cache.flights.start(self.asset, self._credential, run):
                self._mine[arrival.number] = arrival
        self._requested_until = max(self._requested_until, last + 1)

    def _fetch_ahead(self) -> None:
        first = self.span.last_block + 1
        last = min(first + self._ahead, self.asset.block_count) - 1
        for run in self._missing(first, last):
            self._cache.flights.start(self.asset, self._credential, run, ahead=True)

    def _missing(self, first: int, last: int) -> list[range]:
        content = self.asset.content
        kept = self._cache.store.index.numbers(content, first, last)
        flights = self._cache.flights
        return runs(n for n in range(first, last + 1) if n not in kept and flights.get(content, n) is None)

    def _leave(self, number: int) -> None:
        if (arrival := self._mine.pop(number, None)) is not None:
            arrival.leave()

    async def _failed(self, arrival: Arrival, *, final: bool) -> None:
        """Draw the consequences of a failed fetch.

        Raises:
            ClientError: trying again does not help.
        """
        self._leave(arrival.number)
        error = arrival.error or UpstreamUnavailable()
        another = arrival.credential.id != self._credential.id
        if isinstance(error, Refused):
            await self._cache.grants.refused(self.asset.id, arrival.credential, error)
        if isinstance(error, Changed):
            self._cache.grants.expire(self.asset.id, self._credential)
        if final or (isinstance(error, Refused | Changed) and not another):
            raise error


class _Nowhere:
    """Takes bytes and forgets them."""

    async def write(self, piece: bytes) -> None:
        """Forget bytes."""

    async def send_file(self, file: FileIO, offset: int, count: int) -> None:
        """Forget bytes."""
