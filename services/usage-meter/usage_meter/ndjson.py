"""Answers of a JSON object a line."""

from collections.abc import AsyncIterator

from fastapi.responses import StreamingResponse


async def lines(parts: AsyncIterator[bytes]) -> StreamingResponse:
    """An answer whose lines come as they are made.

    The first part is made before the answer begins, so that an error has its status; one that comes later
    cuts the answer off, which the reader sees as an incomplete body.
    """
    first = await anext(parts, b"")
    return StreamingResponse(_all(first, parts), media_type="application/x-ndjson")


async def _all(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for part in rest:
        yield part
