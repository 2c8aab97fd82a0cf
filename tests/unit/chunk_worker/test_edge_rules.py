"""The pure rules of an edge."""

import base64
import contextlib

import pytest

from chunk_worker.edge.model import InFlightBytes, parse_content_md5
from chunk_worker.errors import EdgeBusy
from jettythunder.errors import BadRequest, InvalidField


def test_a_checksum_header_is_read() -> None:
    assert parse_content_md5(base64.b64encode(bytes(range(16))).decode()) == bytes(range(16)).hex()


def test_a_missing_checksum_header_is_asked_for() -> None:
    with pytest.raises(BadRequest):
        parse_content_md5(None)


@pytest.mark.parametrize("header", ["", "nonsense", "QUJD", "AAECAwQFBgcICQoLDA0ODw", "ä" * 24])
def test_a_malformed_checksum_header_is_refused(header: str) -> None:
    with pytest.raises(InvalidField):
        parse_content_md5(header)


def test_what_fits_is_admitted() -> None:
    in_flight = InFlightBytes(10)
    with in_flight.taken(6), in_flight.taken(4):
        assert in_flight.bytes == 10
    assert in_flight.bytes == 0


def test_what_does_not_fit_is_refused() -> None:
    in_flight = InFlightBytes(10)
    with in_flight.taken(6), pytest.raises(EdgeBusy), in_flight.taken(5):
        raise AssertionError("admitted")


def test_a_chunk_larger_than_all_the_room_is_admitted_alone() -> None:
    in_flight = InFlightBytes(10)
    with in_flight.taken(11):
        assert in_flight.bytes == 11


def test_a_failed_chunk_gives_its_bytes_back() -> None:
    in_flight = InFlightBytes(10)
    with contextlib.suppress(ValueError), in_flight.taken(6):
        raise ValueError
    assert in_flight.bytes == 0
