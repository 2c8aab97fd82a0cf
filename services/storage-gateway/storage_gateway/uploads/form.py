"""multipart/form-data (RFC 7578), parsed as it arrives: no part is ever held whole."""

import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

from starlette.requests import ClientDisconnect, Request
from werkzeug.http import parse_options_header

from jettythunder.errors import InvalidField, TruncatedBody
from jettythunder.http.pace import Pace
from storage_gateway.errors import MalformedForm, UnsupportedMediaType

_MAX_HEADER_BYTES = 16_384
_MAX_FIELD_BYTES = 8_192
_MAX_PARTS = 50
_MAX_PREAMBLE_BYTES = 65_536
_MAX_BOUNDARY_LENGTH = 256
_NO_BOUNDARY = "The body has no boundary as its Content-Type names it."
_FILENAME = re.compile(r";[ \t]*filename\*?[ \t]*=", re.IGNORECASE)


@dataclass(frozen=True)
class PartHeaders:
    """A part begins; names in lower case."""

    values: dict[str, str]


@dataclass(frozen=True)
class PartData:
    """Some of a part's bytes, and where they begin in the body."""

    block: memoryview
    offset: int


class PartEnd:
    """A part ends."""


Token: TypeAlias = PartHeaders | PartData | PartEnd


class _State(Enum):
    PREAMBLE = auto()
    BOUNDARY = auto()
    HEADERS = auto()
    DATA = auto()
    EPILOGUE = auto()


class MultipartParser:
    """Turns the bytes of a multipart body (RFC 2046, section 5.1.1) into tokens, block by block.

    What stands before the first boundary and after the last is passed over, as are blanks after a boundary.
    """

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._state = _State.PREAMBLE
        # The body is read as if it began with a line break, so that the first boundary is like the others.
        self._held = b"\r\n"
        self._position = -2
        self._parts = 0

    @property
    def is_over(self) -> bool:
        """Whether the last boundary was read."""
        return self._state is _State.EPILOGUE

    def end(self) -> None:
        """Note that the body has ended.

        Raises:
            MalformedForm: it has no boundary at all.
            TruncatedBody: it ended before its last boundary.
        """
        if self._state is _State.PREAMBLE and self._held != b"\r\n":
            raise MalformedForm(_NO_BOUNDARY)
        if not self.is_over:
            raise TruncatedBody

    def feed(self, block: bytes) -> list[Token]:
        """The tokens that the next bytes of the body complete.

        Raises:
            MalformedForm: the body is no form with this boundary.
        """
        data = self._held + block if self._held else block
        self._held = b""
        tokens: list[Token] = []
        at = 0
        while at < len(data) and not self.is_over:
            taken = self._step(data, at, tokens)
            if taken < 0:
                self._held = data[at:]
                break
            at += taken
        self._position += at if self._held else len(data)
        return tokens

    def _step(self, data: bytes, at: int, tokens: list[Token]) -> int:
        """Read on from ``at``: how many bytes were taken, or -1 where more are needed first."""
        match self._state:
            case _State.PREAMBLE:
                return self._read_preamble(data, at)
            case _State.BOUNDARY:
                return self._read_boundary(data, at)
            case _State.HEADERS:
                return self._read_headers(data, at, tokens)
            case _State.DATA:
                return self._read_data(data, at, tokens)
            case _State.EPILOGUE:
                return len(data) - at

    def _read_preamble(self, data: bytes, at: int) -> int:
        left = _MAX_PREAMBLE_BYTES - (self._position + at)
        found = _find(data, self._delimiter, at, left, _NO_BOUNDARY)
        if found >= 0:
            self._state = _State.BOUNDARY
            return found + len(self._delimiter) - at
        passed_over = len(data) - at - (len(self._delimiter) - 1)
        return passed_over if passed_over > 0 else -1

    def _read_boundary(self, data: bytes, at: int) -> int:
        if data.startswith(b"--", at):
            self._state = _State.EPILOGUE
            return 2
        malformed = "A boundary is followed by something else than the end of its line."
        end = _find(data, b"\r\n", at, _MAX_HEADER_BYTES, malformed)
        if end < 0:
            return -1
        if data[at:end].strip(b" \t"):
            raise MalformedForm(malformed)
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise MalformedForm(f"The form has more than {_MAX_PARTS} parts.")
        self._state = _State.HEADERS
        return end + 2 - at

    def _read_headers(self, data: bytes, at: int, tokens: list[Token]) -> int:
        if data.startswith(b"\r\n", at):
            tokens.append(PartHeaders({}))
            self._state = _State.DATA
            return 2
        end = _find(data, b"\r\n\r\n", at, _MAX_HEADER_BYTES, "The headers of a part are too long.")
        if end < 0:
            return -1
        tokens.append(PartHeaders(dict(map(_header, data[at:end].split(b"\r\n")))))
        self._state = _State.DATA
        return end + 4 - at

    def _read_data(self, data: bytes, at: int, tokens: list[Token]) -> int:
        found = data.find(self._delimiter, at)
        if found >= 0:
            self._emit(data, at, found, tokens)
            tokens.append(PartEnd())
            self._state = _State.BOUNDARY
            return found + len(self._delimiter) - at
        # Only what may be the beginning of a boundary waits for the next block.
        maybe = data.rfind(b"\r", max(at, len(data) - len(self._delimiter) + 1))
        end = maybe if maybe >= 0 and self._delimiter.startswith(data[maybe:]) else len(data)
        self._emit(data, at, end, tokens)
        return end - at if end > at else -1

    def _emit(self, data: bytes, begin: int, end: int, tokens: list[Token]) -> None:
        if end > begin:
            tokens.append(PartData(memoryview(data)[begin:end], self._position + begin))


