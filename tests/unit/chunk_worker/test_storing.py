"""Storing chunks that gateways hold, on fakes."""

import time
from dataclasses import replace
from uuid import uuid4

import pytest

from chunk_worker.chunks.gateways import GatewayAddresses
from chunk_worker.chunks.spooled import SpooledChunks
from chunk_worker.chunks.storing import ChunkStore
from jettythunder.chunk_urls import ChunkUrls
from jettythunder.chunks.model import Chunk, RecordedChunk
from jettythunder.contracts.uploads import ChunkFailedV1, ChunkUploadedV1
from jettythunder.errors import (
    ChecksumMismatch,
    ChunkGone,
    ConfigurationError,
    LinkInvalid,
    StorageUnavailable,
    UploadNotFound,
    UploadNotOpen,
)

from .fakes import ACCOUNT_ID, UPLOAD_ID, FakeChunks, FakeSpools, FakeStorage, made_chunk, md5_of

DATA = b"the bytes of a chunk"
URLS = ChunkUrls(["a key of at least thirty-two characters"])
EXPIRES_AT = int(time.time()) + 86_400
URL = URLS.signed("http://gateway", UPLOAD_ID, 1, expires_at=EXPIRES_AT)


class Worker:
    """The use-case with its fakes."""

    def __init__(self) -> None:
        self.chunks = FakeChunks()
        self.storage = FakeStorage()
        self.spools = FakeSpools()
        self.spooled = SpooledChunks(
            ChunkStore(self.chunks, self.storage, edge="edge"),
            self.spools,
            self.chunks,
            URLS,
            gateways=GatewayAddresses("http://gateway"),
            edge="edge",
        )

    async def store(self, data: bytes = DATA, *, chunk: Chunk | None = None) -> RecordedChunk:
        """Have a gateway hold the data and command to store it, as this chunk."""
        self.spools.chunks[URL] = data
        return await self.spooled.store(chunk or made_chunk(data), source_url=URL)

    @property
    def failures(self) -> list[str]:
        return [event.code for event in self.chunks.events if isinstance(event, ChunkFailedV1)]


async def test_a_chunk_is_stored_recorded_and_published() -> None:
    worker = Worker()
    stored = await worker.store()
    assert stored == RecordedChunk(1, len(DATA), md5_of(DATA), f'"{md5_of(DATA)}"', "edge")
    assert worker.storage.parts == {1: DATA}
    assert worker.chunks.recorded == {1: stored}
    assert worker.chunks.events == [
        ChunkUploadedV1(
            account_id=ACCOUNT_ID,
            upload_id=UPLOAD_ID,
            number=1,
            size_bytes=len(DATA),
            md5=str(md5_of(DATA)),
            etag=stored.etag,
            edge="edge",
        )
    ]


async def test_a_repeated_chunk_is_answered_without_being_fetched() -> None:
    worker = Worker()
    first = await worker.store()
    assert await worker.store() == first
    assert worker.spools.fetched == [URL]


async def test_a_chunk_whose_record_was_forgotten_is_stored_again() -> None:
    worker = Worker()
    await worker.store()
    worker.storage.parts.clear()
    # As forget_chunks_v1 does, when the gateway finds that the object storage lacks a recorded chunk.
    worker.chunks.recorded.clear()
    await worker.store()
    assert worker.storage.parts == {1: DATA}


async def test_other_bytes_replace_the_chunk() -> None:
    worker = Worker()
    await worker.store(b"first")
    await worker.store(b"second")
    assert worker.storage.parts == {1: b"second"}
    assert worker.chunks.recorded[1].checksum == md5_of(b"second")


async def test_a_closed_upload_takes_no_chunk() -> None:
    worker = Worker()
    worker.chunks.close()
    with pytest.raises(UploadNotOpen):
        await worker.store()
    assert (worker.storage.parts, worker.failures) == ({}, ["upload_not_open"])


async def test_an_upload_that_closes_meanwhile_records_no_chunk() -> None:
    worker = Worker()
    worker.storage.before_answer = worker.chunks.close
    with pytest.raises(UploadNotOpen):
        await worker.store()
    assert worker.chunks.recorded == {}


async def test_a_multipart_upload_that_is_gone_takes_no_chunk() -> None:
    worker = Worker()
    worker.storage.is_aborted = True
    with pytest.raises(UploadNotOpen):
        await worker.store()


@pytest.mark.parametrize("other", [{"s3_key": "accounts/b/key"}, {"s3_upload_id": "another"}])
async def test_a_command_for_another_object_stores_nothing(other: dict[str, str]) -> None:
    worker = Worker()
    with pytest.raises(LinkInvalid):
        await worker.store(chunk=replace(made_chunk(DATA), **other))  # type: ignore[arg-type]
    assert (worker.storage.parts, worker.failures) == ({}, ["link_invalid"])


async def test_another_account_s_upload_is_not_found() -> None:
    with pytest.raises(UploadNotFound):
        await Worker().store(chunk=replace(made_chunk(DATA), account_id=uuid4()))


async def test_another_bucket_is_a_mistake_in_the_configuration() -> None:
    with pytest.raises(ConfigurationError, match="LYVE_BUCKET_NAME"):
        await Worker().store(chunk=replace(made_chunk(DATA), s3_bucket="elsewhere"))


async def test_corrupted_bytes_are_not_recorded_and_may_be_sent_again() -> None:
    worker = Worker()
    with pytest.raises(ChecksumMismatch):
        await worker.store(b"X" + DATA[1:], chunk=made_chunk(DATA))
    assert (worker.chunks.recorded, worker.failures) == ({}, [])


async def test_a_storage_that_is_down_is_no_failure_for_good() -> None:
    worker = Worker()
    worker.storage.is_down = True
    with pytest.raises(StorageUnavailable):
        await worker.store()
    assert worker.chunks.events == []


async def test_a_chunk_that_the_gateway_dropped_fails_for_good() -> None:
    worker = Worker()
    with pytest.raises(ChunkGone):
        await worker.spooled.store(made_chunk(DATA), source_url=URL)
    assert worker.failures == ["chunk_gone"]


@pytest.mark.parametrize(
    "url",
    [
        URLS.signed("http://elsewhere", UPLOAD_ID, 1, expires_at=EXPIRES_AT),
        URLS.signed("http://gateway.example", UPLOAD_ID, 1, expires_at=EXPIRES_AT),
        URLS.signed("http://gateway", UPLOAD_ID, 2, expires_at=EXPIRES_AT),
        f"http://gateway/internal/chunks/{UPLOAD_ID}/1?expires_at={EXPIRES_AT}&signature=x",
    ],
)
async def test_an_address_that_is_no_gateway_s_is_not_fetched(url: str) -> None:
    worker = Worker()
    worker.spools.chunks[url] = DATA
    with pytest.raises(LinkInvalid):
        await worker.spooled.store(made_chunk(DATA), source_url=url)
    assert worker.spools.fetched == []
    assert worker.failures == ["link_invalid"]
