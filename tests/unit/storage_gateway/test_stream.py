"""Streams: bandwidth is held before the first byte, and what was sent is counted."""

import asyncio
from uuid import UUID

import pytest
from tests.support.virtual_time import run_virtually

from jettythunder.contracts.assets import AssetStreamedV1
from jettythunder.errors import StorageUnavailable
from storage_gateway.assets.model import Asset
from storage_gateway.assets.ranges import ByteRange
from storage_gateway.assets.stream import Bandwidth, Streams, StreamSlots
from storage_gateway.errors import BandwidthQuotaExceeded, TooManyStreams

from .fakes import ACCOUNT_ID, HOLD_SECONDS, QUOTA_BYTES, Gateway, made_asset, others_run

CONTENT = b"0123456789"


class Player:
    """An asset with its object, and streams of it."""

    def __init__(self) -> None:
        self.gateway = Gateway()
        self.bandwidth = Bandwidth(self.gateway.assets, hold_seconds=HOLD_SECONDS)
        self.streams = Streams(
            self.gateway.database,
            self.gateway.storage,
            self.bandwidth,
            StreamSlots(10, per_account=3, per_link=2),
        )
        self.asset: Asset = self.gateway.state.add_asset(made_asset(size_bytes=len(CONTENT)))
        self.gateway.storage.objects[self.asset.s3_key] = CONTENT

    async def play(self, start: int = 0, end: int = len(CONTENT) - 1, *, most_blocks: int = 100) -> bytes:
        """Read a range, and go away after so many blocks."""
        stream = await self.streams.open(self.asset, ByteRange(start, end, len(CONTENT)))
        received = b""
        async for block in stream:
            received += block
            most_blocks -= 1
            if most_blocks == 0:
                break
        await stream.aclose()
        return received

    async def counted(self) -> list[int]:
        """What was counted for each stream, once all of it is."""
        await self.streams.close()
        events = [event for event in self.gateway.state.events if isinstance(event, AssetStreamedV1)]
        assert all((event.account_id, event.asset_id) == (ACCOUNT_ID, self.asset.id) for event in events)
        assert all(isinstance(event.reservation_id, UUID) for event in events)
        return [event.sent_bytes for event in events]


async def test_a_stream_that_is_read_to_its_end_is_counted_whole() -> None:
    player = Player()
    assert await player.play() == CONTENT
    assert await player.counted() == [len(CONTENT)]
    assert player.gateway.state.free_bandwidth == QUOTA_BYTES - len(CONTENT)


async def test_a_range_holds_and_counts_its_own_bytes() -> None:
    player = Player()
    assert await player.play(2, 5) == b"2345"
    assert await player.counted() == [4]
    assert player.gateway.state.free_bandwidth == QUOTA_BYTES - 4


async def test_where_the_reader_goes_away_what_was_sent_is_counted() -> None:
    player = Player()
    assert await player.play(most_blocks=2) == b"012345"
    assert await player.counted() == [6]
    assert player.gateway.storage.reads_open == 0


async def test_where_the_storage_breaks_off_what_was_sent_is_counted() -> None:
    player = Player()
    player.gateway.storage.cut_bytes = 5
    with pytest.raises(StorageUnavailable):
        await player.play()
    assert await player.counted() == [5]


async def test_without_room_nothing_is_read() -> None:
    player = Player()
    player.gateway.state.free_bandwidth = len(CONTENT) - 1
    with pytest.raises(BandwidthQuotaExceeded) as caught:
        await player.play()
    assert caught.value.extra["requested_bytes"] == len(CONTENT)
    assert await player.counted() == []


async def test_an_object_that_is_not_there_is_an_error_before_the_answer_begins() -> None:
    player = Player()
    player.gateway.storage.objects.clear()
    with pytest.raises(StorageUnavailable, match="not in the object storage"):
        await player.streams.open(player.asset, ByteRange.whole(len(CONTENT)))
    # What was held for it is given back.
    assert await player.counted() == [0]


async def test_a_storage_that_does_not_answer_is_an_error_before_the_answer_begins() -> None:
    player = Player()
    player.gateway.storage.is_down = True
    with pytest.raises(StorageUnavailable):
        await player.streams.open(player.asset, ByteRange.whole(len(CONTENT)))
    assert await player.counted() == [0]


async def test_a_stream_that_nobody_reads_is_counted_too() -> None:
    player = Player()
    stream = await player.streams.open(player.asset, ByteRange.whole(len(CONTENT)))
    await stream.aclose()
    # Its generator is closed by the event loop, once nobody refers to it any more.
    for _ in range(5):
        await others_run()
    # What was read ahead counts as sent: it may be in a socket's buffer.
    assert await player.counted() == [3]


def test_what_is_held_is_kept_while_its_stream_is_read_and_no_longer() -> None:
    player = Player()

    async def read_slowly() -> None:
        player.bandwidth.start()
        stream = await player.streams.open(player.asset, ByteRange.whole(len(CONTENT)))
        await asyncio.sleep(HOLD_SECONDS)
        async for _ in stream:
            pass
        await asyncio.sleep(HOLD_SECONDS)
        await player.streams.close()
        await player.bandwidth.close()

    run_virtually(read_slowly())
    (event,) = [event for event in player.gateway.state.events if isinstance(event, AssetStreamedV1)]
    # Often enough that one that fails does no harm.
    assert len(player.gateway.assets.kept) >= 3
    assert all(kept == {event.reservation_id} for kept in player.gateway.assets.kept)


async def test_an_account_has_so_many_streams_at_once() -> None:
    player = Player()
    whole = ByteRange.whole(len(CONTENT))
    under_way = [await player.streams.open(player.asset, whole) for _ in range(3)]
    with pytest.raises(TooManyStreams):
        await player.play()
    async for _ in under_way[0]:
        pass
    assert await player.play() == CONTENT


async def test_a_link_has_so_many_streams_at_once() -> None:
    player = Player()
    whole = ByteRange.whole(len(CONTENT))
    under_way = [await player.streams.open(player.asset, whole, link="signature") for _ in range(2)]
    with pytest.raises(TooManyStreams):
        await player.streams.open(player.asset, whole, link="signature")
    # Its owner may have more, and the link too once one of its streams is over.
    assert await player.play() == CONTENT
    async for _ in under_way[0]:
        pass
    await player.streams.open(player.asset, whole, link="signature")


async def test_a_stream_that_is_refused_or_fails_takes_no_slot() -> None:
    player = Player()
    player.gateway.state.free_bandwidth = 0
    for _ in range(4):
        with pytest.raises(BandwidthQuotaExceeded):
            await player.play()
    player.gateway.state.free_bandwidth = QUOTA_BYTES
    player.gateway.storage.is_down = True
    for _ in range(4):
        with pytest.raises(StorageUnavailable):
            await player.play()
    player.gateway.storage.is_down = False
    assert await player.play() == CONTENT