def _find(data: bytes, wanted: bytes, at: int, limit_bytes: int, too_far: str) -> int:
    """Where ``wanted`` begins, or -1 where it is still to come.

    Raises:
        MalformedForm: with this sentence, where more than ``limit_bytes`` stand before it.
    """
    found = data.find(wanted, at)
    before = (found if found >= 0 else len(data) - len(wanted) + 1) - at
    if before > limit_bytes:
        raise MalformedForm(too_far)
    return found


def _header(line: bytes) -> tuple[str, str]:
    name, colon, value = line.partition(b":")
    if not colon:
        raise MalformedForm("A part has a header without a colon.")
    return name.strip().decode("latin-1").lower(), value.strip(b" \t").decode("utf-8", "replace")


class Part:
    """One part of the form. Its blocks must be read before the next part is asked for."""

    def __init__(self, form: "Form", headers: dict[str, str]) -> None:
        self._form = form
        # Also knows `filename*`, in which several HTTP libraries send names that are not ASCII (RFC 5987).
        disposition = headers.get("content-disposition", "")
        _, options = parse_options_header(disposition)
        if _FILENAME.search(disposition) and "filename" not in options:
            raise MalformedForm("A part has a Content-Disposition whose file name can't be read.")
        self.name = options.get("name", "")
        self.filename = options.get("filename")
        self.content_type = headers.get("content-type", "")
        self.offset: int | None = None

    async def blocks(self) -> AsyncIterator[memoryview]:
        """The part's bytes, in the pieces they arrive in."""
        while not isinstance(token := await self._form.next_token(), PartEnd):
            if isinstance(token, PartData):
                if self.offset is None:
                    self.offset = token.offset
                yield token.block

    def most_bytes(self) -> int | None:
        """The most bytes this part can still have, counted from its first: exact where it is the last part.

        None where the body's length is unknown.
        """
        if self._form.content_length is None or self.offset is None:
            return None
        return max(0, self._form.content_length - self.offset - self._form.closing_bytes)

    async def text(self) -> str:
        """The part as text.

        Raises:
            InvalidField: it is too long.
        """
        content = bytearray()
        async for block in self.blocks():
            content += block
            if len(content) > _MAX_FIELD_BYTES:
                raise InvalidField(
                    f"A form field takes up to {_MAX_FIELD_BYTES} bytes.", field=self.name[:100]
                )
        return content.decode("utf-8", "replace")


class Form:
    """The form of a request.

    Args:
        timeout_seconds: the longest silence of the client.
        least_bytes_per_second: what it must send on average.

    Raises:
        UnsupportedMediaType: the body is no multipart/form-data.
    """

    def __init__(self, request: Request, *, timeout_seconds: float, least_bytes_per_second: int = 0) -> None:
        kind, options = parse_options_header(request.headers.get("content-type"))
        boundary = options.get("boundary", "").encode("latin-1", "replace")
        if kind.lower() != "multipart/form-data" or not 0 < len(boundary) <= _MAX_BOUNDARY_LENGTH:
            raise UnsupportedMediaType("Send the file as multipart/form-data with a boundary.")
        length = request.headers.get("content-length", "")
        self.content_length = int(length) if length.isascii() and length.isdigit() else None
        self.closing_bytes = len(b"\r\n--") + len(boundary) + len(b"--\r\n")
        self._pace = Pace(stall_seconds=timeout_seconds, least_bytes_per_second=least_bytes_per_second)
        self._stream: AsyncGenerator[bytes, None] = request.stream()
        self._tokens: deque[Token] = deque()
        self._parser = MultipartParser(boundary)

    async def parts(self) -> AsyncIterator[Part]:
        """The parts in order.

        Raises:
            MalformedForm: the body is no form with this boundary.
            TruncatedBody: it ended, or the client went, before the form did.
            UploadTimedOut: nothing arrived for too long, or too little.
        """
        while (token := await self._token_or_end()) is not None:
            if isinstance(token, PartHeaders):
                yield Part(self, token.values)

    async def next_token(self) -> Token:
        """The next token of a part that has not ended."""
        token = await self._token_or_end()
        if token is None:
            raise TruncatedBody
        return token

    async def _token_or_end(self) -> Token | None:
        while not self._tokens:
            block = await self._receive()
            if block is None:
                self._parser.end()
                return None
            if block:
                self._tokens.extend(self._parser.feed(block))
        return self._tokens.popleft()

    async def _receive(self) -> bytes | None:
        try:
            return await self._pace.receive(self._stream)
        except ClientDisconnect:
            raise TruncatedBody("The client went away before the form ended. Nothing was stored.") from None
