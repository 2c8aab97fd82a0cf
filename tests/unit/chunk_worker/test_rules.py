"""The pure rules of chunks."""

import base64
import contextlib
from uuid import UUID

import pytest

from chunk_worker.domain import (
    ByteBudget,
    Progress,
    RecordedChunk,
    check_source,
    parse_content_md5,
    stored_already,
)
from jettythunder.errors import BadRequest, EdgeBusy, InvalidField, LinkInvalid, UploadNotOpen

UPLOAD = UUID(int=1)
SIGNED = "?expires_at=1&signature=s"
SOURCE = f"http://gateway:3000/internal/chunks/{UPLOAD}/7"
RECORDED = RecordedChunk(number=7, size_bytes=1, md5="aa", etag='"aa"', edge="e")


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


@pytest.mark.parametrize("status", ["created", "receiving"])
def test_an_open_upload_takes_new_bytes(status: str) -> None:
    assert stored_already(Progress(status, None), "aa") is None
    assert stored_already(Progress(status, RECORDED), "bb") is None


@pytest.mark.parametrize("status", ["completing", "completed", "aborted", "expired"])
def test_a_closed_upload_takes_no_new_bytes(status: str) -> None:
    with pytest.raises(UploadNotOpen):
        stored_already(Progress(status, None), "aa")


@pytest.mark.parametrize("status", ["created", "receiving", "completing", "completed"])
def test_the_same_bytes_are_answered_from_the_record(status: str) -> None:
    assert stored_already(Progress(status, RECORDED), "aa") is RECORDED


@pytest.mark.parametrize("status", ["aborted", "expired"])
def test_a_failed_upload_s_record_answers_nothing(status: str) -> None:
    with pytest.raises(UploadNotOpen):
        stored_already(Progress(status, RECORDED), "aa")


def test_a_checksum_header_is_read() -> None:
    assert parse_content_md5(base64.b64encode(bytes(range(16))).decode()) == bytes(range(16)).hex()


def test_a_missing_checksum_header_is_asked_for() -> None:
    with pytest.raises(BadRequest):
        parse_content_md5(None)


@pytest.mark.parametrize("header", ["", "nonsense", "QUJD", "AAECAwQFBgcICQoLDA0ODw", "ä" * 24])
def test_a_malformed_checksum_header_is_refused(header: str) -> None:
    with pytest.raises(InvalidField):
        parse_content_md5(header)


def test_a_budget_lets_in_what_fits() -> None:
    budget = ByteBudget(10)
    with budget.taken(6), budget.taken(4):
        assert budget.in_flight_bytes == 10
    assert budget.in_flight_bytes == 0


def test_a_budget_refuses_what_does_not_fit() -> None:
    budget = ByteBudget(10)
    with budget.taken(6), pytest.raises(EdgeBusy), budget.taken(5):
        raise AssertionError("let in")


def test_a_chunk_larger_than_the_budget_is_let_in_alone() -> None:
    budget = ByteBudget(10)
    with budget.taken(11):
        assert budget.in_flight_bytes == 11


def test_a_failed_chunk_gives_its_bytes_back() -> None:
    budget = ByteBudget(10)
    with contextlib.suppress(ValueError), budget.taken(6):
        raise ValueError
    assert budget.in_flight_bytes == 0
