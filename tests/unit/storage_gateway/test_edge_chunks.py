"""Chunks that Workers store: where they go, what is answered from the record, and what is refused."""

import time
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import pytest

from jettythunder import edge_tokens
from jettythunder.checksums import Algorithm, Checksum
from jettythunder.chunks.attempts import Attempts
from jettythunder.chunks.model import RecordedChunk, Upload
from jettythunder.contracts.uploads import ChunkUploadedV1
from jettythunder.edge_tokens import EdgeToken
from jettythunder.errors import (
    EdgeBusy,
    JettyThunderError,
    LinkExpired,
    LinkInvalid,
    LinkRevoked,
    TooManyAttempts,
    UploadNotFound,
    UploadNotOpen,
)
from jettythunder.signatures import SigningKeys, new_signing_key
from storage_gateway.edges.chunks import EdgeChunks

KEYS = SigningKeys.parse(new_signing_key("test"))
MD5 = Checksum(Algorithm.MD5, bytes(range(16)))
OTHER_MD5 = Checksum(Algorithm.MD5, bytes(16))
TOKEN = EdgeToken(
    account_id=UUID(int=1),
    upload_id=UUID(int=2),
    number=3,
    size_bytes=4,
    s3_bucket="bucket",
    s3_key="key",
    s3_upload_id="multipart",
    epoch=5,
    expires_at=int(time.time()) + 86_400,
)
OPEN = Upload(
    takes_chunks=True,
    keeps_chunks=True,
    epoch=TOKEN.epoch,
    s3_key=TOKEN.s3_key,
    s3_upload_id=TOKEN.s3_upload_id,
    recorded=None,
)
RECORDED = RecordedChunk(3, 4, MD5, '"etag"', "cloudflare")


@dataclass
class Chunks:
    """One upload, and the events of its chunks."""

    found: Upload | None = OPEN
    takes: bool = True
    events: list[ChunkUploadedV1] = field(default_factory=list)

    async def upload(self, upload_id: UUID, *, account_id: UUID, number: int) -> Upload | None:
        return self.found if (upload_id, account_id) == (TOKEN.upload_id, TOKEN.account_id) else None

    async def record(self, event: ChunkUploadedV1, *, epoch: int | None) -> bool:
        assert epoch == TOKEN.epoch
        if self.takes:
            self.events.append(event)
        return self.takes


class Parts:
    bucket = "bucket"

    def presign_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        *,
        size_bytes: int,
        seconds: int,
        checksum: Checksum | None,
    ) -> str:
        return f"https://storage/{key}/{upload_id}/{number}/{size_bytes}/{checksum}"


@dataclass
class UnderWay:
    """Chunks under way, as many as there are places; and for how long each is noted."""

    places: int = 64
    chunks: dict[tuple[UUID, UUID, int], float] = field(default_factory=dict)

    async def begin(self, account_id: UUID, upload_id: UUID, number: int, *, seconds: float) -> bool:
        chunk = account_id, upload_id, number
        if chunk not in self.chunks and len(self.chunks) >= self.places:
            return False
        self.chunks[chunk] = seconds
        return True

    async def end(self, account_id: UUID, upload_id: UUID, number: int) -> None:
        self.chunks.pop((account_id, upload_id, number), None)


def made(chunks: Chunks, *, attempts: int = 50, under_way: UnderWay | None = None) -> EdgeChunks:
    return EdgeChunks(chunks, Parts(), KEYS.verifying, Attempts(attempts), under_way or UnderWay())


def token(**other: Any) -> str:
    return edge_tokens.mint(KEYS, replace(TOKEN, **other))


async def test_the_url_takes_these_bytes_as_this_part() -> None:
    assert await made(Chunks()).begin(token(), MD5) == f"https://storage/key/multipart/3/4/{MD5}"


