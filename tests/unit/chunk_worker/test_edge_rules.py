"""The pure rules of an edge."""

import base64
import contextlib

import pytest

from chunk_worker.edge.model import InFlight, parse_content_md5
from jettythunder.errors import EdgeBusy, InvalidField
from jettythunder.slots import Slots

from .fakes import ACCOUNT_ID


def in_flight_of(capacity_bytes: int) -> InFlight:
    return InFlight(capacity_bytes, Slots(100, per_holder=100))


def test_a_checksum_header_is_read() -> None:
    assert parse_content_md5(base64.b64encode(bytes(range(16))).decode()).digest == bytes(range(16))


@pytest.mark.parametrize("header", ["", "nonsense", "QUJD", "AAECAwQFBgcICQoLDA0ODw", "ä" * 24])
def test_a_malformed_checksum_header_is_refused(header: str) -> None:
    with pytest.raises(InvalidField):
        parse_content_md5(header)


def test_what_fits_is_admitted() -> None:
    in_flight = in_flight_of(10)
    with in_flight.taken(ACCOUNT_ID, 6), in_flight.taken(ACCOUNT_ID, 4):
        assert in_flight.bytes == 10
    assert in_flight.bytes == 0


def test_what_does_not_fit_is_refused() -> None:
    in_flight = in_flight_of(10)
    with in_flight.taken(ACCOUNT_ID, 6), pytest.raises(EdgeBusy), in_flight.taken(ACCOUNT_ID, 5):
        raise AssertionError("admitted")


def test_a_chunk_larger_than_all_the_room_is_admitted_alone() -> None:
    in_flight = in_flight_of(10)
    with in_flight.taken(ACCOUNT_ID, 11):
        assert in_flight.bytes == 11


def test_a_failed_chunk_gives_its_bytes_back() -> None:
    in_flight = in_flight_of(10)
    with contextlib.suppress(ValueError), in_flight.taken(ACCOUNT_ID, 6):
        raise ValueError
    assert in_flight.bytes == 0
