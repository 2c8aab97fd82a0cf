"""multipart/form-data, parsed as it arrives: no part is ever held whole."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from jettythunder.errors import (
    InvalidField,
    MalformedForm,
    TruncatedBody,
    UnsupportedMediaType,
    UploadTimedOut,
)

_MAX_HEADER_BYTES = 16_384
_MAX_FIELD_BYTES = 8_192
_MAX_PARTS = 50

# What a client of a call that failed half-way may still send before the connection is closed on it. Reading
# on for a moment lets most clients see the answer instead of a reset connection.
_DRAIN_BYTES = 64 * 1024 * 1024
_DRAIN_SECONDS = 5.0


@dataclass(frozen=True)
class _Headers:
    pairs: dict[bytes, bytes]


@dataclass(frozen=True)
class _Data:
    block: memoryview
    offset: int


class _End:
    pass


class Part:
    """One part of the form. Its blocks must be read before the next part is asked for."""

    def __init__(self, form: "Form", headers: dict[bytes, bytes]) -> None:
        self._form = form
        _, options = parse_options_header(headers.get(b"content-disposition", b""))
        self.name = options.get(b"name", b"").decode("utf-8", "replace")
        filename = options.get(b"filename")
        self.filename = filename.decode("utf-8", "replace") if filename is not None else None
        self.content_type = headers.get(b"content-type", b"").decode("latin-1")
        self.offset: int | None = None

    async def blocks(self) -> AsyncIterator[memoryview]:
        """The part's bytes, in the pieces they arrive in."""
        while not isinstance(token := await self._form.next_token(), _End):
            if isinstance(token, _Data):
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

    Raises:
        UnsupportedMediaType: the body is no multipart/form-data.
    """

    def __init__(self, request: Request, *, timeout_seconds: float) -> None:
        kind, options = parse_options_header(request.headers.get("content-type"))
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not 0 < len(boundary) <= 256:
            raise UnsupportedMediaType("Send the file as multipart/form-data with a boundary.")
        length = request.headers.get("content-length", "")
        self.content_length = int(length) if length.isascii() and length.isdigit() else None
        self.closing_bytes = len(b"\r\n--") + len(boundary) + len(b"--\r\n")
        self._waits_for_continue = "100-continue" in request.headers.get("expect", "").lower()
        self._timeout_seconds = timeout_seconds
        self._stream: AsyncGenerator[bytes, None] = request.stream()
        self._position = 0
        self._tokens: deque[_Headers | _Data | _End] = deque()
        self._ended = False
        self._parts = 0
        self._header_bytes = 0
        self._headers: dict[bytes, bytes] = {}
        self._field, self._value = bytearray(), bytearray()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    async def parts(self) -> AsyncIterator[Part]:
        """The parts in order.

        Raises:
            MalformedForm: the body is no form with this boundary.
            TruncatedBody: it ended, or the client went, before the form did.
            UploadTimedOut: nothing arrived for too long.
        """
        while (token := await self._token_or_end()) is not None:
            if isinstance(token, _Headers):
                yield Part(self, token.pairs)

    async def next_token(self) -> _Headers | _Data | _End:
        token = await self._token_or_end()
        if token is None:
            raise TruncatedBody
        return token

    async def _token_or_end(self) -> _Headers | _Data | _End | None:
        while not self._tokens:
            block = await self._receive()
            if block is None:
                if not self._ended:
                    raise TruncatedBody
                return None
            if self._ended or not block:
                continue
            try:
                self._parser.write(block)
            except FormParserError as error:
                raise MalformedForm(f"The multipart/form-data body is malformed: {error}.") from None
            self._position += len(block)
        return self._tokens.popleft()

    async def _receive(self) -> bytes | None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await anext(self._stream, None)
        except TimeoutError:
            raise UploadTimedOut from None
        except ClientDisconnect:
            raise TruncatedBody("The client went away before the form ended. Nothing was stored.") from None

    async def drain(self) -> None:
        """Read on for a moment, so that the client sees the answer and not a reset connection."""
        if self._waits_for_continue and self._position == 0:
            return
        with contextlib.suppress(TimeoutError, ClientDisconnect, RuntimeError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                left = _DRAIN_BYTES
                async for block in self._stream:
                    left -= len(block)
                    if left < 0:
                        return

    def _on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise MalformedForm(f"The form has more than {_MAX_PARTS} parts.")
        self._headers, self._header_bytes = {}, 0

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._field += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._value += data[start:end]

    def _count_header(self, length: int) -> None:
        self._header_bytes += length
        if self._header_bytes > _MAX_HEADER_BYTES:
            raise MalformedForm("The headers of a part are too long.")

    def _on_header_end(self) -> None:
        self._headers[bytes(self._field).lower()] = bytes(self._value)
        self._field, self._value = bytearray(), bytearray()

    def _on_headers_finished(self) -> None:
        self._tokens.append(_Headers(self._headers))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._tokens.append(_Data(memoryview(data)[start:end], self._position + start))

    def _on_part_end(self) -> None:
        self._tokens.append(_End())

    def _on_end(self) -> None:
        self._ended = True
