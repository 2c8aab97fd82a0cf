"""The pure rules of chunks."""

from dataclasses import replace
from uuid import UUID

import pytest

from chunk_worker.chunks.model import RecordedChunk, Upload, check_source, stored_already
from jettythunder.errors import LinkInvalid, UploadNotOpen

from .fakes import OPEN_UPLOAD, made_chunk

UPLOAD = UUID(int=1)
SIGNED = "?expires_at=1&signature=s"
SOURCE = f"http://gateway:3000/internal/chunks/{UPLOAD}/7"
CHUNK = made_chunk(b"bytes", number=7)
RECORDED = RecordedChunk(number=7, size_bytes=5, md5=CHUNK.md5, etag='"etag"', edge="e")
OTHER = replace(RECORDED, md5="0" * 32)
JOINING = replace(OPEN_UPLOAD, takes_chunks=False)
COMPLETED = replace(OPEN_UPLOAD, takes_chunks=False, s3_upload_id=None)
ABORTED = replace(OPEN_UPLOAD, takes_chunks=False, keeps_chunks=False)


def test_a_gateway_s_address_is_taken() -> None:
    check_source(SOURCE + SIGNED, upload_id=UPLOAD, number=7, prefixes=())


@pytest.mark.parametrize(
    "url",
    [
        SOURCE,
        f"{SOURCE}?signature=s",
        f"{SOURCE}{SIGNED}&signature=t",
        f"file:///internal/chunks/{UPLOAD}/7{SIGNED}",
        f"http://gateway/other/../internal/chunks/{UPLOAD}/7{SIGNED}",
        f"http://gateway/internal/chunks/{UPLOAD}/8{SIGNED}",
        f"http://gateway/internal/chunks/{UUID(int=2)}/7{SIGNED}",
        "http://[broken",
    ],
)
def test_another_address_is_refused(url: str) -> None:
    with pytest.raises(LinkInvalid):
        check_source(url, upload_id=UPLOAD, number=7, prefixes=())


@pytest.mark.parametrize(
    "prefix", ["http://gateway:3000.example/", "https://gateway:3000/", "http://gatewa/"]
)
def test_an_address_outside_the_list_is_refused(prefix: str) -> None:
    with pytest.raises(LinkInvalid):
        check_source(SOURCE + SIGNED, upload_id=UPLOAD, number=7, prefixes=(prefix,))


def test_an_address_on_the_list_is_taken() -> None:
    prefixes = ("http://other/", "http://gateway:3000/")
    check_source(SOURCE + SIGNED, upload_id=UPLOAD, number=7, prefixes=prefixes)


@pytest.mark.parametrize("recorded", [None, OTHER])
def test_an_open_upload_takes_new_bytes(recorded: RecordedChunk | None) -> None:
    assert stored_already(replace(OPEN_UPLOAD, recorded=recorded), CHUNK) is None


@pytest.mark.parametrize("upload", [JOINING, COMPLETED, ABORTED])
@pytest.mark.parametrize("recorded", [None, OTHER])
def test_a_closed_upload_takes_no_new_bytes(upload: Upload, recorded: RecordedChunk | None) -> None:
    with pytest.raises(UploadNotOpen):
        stored_already(replace(upload, recorded=recorded), CHUNK)


@pytest.mark.parametrize("upload", [OPEN_UPLOAD, JOINING, COMPLETED])
def test_the_same_bytes_are_answered_from_the_record(upload: Upload) -> None:
    assert stored_already(replace(upload, recorded=RECORDED), CHUNK) is RECORDED


def test_a_failed_upload_s_record_answers_nothing() -> None:
    with pytest.raises(UploadNotOpen):
        stored_already(replace(ABORTED, recorded=RECORDED), CHUNK)


def test_an_upload_without_multipart_upload_takes_no_chunk() -> None:
    with pytest.raises(UploadNotOpen):
        stored_already(replace(OPEN_UPLOAD, s3_upload_id=None), CHUNK)


@pytest.mark.parametrize("recorded", [None, RECORDED])
@pytest.mark.parametrize("other", [{"s3_key": "another/key"}, {"s3_upload_id": "another"}])
def test_a_chunk_for_another_object_is_refused(recorded: RecordedChunk | None, other: dict[str, str]) -> None:
    with pytest.raises(LinkInvalid):
        stored_already(replace(OPEN_UPLOAD, recorded=recorded), replace(CHUNK, **other))  # type: ignore[arg-type]
