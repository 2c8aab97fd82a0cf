"""Chunks that clients send to an edge, on fakes."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID

import pytest
from starlette.requests import ClientDisconnect
from tests.support.virtual_time import now, run_virtually

from chunk_worker.chunks.storing import ChunkStore
from chunk_worker.edge.ingest import EdgeIngest
from chunk_worker.edge.model import InFlight
from chunk_worker.edge.recorder import Recorder
from jettythunder import edge_tokens
from jettythunder.checksums import Checksum
from jettythunder.chunks.attempts import Attempts
from jettythunder.chunks.model import RecordedChunk
from jettythunder.edge_tokens import EdgeToken
from jettythunder.errors import (
    EdgeBusy,
    InvalidField,
    LinkExpired,
    LinkInvalid,
    LinkRevoked,
    TooManyAttempts,
    TruncatedBody,
    UploadNotOpen,
    UploadTimedOut,
)
from jettythunder.signatures import SigningKeys, new_signing_key
from jettythunder.slots import Slots

from .fakes import ACCOUNT_ID, BUCKET, EPOCH, UPLOAD_ID, FakeChunks, FakeStorage, blocks_of, md5_of

OTHER_ID = UUID(int=99)
DATA = b"the bytes of a chunk"
KEYS = SigningKeys.parse(new_signing_key("test"))
TOKEN = EdgeToken(
    account_id=ACCOUNT_ID,
    upload_id=UPLOAD_ID,
    number=1,
    size_bytes=len(DATA),
    s3_bucket=BUCKET,
    s3_key="accounts/a/key",
    s3_upload_id="multipart",
    epoch=EPOCH,
    expires_at=int(time.time()) + 86_400,
)


def data_of(md5: Checksum) -> str:
    return base64.b64encode(md5.digest).decode()


class Edge:
    """The use-case with its fakes."""

    def __init__(
        self,
        *,
        capacity_bytes: int = 1000,
        stall_seconds: float = 60,
        chunks_per_account: int = 10,
        attempts: int = 10,
    ) -> None:
        self.chunks = FakeChunks()
        self.storage = FakeStorage()
        self.in_flight = InFlight(capacity_bytes, Slots(100, per_holder=chunks_per_account))
        self.ingest = EdgeIngest(
            ChunkStore(self.chunks, self.storage, edge="edge"),
            KEYS.verifying,
            self.in_flight,
            Attempts(attempts),
            Recorder(None, api_key=None),
            stall_seconds=stall_seconds,
            least_bytes_per_second=100,
            late_seconds=60,
        )

    async def take(
        self,
        body: AsyncIterator[bytes] | None = None,
        *,
        token: EdgeToken = TOKEN,
        upload_id: UUID = UPLOAD_ID,
        number: int = 1,
        content_md5: str = data_of(md5_of(DATA)),
        length_bytes: int | None = len(DATA),
    ) -> RecordedChunk:
        return await self.ingest.take(
            upload_id,
            number,
            token=edge_tokens.mint(KEYS, token),
            content_md5=content_md5,
            length_bytes=length_bytes,
            body=blocks_of(DATA) if body is None else body,
        )


async def test_a_chunk_is_stored() -> None:
    edge = Edge()
    stored = await edge.take()
    assert (stored.number, stored.checksum, stored.edge) == (1, md5_of(DATA), "edge")
    assert edge.storage.parts == {1: DATA}
    assert edge.in_flight.bytes == 0


async def test_a_chunk_of_unannounced_length_is_stored() -> None:
    edge = Edge()
    await edge.take(length_bytes=None)
    assert edge.storage.parts == {1: DATA}


@pytest.mark.parametrize(
    "other", [{"upload_id": UUID(int=9)}, {"number": 2}, {"length_bytes": len(DATA) - 1}]
)
async def test_a_token_for_another_chunk_is_refused(other: dict[str, object]) -> None:
    edge = Edge()
    with pytest.raises(LinkInvalid):
        await edge.take(**other)  # type: ignore[arg-type]
    assert edge.storage.parts == {}


@pytest.mark.parametrize("other", [{"s3_key": "accounts/b/key"}, {"s3_upload_id": "another"}])
async def test_a_token_for_another_object_is_refused(other: dict[str, str]) -> None:
    edge = Edge()
    with pytest.raises(LinkInvalid):
        await edge.take(token=replace(TOKEN, **other))  # type: ignore[arg-type]
    assert edge.storage.parts == {}


async def test_an_expired_token_is_refused() -> None:
    with pytest.raises(LinkExpired):
        await Edge().take(token=replace(TOKEN, expires_at=1))


@pytest.mark.parametrize("epoch", [EPOCH - 1, EPOCH + 1])
async def test_a_token_of_another_epoch_was_revoked(epoch: int) -> None:
    edge = Edge()
    await edge.take()
    with pytest.raises(LinkRevoked):
        await edge.take(token=replace(TOKEN, epoch=epoch))


async def test_a_chunk_under_way_is_not_recorded_when_its_token_is_revoked() -> None:
    edge = Edge()
    edge.storage.before_answer = edge.chunks.revoke
    with pytest.raises(UploadNotOpen):
        await edge.take()
    assert edge.chunks.recorded == {}


async def test_a_chunk_is_taken_so_often_and_then_refused_unread() -> None:
    edge = Edge(attempts=2)
    for data in (b"A" * len(DATA), b"B" * len(DATA)):
        await edge.take(blocks_of(data), content_md5=data_of(md5_of(data)))

    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("read")
        yield b""

    with pytest.raises(TooManyAttempts) as caught:
        await edge.take(unread())
    assert caught.value.retry_after_seconds == pytest.approx(900, abs=60)
    # What is recorded answers without being read, and another chunk has its own count.
    await edge.take(unread(), content_md5=data_of(md5_of(b"B" * len(DATA))))
    await edge.take(number=2, token=replace(TOKEN, number=2))


async def test_failed_attempts_count_too() -> None:
    edge = Edge(attempts=1)
    with pytest.raises(TruncatedBody):
        await edge.take(blocks_of(DATA[:-1]))
    with pytest.raises(TooManyAttempts):
        await edge.take()


def test_attempts_are_forgotten_after_a_quarter_of_an_hour() -> None:
    moment = 0.0
    attempts = Attempts(1, clock=lambda: moment)
    attempts.count(UPLOAD_ID, 1)
    moment = 600
    attempts.count(UPLOAD_ID, 2)
    with pytest.raises(TooManyAttempts) as caught:
        attempts.count(UPLOAD_ID, 1)
    assert caught.value.retry_after_seconds == 300
    moment = 900
    attempts.count(UPLOAD_ID, 1)
    with pytest.raises(TooManyAttempts):
        attempts.count(UPLOAD_ID, 2)


async def test_the_checksum_must_be_announced() -> None:
    with pytest.raises(InvalidField):
        await Edge().take(content_md5="")


async def test_a_full_edge_reads_nothing() -> None:
    edge = Edge(capacity_bytes=len(DATA))

    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("read")
        yield b""

    with edge.in_flight.taken(OTHER_ID, 1), pytest.raises(EdgeBusy):
        await edge.take(unread())
    await edge.take()


async def test_a_silent_client_is_given_up() -> None:
    edge = Edge(stall_seconds=0.01)

    async def silent() -> AsyncIterator[bytes]:
        yield DATA[:5]
        await asyncio.Event().wait()

    with pytest.raises(UploadTimedOut):
        await edge.take(silent())
    assert (edge.storage.parts, edge.in_flight.bytes) == ({}, 0)


async def test_a_client_that_disconnects_leaves_nothing() -> None:
    edge = Edge()

    async def cut() -> AsyncIterator[bytes]:
        yield DATA[:5]
        raise ClientDisconnect

    with pytest.raises(TruncatedBody):
        await edge.take(cut())
    assert (edge.chunks.recorded, edge.in_flight.bytes) == ({}, 0)


def test_a_trickle_is_given_up_though_it_never_pauses() -> None:
    async def run() -> None:
        edge = Edge()

        async def trickle() -> AsyncIterator[bytes]:
            for index in range(len(DATA)):
                await asyncio.sleep(20)
                yield DATA[index : index + 1]

        with pytest.raises(UploadTimedOut, match="100 bytes"):
            await edge.take(trickle())
        assert now() == 40
        assert (edge.storage.parts, edge.in_flight.bytes) == ({}, 0)

    run_virtually(run())


def test_a_chunk_ends_soon_after_its_token() -> None:
    async def run() -> None:
        edge = Edge(stall_seconds=10_000)

        async def pausing() -> AsyncIterator[bytes]:
            yield DATA[:5]
            await asyncio.sleep(9_000)
            yield DATA[5:]

        with pytest.raises(UploadTimedOut, match="token expired"):
            await edge.take(pausing(), token=replace(TOKEN, expires_at=int(time.time()) + 100))
        assert 158 <= now() <= 160

    run_virtually(run())


def test_a_chunk_holds_no_more_than_its_buffers() -> None:
    in_flight = InFlight(10 << 20, Slots(100, per_holder=10))
    with in_flight.taken(ACCOUNT_ID, 5_000_000_000), in_flight.taken(OTHER_ID, 5_000_000_000):
        assert in_flight.bytes == 2 << 20
    assert in_flight.bytes == 0


def test_an_account_has_so_many_chunks_in_flight_and_others_have_theirs() -> None:
    in_flight = InFlight(1 << 30, Slots(100, per_holder=2))
    with in_flight.taken(ACCOUNT_ID, 1), in_flight.taken(ACCOUNT_ID, 1):
        with pytest.raises(EdgeBusy), in_flight.taken(ACCOUNT_ID, 1):
            pass
        with in_flight.taken(OTHER_ID, 1):
            assert in_flight.bytes == 3
