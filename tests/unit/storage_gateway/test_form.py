"""The form parser: however the network slices a body, the parts are the same."""

import asyncio
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from jettythunder.errors import InvalidField, JettyThunderError, TruncatedBody, UploadTimedOut
from storage_gateway.errors import MalformedForm, UnsupportedMediaType
from storage_gateway.uploads.form import Form

BOUNDARY = "b0undary"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"

PartSeen = tuple[str, str | None, bytes]


def encoded(parts: Iterable[PartSeen]) -> bytes:
    body = bytearray()
    for name, filename, content in parts:
        disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
        body += f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + content + b"\r\n"
    return bytes(body) + f"--{BOUNDARY}--\r\n".encode()


def request(
    slices: Iterable[bytes],
    *,
    content_type: str = CONTENT_TYPE,
    length: int | None = None,
    hangs: bool = False,
) -> Request:
    """A request whose body arrives in these slices; then it ends, or hangs."""
    messages: list[Message] = [{"type": "http.request", "body": s, "more_body": True} for s in slices]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Message:
        if hangs and len(messages) == 1:
            await asyncio.Event().wait()
        return messages.pop(0)

    headers = [(b"content-type", content_type.encode())]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


async def read(form: Form) -> list[PartSeen]:
    seen: list[PartSeen] = []
    async for part in form.parts():
        content = b"".join([bytes(block) async for block in part.blocks()])
        seen.append((part.name, part.filename, content))
    return seen


def refusal(slices: Iterable[bytes], **how: str) -> JettyThunderError:
    with pytest.raises(JettyThunderError) as caught:
        asyncio.run(read(Form(request(slices, **how), timeout_seconds=5)))  # type: ignore[arg-type]
    return caught.value


# What looks like a boundary is where parsers go wrong.
contents = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"-", b"--", BOUNDARY.encode(), b"\r\n--", b"\r\n--b0und", b"x"])
    | st.binary(max_size=20)
).map(b"".join)
bodies = st.lists(
    st.tuples(
        st.sampled_from(["file", "cache_key", "content_hash"]), st.sampled_from([None, "a.bin"]), contents
    ),
    min_size=1,
    max_size=4,
).filter(lambda parts: not any(f"\r\n--{BOUNDARY}".encode() in b"\r\n" + c for _, _, c in parts))


@settings(max_examples=200)
@given(parts=bodies, cuts=st.lists(st.floats(0, 1), max_size=40))
@example(parts=[("file", "a.bin", b"\r\n--b0undar" * 5)], cuts=[i / 200 for i in range(200)])
def test_any_slicing_gives_the_same_parts(parts: list[PartSeen], cuts: list[float]) -> None:
    body = encoded(parts)
    places = sorted({round(cut * len(body)) for cut in cuts} | {0, len(body)})
    slices = [body[start:end] for start, end in pairwise(places)]
    assert asyncio.run(read(Form(request(slices), timeout_seconds=5))) == parts


@settings(max_examples=100)
@given(parts=bodies, data=st.data())
def test_a_body_cut_anywhere_is_refused(parts: list[PartSeen], data: st.DataObject) -> None:
    body = encoded(parts)
    # The closing boundary is complete without its line end.
    cut = data.draw(st.integers(0, len(body) - len("\r\n") - 1))
    assert isinstance(refusal([body[:cut]]), TruncatedBody | MalformedForm)


@given(content=st.binary(max_size=2000), cut=st.integers(0, 3000))
@settings(max_examples=50)
def test_the_last_part_s_size_is_known_from_its_first_byte(content: bytes, cut: int) -> None:
    body = encoded([("cache_key", None, b"k"), ("file", "a.bin", b"." + content)])
    slices = [body[:cut], body[cut:]]

    async def first_guess() -> int | None:
        form = Form(request(filter(None, slices), length=len(body)), timeout_seconds=5)
        async for part in form.parts():
            async for _ in part.blocks():
                if part.name == "file":
                    return part.most_bytes()
        return None

    # The epilogue's line end may belong to the body or be left out: the guess is never below the truth.
    guess = asyncio.run(first_guess())
    assert guess is not None
    assert 0 <= guess - (len(content) + 1) <= len("\r\n")


