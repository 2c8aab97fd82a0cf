"""Sending an asset's bytes, and counting what was sent.

Guarantee given here: bandwidth is held before the first byte is sent, so an account can't send more than its
quota, and what was really sent is counted, also when the reader disconnects.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator
from uuid import UUID

from fastapi.responses import StreamingResponse
from starlette.types import Send

from jettythunder import outbox, telemetry
from jettythunder.contracts.assets import AssetStreamedV1
from jettythunder.database import Database
from jettythunder.errors import JettyThunderError, StorageUnavailable
from jettythunder.ids import new_id
from jettythunder.lifecycle import Periodic
from jettythunder.slots import Slots
from jettythunder.storage import ObjectMissing, Storage
from storage_gateway.assets.model import Asset
from storage_gateway.assets.ranges import ByteRange
from storage_gateway.assets.store import AssetStore
from storage_gateway.errors import BandwidthQuotaExceeded, TooManyStreams
from storage_gateway.messages import SOURCE

log = telemetry.logger(__name__)

_NO_EVENTS = outbox.rows(source=SOURCE)
_RETRY_AFTER_SECONDS = 2


class Bandwidth:
    """Holds bandwidth for reads, and keeps it for as long as they last.

    Args:
        hold_seconds: how long bandwidth stays held after it was last kept: what a gateway held that is gone.
    """

    def __init__(self, store: AssetStore, *, hold_seconds: int) -> None:
        self._store = store
        self._hold_seconds = hold_seconds
        self._kept: set[UUID] = set()
        self._keeping = Periodic(
            "bandwidth-holds",
            self._keep,
            interval_seconds=hold_seconds / 4,
            at_start=False,
            max_backoff_seconds=hold_seconds / 8,
        )

    def start(self) -> None:
        """Begin to keep what reads hold."""
        self._keeping.start()

    async def close(self) -> None:
        """Stop keeping it."""
        await self._keeping.close()

    async def hold(
        self,
        asset: Asset,
        reservation_id: UUID,
        size_bytes: int,
        events: outbox.Rows = _NO_EVENTS,
        *,
        seconds: int | None = None,
    ) -> None:
        """Hold bandwidth for one read of an asset, and count the hit.

        Args:
            events: are written in the same statement, where the bandwidth is granted.
            seconds: how long it is held where nobody keeps it, unless that is as usual.

        Raises:
            BandwidthQuotaExceeded: the period has no room for it.
        """
        room = await self._store.reserve_bandwidth(
            events,
            account_id=asset.account_id,
            asset_id=asset.id,
            reservation_id=reservation_id,
            size_bytes=size_bytes,
            hold_seconds=seconds or self._hold_seconds,
        )
        if not room.granted:
            raise BandwidthQuotaExceeded(
                used_bytes=room.used_bytes,
                reserved_bytes=room.reserved_bytes,
                quota_bytes=room.quota_bytes,
                requested_bytes=size_bytes,
            )

    @contextlib.contextmanager
    def kept(self, reservation_id: UUID) -> Iterator[None]:
        """Keep what is held from expiring while inside."""
        self._kept.add(reservation_id)
        try:
            yield
        finally:
            self._kept.discard(reservation_id)

    async def _keep(self) -> None:
        if self._kept:
            await self._store.keep_bandwidth(list(self._kept), hold_seconds=self._hold_seconds)


class StreamSlots:
    """How many streams may go on at once: in total, for each account, and for each signed link."""

    def __init__(self, total: int, *, per_account: int, per_link: int) -> None:
        self._accounts = Slots(total, per_holder=per_account)
        self._links = Slots(total, per_holder=per_link)

    def take(self, account_id: UUID, link: str | None) -> None:
        """Take a slot for one stream.

        Raises:
            TooManyStreams: the account or the link has all that it may have.
        """
        if not self._accounts.take(account_id):
            raise TooManyStreams(retry_after_seconds=_RETRY_AFTER_SECONDS)
        if link is not None and not self._links.take(link):
            self._accounts.give_back(account_id)
            raise TooManyStreams(retry_after_seconds=_RETRY_AFTER_SECONDS)

    def give_back(self, account_id: UUID, link: str | None) -> None:
        """Give a slot back."""
        self._accounts.give_back(account_id)
        if link is not None:
            self._links.give_back(link)


class Streams:
    """Sends ranges of assets."""

    def __init__(
        self, database: Database, storage: Storage, bandwidth: Bandwidth, slots: StreamSlots
    ) -> None:
        self._database = database
        self._storage = storage
        self._bandwidth = bandwidth
        self._slots = slots
        self._counting: set[asyncio.Task[None]] = set()

    async def open(
        self, asset: Asset, wanted: ByteRange, *, link: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of a range.

        Bandwidth is held, and the object opened, before this returns the iterator.

        Args:
            link: the signed link that the bytes are asked for by, if it is one.

        Raises:
            TooManyStreams: the account or the link has as many streams as it may have.
            BandwidthQuotaExceeded: the period has no room for the range.
            StorageUnavailable: the object storage does not give the bytes.
        """
        reservation_id = new_id()
        self._slots.take(asset.account_id, link)
        try:
            await self._bandwidth.hold(asset, reservation_id, wanted.length_bytes)
        except BaseException:
            self._slots.give_back(asset.account_id, link)
            raise
        pieces = self._counted(asset, reservation_id, wanted, link)
        try:
            first = await anext(pieces, b"")
        except ObjectMissing as error:
            raise StorageUnavailable("The asset's bytes are not in the object storage.") from error
        return _chained(first, pieces)

    async def close(self) -> None:
        """Wait until what was sent is counted."""
        await asyncio.gather(*self._counting, return_exceptions=True)

    async def _counted(
        self, asset: Asset, reservation_id: UUID, wanted: ByteRange, link: str | None
    ) -> AsyncGenerator[bytes, None]:
        sent = 0
        try:
            with self._bandwidth.kept(reservation_id):
                async with self._storage.read(asset.s3_key, start=wanted.start, end=wanted.end) as blocks:
                    async for block in blocks:
                        # Counted as it is handed to the socket: a hang-up is noticed with the next block.
                        sent += len(block)
                        yield block
        finally:
            self._slots.give_back(asset.account_id, link)
            task = asyncio.create_task(self._count(asset, reservation_id, sent))
            self._counting.add(task)
            task.add_done_callback(self._counting.discard)

    async def _count(self, asset: Asset, reservation_id: UUID, sent: int) -> None:
        event = AssetStreamedV1(
            account_id=asset.account_id,
            asset_id=asset.id,
            reservation_id=reservation_id,
            sent_bytes=sent,
        )
        try:
            await outbox.write(self._database, event, source=SOURCE)
        except JettyThunderError as error:
            log.error("streamed bytes not counted", asset_id=str(asset.id), sent_bytes=sent, exc_info=error)


async def _chained(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    try:
        if first:
            yield first
        # It would stay in memory for as long as the stream lasts.
        del first
        async for block in rest:
            yield block
    finally:
        await rest.aclose()


class StreamAnswer(StreamingResponse):
    """The answer with an asset's bytes.

    A block is read for it only after its client has taken the one before, so that a client that reads slowly
    holds one block of the process's memory, and not two.
    """

    async def stream_response(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for block in self.body_iterator:
            await send({"type": "http.response.body", "body": block, "more_body": True})
            # The server waits for the client before it takes a message, not after it.
            await send({"type": "http.response.body", "body": b"", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
