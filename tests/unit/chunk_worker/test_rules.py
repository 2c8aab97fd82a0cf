"""The pure rules of chunks."""

from dataclasses import replace

import pytest

from jettythunder.chunks.model import RecordedChunk, Upload, stored_already
from jettythunder.errors import LinkInvalid, LinkRevoked, UploadNotOpen

from .fakes import EPOCH, OPEN_UPLOAD, made_chunk, md5_of

CHUNK = made_chunk(b"bytes", number=7)
RECORDED = RecordedChunk(number=7, size_bytes=5, checksum=CHUNK.checksum, etag='"etag"', edge="e")
OTHER = replace(RECORDED, checksum=md5_of(b"other"))
JOINING = replace(OPEN_UPLOAD, takes_chunks=False)
COMPLETED = replace(OPEN_UPLOAD, takes_chunks=False, s3_upload_id=None)
ABORTED = replace(OPEN_UPLOAD, takes_chunks=False, keeps_chunks=False)


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


@pytest.mark.parametrize("recorded", [None, RECORDED])
def test_a_chunk_of_an_earlier_epoch_is_refused(recorded: RecordedChunk | None) -> None:
    upload = replace(OPEN_UPLOAD, recorded=recorded)
    assert stored_already(upload, replace(CHUNK, epoch=EPOCH)) is recorded
    with pytest.raises(LinkRevoked):
        stored_already(upload, replace(CHUNK, epoch=EPOCH - 1))