async def test_a_chunk_with_the_recorded_bytes_is_answered_from_the_record() -> None:
    chunks = Chunks(replace(OPEN, recorded=RECORDED))
    assert await made(chunks).begin(token(), MD5) == RECORDED
    assert isinstance(await made(chunks).begin(token(), OTHER_MD5), str)


@pytest.mark.parametrize(
    ("upload", "other", "error"),
    [
        (None, {}, UploadNotFound),
        (OPEN, {"account_id": UUID(int=9)}, UploadNotFound),
        (replace(OPEN, takes_chunks=False), {}, UploadNotOpen),
        (replace(OPEN, epoch=6), {}, LinkRevoked),
        (OPEN, {"s3_key": "another"}, LinkInvalid),
        (OPEN, {"s3_bucket": "another"}, LinkInvalid),
        (OPEN, {"expires_at": int(time.time()) - 1}, LinkExpired),
    ],
)
async def test_what_a_token_does_not_allow_is_refused(
    upload: Upload | None, other: dict[str, Any], error: type[JettyThunderError]
) -> None:
    with pytest.raises(error):
        await made(Chunks(upload)).begin(token(**other), MD5)


async def test_a_chunk_is_sent_a_bounded_number_of_times() -> None:
    under_way = UnderWay()
    chunks = made(Chunks(), attempts=2, under_way=under_way)
    for _ in range(2):
        await chunks.begin(token(), MD5)
    with pytest.raises(TooManyAttempts):
        await chunks.begin(token(), MD5)
    assert not under_way.chunks


async def test_an_account_has_a_bounded_number_of_chunks_under_way() -> None:
    under_way = UnderWay(places=1)
    chunks = made(Chunks(), attempts=2, under_way=under_way)
    await chunks.begin(token(number=1), MD5)
    for _ in range(3):
        with pytest.raises(EdgeBusy):
            await chunks.begin(token(number=2), MD5)
    await chunks.stored(token(number=1), MD5, etag='"etag"', edge="cloudflare")
    # What was refused is not counted as an attempt.
    await chunks.begin(token(number=2), MD5)
    await chunks.failed(token(number=2))
    await chunks.begin(token(number=3), MD5)


async def test_a_chunk_is_under_way_no_longer_than_its_token_lets_it_arrive() -> None:
    under_way = UnderWay()
    await made(Chunks(), under_way=under_way).begin(token(expires_at=int(time.time()) + 500), MD5)
    [seconds] = under_way.chunks.values()
    assert 500 < seconds <= 560


async def test_a_chunk_that_can_t_be_recorded_is_no_longer_under_way() -> None:
    under_way = UnderWay()
    chunks = made(Chunks(takes=False), under_way=under_way)
    await chunks.begin(token(), MD5)
    with pytest.raises(UploadNotOpen):
        await chunks.stored(token(), MD5, etag='"etag"', edge="cloudflare")
    assert not under_way.chunks


async def test_a_stored_chunk_is_recorded_with_its_event() -> None:
    chunks = Chunks()
    stored = await made(chunks).stored(token(), MD5, etag='"etag"', edge="cloudflare")
    assert stored == RECORDED
    [event] = chunks.events
    assert (event.number, event.size_bytes, event.md5, event.edge) == (3, 4, str(MD5), "cloudflare")


async def test_a_chunk_whose_token_expired_on_the_way_is_recorded() -> None:
    expired = token(expires_at=int(time.time()) - 60)
    assert await made(Chunks()).stored(expired, MD5, etag='"etag"', edge="cloudflare") == RECORDED
    long_ago = token(expires_at=int(time.time()) - 3600)
    with pytest.raises(LinkExpired):
        await made(Chunks()).stored(long_ago, MD5, etag='"etag"', edge="cloudflare")


async def test_a_chunk_of_an_upload_that_closed_on_the_way_is_not_recorded() -> None:
    with pytest.raises(UploadNotOpen):
        await made(Chunks(takes=False)).stored(token(), MD5, etag='"etag"', edge="cloudflare")