def test_a_body_of_unknown_length_has_no_size_to_begin_with() -> None:
    async def guess() -> int | None:
        form = Form(request([encoded([("file", "a.bin", b"abc")])]), timeout_seconds=5)
        async for part in form.parts():
            async for _ in part.blocks():
                return part.most_bytes()
        return 0

    assert asyncio.run(guess()) is None


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        f"multipart/mixed; boundary={BOUNDARY}",
        "multipart/form-data; boundary=" + "x" * 300,
    ],
)
def test_what_is_no_form_is_refused_at_once(content_type: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        Form(request([], content_type=content_type), timeout_seconds=5)


@pytest.mark.parametrize(
    "body",
    [
        b"no boundary here",
        b"--another\r\n\r\nx\r\n--another--\r\n",
        b"--b0undary\r\nBad header\r\n\r\nx\r\n--b0undary--\r\n",
        encoded([("f", None, b"x")] * 51),
        encoded([("f" * 20_000, None, b"x")]),
    ],
    ids=["no boundary", "another boundary", "bad header", "too many parts", "long header"],
)
def test_what_is_malformed_is_refused(body: bytes) -> None:
    assert isinstance(refusal([body]), MalformedForm)


def seen_part(disposition: str) -> PartSeen:
    """The part that a form with this Content-Disposition has."""
    body = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\nx\r\n--{BOUNDARY}--\r\n"
    (seen,) = asyncio.run(read(Form(request([body.encode()]), timeout_seconds=5)))
    return seen


@pytest.mark.parametrize(
    ("disposition", "name", "filename"),
    [
        ('form-data; name="file"; filename="a b.txt"', "file", "a b.txt"),
        ("form-data; name=file; filename=a.txt", "file", "a.txt"),
        ('FORM-DATA; Name="file"; FileName="a.txt"', "file", "a.txt"),
        ('form-data; name="file"; filename="ü.txt"', "file", "ü.txt"),
        ('form-data; name="file"; filename="a\\"b.txt"', "file", 'a"b.txt'),
        ('form-data; name="file"; filename="a%22b.txt"', "file", 'a"b.txt'),
        ('form-data; name="file"; filename="a;b.txt"', "file", "a;b.txt"),
        ('form-data; name="file"; filename=""', "file", ""),
        ("form-data; name=\"file\"; filename*=UTF-8''%e2%82%ac.txt", "file", "€.txt"),
        ('form-data; name="file"; filename="x.txt"; filename*=utf-8\'\'%C3%BC.txt', "file", "ü.txt"),
        ('form-data; name="filename"', "filename", None),
        ('form-data; name="the filename of it"', "the filename of it", None),
        ("form-data", "", None),
        ("", "", None),
    ],
)
def test_a_part_has_the_names_of_its_disposition(disposition: str, name: str, filename: str | None) -> None:
    assert seen_part(disposition) == (name, filename, b"x")


@pytest.mark.parametrize(
    "disposition", ['form-data; name="file"; filename="a.txt', 'form-data; name="file"; filename=']
)
def test_a_file_name_that_can_not_be_read_is_refused(disposition: str) -> None:
    with pytest.raises(MalformedForm, match="file name"):
        seen_part(disposition)


def test_a_field_that_is_too_long_is_refused() -> None:
    async def texts() -> None:
        form = Form(request([encoded([("cache_key", None, b"k" * 9000)])]), timeout_seconds=5)
        async for part in form.parts():
            await part.text()

    with pytest.raises(InvalidField, match="8192"):
        asyncio.run(texts())


def test_a_client_that_sends_nothing_for_too_long_is_refused() -> None:
    body = encoded([("file", "a.bin", b"abc")])
    with pytest.raises(UploadTimedOut):
        asyncio.run(read(Form(request([body[:70]], hangs=True), timeout_seconds=0.01)))
