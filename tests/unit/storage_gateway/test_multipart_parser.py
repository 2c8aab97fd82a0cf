"""The multipart parser (RFC 2046, section 5.1.1): however a body is cut, it gives the same tokens."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.multipart import BOUNDARY, DELIMITER, END, FRAGMENTS, HEADERS, parse

from jettythunder.errors import JettyThunderError, TruncatedBody
from storage_gateway.errors import MalformedForm
from storage_gateway.uploads.form import MultipartParser, PartData, PartEnd


def cut(body: bytes, places: Iterable[int]) -> list[bytes]:
    borders = sorted({place % (len(body) + 1) for place in places} | {0, len(body)})
    return [body[begin:end] for begin, end in pairwise(borders)]


def contents(body: bytes) -> list[bytes]:
    parts, error = parse([body])
    assert error is None
    return [content for _, _, content, _ in parts]


def refusal(body: bytes) -> type[JettyThunderError] | None:
    return parse([body])[1]


# Any bytes, with what parsers go wrong at.
bodies = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=4), max_size=25).map(b"".join)


@settings(max_examples=400)
@given(body=bodies, places=st.lists(st.integers(0, 10**6), max_size=30))
@example(body=b"--" + BOUNDARY + b"\r\n" + HEADERS + DELIMITER[:-1] * 5 + END, places=list(range(200)))
def test_any_cuts_give_the_same_parts_and_the_same_error(body: bytes, places: list[int]) -> None:
    parts, error = parse(cut(body, places))
    whole_parts, whole_error = parse([body])
    assert error is whole_error
    # Of a malformed body the parts before the error may have been seen, or not.
    if error is not MalformedForm:
        assert parts == whole_parts


@settings(max_examples=200)
@given(sent=st.lists(bodies, max_size=5))
def test_parts_come_out_as_they_went_in(sent: list[bytes]) -> None:
    sent = [content for content in sent if DELIMITER not in b"\r\n" + content]
    body = b"".join(b"--" + BOUNDARY + b"\r\n" + HEADERS + content + b"\r\n" for content in sent)
    body += b"--" + BOUNDARY + b"--\r\n"
    parts, error = parse([body])
    assert error is None
    assert [content for _, _, content, _ in parts] == sent
    assert all(is_ended for _, _, _, is_ended in parts)
    assert all(begin is None or body[begin:].startswith(content) for _, begin, content, _ in parts)


LIMIT_BYTES = 16_384
PREAMBLE_BYTES = 65_536


@pytest.mark.parametrize(
    ("begin", "filling", "end", "limit_bytes"),
    [
        (b"", b"x", DELIMITER + b"\r\n" + HEADERS + END, PREAMBLE_BYTES),
        (b"--" + BOUNDARY, b" ", b"\r\n" + HEADERS + END, LIMIT_BYTES),
        (b"--" + BOUNDARY + b"\r\n", b"n:", b"\r\n\r\n" + END, LIMIT_BYTES),
    ],
    ids=["preamble", "blanks after a boundary", "headers"],
)
@pytest.mark.parametrize("block_bytes", [1000, 1 << 20])
def test_what_surrounds_the_parts_has_a_limit_however_it_is_cut(
    begin: bytes, filling: bytes, end: bytes, limit_bytes: int, block_bytes: int
) -> None:
    def outcome(size_bytes: int) -> type[JettyThunderError] | None:
        body = begin + (filling * size_bytes)[:size_bytes] + end
        return parse(body[at : at + block_bytes] for at in range(0, len(body), block_bytes))[1]

    assert outcome(limit_bytes) is None
    assert outcome(limit_bytes + 1) is MalformedForm


@pytest.mark.parametrize("extra", range(1, 5))
def test_headers_of_the_longest_size_may_be_cut_within_their_end(extra: int) -> None:
    headers = b"n:" + b"x" * (LIMIT_BYTES - 2)
    begin = b"--" + BOUNDARY + b"\r\n" + headers
    body = begin + b"\r\n\r\n" + END
    assert parse(cut(body, [len(begin) + extra]))[1] is None


def test_what_stands_around_the_parts_is_passed_over() -> None:
    body = b"preamble\r\n--" + BOUNDARY + b" \t\r\n" + HEADERS + b"content" + END + b"epilogue" + DELIMITER
    assert contents(body) == [b"content"]


def test_what_only_looks_like_a_boundary_belongs_to_the_part() -> None:
    lookalikes = [
        b"--" + BOUNDARY,
        b"\n--" + BOUNDARY,
        b"\r--" + BOUNDARY,
        b"\r\n-" + BOUNDARY,
        DELIMITER[:-1] + b"Y",
        b"\r\r\n--" + BOUNDARY[:-1],
    ]
    content = b"x" + b"x".join(lookalikes)
    assert contents(b"--" + BOUNDARY + b"\r\n" + HEADERS + content + END) == [content]


def test_a_part_may_have_no_headers_and_no_bytes() -> None:
    parts, error = parse([b"--" + BOUNDARY + b"\r\n\r\n" + DELIMITER + b"\r\n" + HEADERS + END])
    assert error is None
    assert [(values, content) for values, _, content, _ in parts] == [
        ({}, b""),
        ({"content-disposition": "form-data; name=file"}, b""),
    ]


def test_names_of_headers_are_lower_case_and_values_utf_8() -> None:
    headers = 'CONTENT-Type:text/plain \r\nX-Name : "ü"\r\n\r\n'.encode()
    parts, _ = parse([b"--" + BOUNDARY + b"\r\n" + headers + END])
    assert parts[0][0] == {"content-type": "text/plain", "x-name": '"ü"'}


@pytest.mark.parametrize(
    "body",
    [
        b"no boundary here",
        b"--another\r\n" + HEADERS + b"x\r\n--another--\r\n",
        b"--" + BOUNDARY + b"-\r\n" + HEADERS + END,
        b"--" + BOUNDARY + b"Y\r\n" + HEADERS + END,
        b"--" + BOUNDARY + b"\r\nno colon\r\n\r\n" + END,
        b"--" + BOUNDARY + b"\r\nfolded: x\r\n y\r\n\r\n" + END,
        (b"--" + BOUNDARY + b"\r\n\r\n\r\n") * 51,
    ],
    ids=["no boundary", "another", "one dash", "a longer one", "no colon", "folded header", "51 parts"],
)
def test_what_is_malformed_is_refused(body: bytes) -> None:
    assert refusal(body) is MalformedForm


@pytest.mark.parametrize(
    "body", [b"", b"--" + BOUNDARY, b"--" + BOUNDARY + b"\r\n" + HEADERS + b"x" + DELIMITER]
)
def test_a_body_that_ends_early_is_truncated(body: bytes) -> None:
    assert refusal(body) is TruncatedBody


@pytest.mark.parametrize(
    "flood", [b"\r", b"\r\n", b"\r\n--", DELIMITER[:-1], b"\r" * 64 + DELIMITER[:-1]], ids=repr
)
@pytest.mark.parametrize("block_bytes", [1, 7, 97])
def test_no_byte_is_held_back_but_what_may_begin_a_boundary(flood: bytes, block_bytes: int) -> None:
    """So each byte is looked at once or twice, and no flood takes more than linear time."""
    content = flood * (5_000 // len(flood))
    parser = MultipartParser(BOUNDARY)
    parser.feed(b"--" + BOUNDARY + b"\r\n" + HEADERS)
    emitted = 0
    for at in range(0, len(content), block_bytes):
        tokens = parser.feed(content[at : at + block_bytes])
        emitted += sum(len(token.block) for token in tokens if isinstance(token, PartData))
        fed = min(at + block_bytes, len(content))
        assert fed - len(DELIMITER) < emitted <= fed
    assert isinstance(parser.feed(END)[-1], PartEnd)
    assert parser.is_over
