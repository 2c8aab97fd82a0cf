"""Streaming bytes to and from the object storage over presigned URLs; no body is held in memory.

Guarantees given here: every body is sent with its length and a checksum, so the endpoint refuses bytes that
were cut or changed on the way; an endpoint that stalls is given up after STORAGE_STALL_SECONDS, wherever in
the exchange it stalls; readers that are slow hold no connection that a writer needs.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

import aiohttp

from jettythunder import tracing
from jettythunder.checksums import Checksum
from jettythunder.errors import StorageUnavailable, TruncatedBody
from jettythunder.settings import StorageSettings
from jettythunder.storage.answers import error_code, is_worth_repeating, refusal
from jettythunder.storage.presigning import Presigner
from jettythunder.storage.spans import calling_s3

ATTEMPTS = 3
_READ_BUFFER_BYTES = 64 * 1024
_WAIT_SECONDS = 5.0

UNREACHABLE: tuple[type[Exception], ...] = (aiohttp.ClientError, OSError, TimeoutError)

Body = Callable[[], AsyncIterator[bytes]]


class Transfers:
    """Connections for bytes: one pool for what is read, another for what is written."""

    def __init__(self, settings: StorageSettings, presigner: Presigner) -> None:
        self._presigner = presigner
        self._stall_seconds = settings.storage_stall_seconds
        self._reads = _session(settings, connections=settings.storage_read_connections)
        self._writes = _session(settings, connections=settings.storage_write_connections)

    async def close(self) -> None:
        """Close all connections."""
        await self._reads.close()
        await self._writes.close()

    @contextlib.asynccontextmanager
    async def read(self, key: str, *, start: int, end: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes ``start`` to ``end`` (inclusive) of an object, in blocks, as they arrive."""
        if end < start:
            yield _nothing()
            return
        url = self._presigner.presign("GET", key)
        with calling_s3("GetObject", bucket=self._presigner.bucket, size_bytes=end - start + 1):
            try:
                answer = await self._reads.get(url, headers={"Range": f"bytes={start}-{end}"})
            except UNREACHABLE as error:
                raise StorageUnavailable from error
            async with answer:
                if answer.status >= 400:
                    raise refusal(answer.status, await _error_code(answer), key)
                # A server that ignores Range answers 200 with everything; that is right where all was asked.
                if answer.status != 206 and (start > 0 or answer.content_length != end + 1):
                    raise StorageUnavailable("The object storage ignored the range that was asked for.")
                yield _arriving(answer)

    async def send(
        self,
        key: str,
        query: dict[str, str],
        headers: dict[str, str],
        body: Body,
        *,
        size_bytes: int,
        checksum: Checksum,
        attempts: int = ATTEMPTS,
    ) -> str:
        """PUT a stream to an object or part, again where the endpoint failed, and return the ETag.

        Raises:
            ChecksumMismatch: the endpoint received other bytes.
            TruncatedBody: the stream did not have ``size_bytes``.
            StorageUnavailable, ObjectMissing: as their names say.
        """
        signed = {**checksum.header, **headers}
        url = self._presigner.presign("PUT", key, query=query, headers=signed)
        # Without Content-Length aiohttp would send chunks, which S3 refuses.
        sent = {"Content-Length": str(size_bytes), **signed}
        attempt = 1
        while True:
            outgoing = _Outgoing(body, size_bytes)
            try:
                with self._calling(query, size_bytes, attempt) as call:
                    status, code, etag = await self._put(url, sent, outgoing)
                    if status != 200:
                        call.fail(code or str(status))
            except UNREACHABLE as error:
                if outgoing.failure is not None:
                    raise outgoing.failure from None
                if attempt >= attempts:
                    raise StorageUnavailable from error
            else:
                if status == 200:
                    return etag
                if attempt >= attempts or not is_worth_repeating(status, code):
                    raise refusal(status, code, key)
            await asyncio.sleep(0.2 * 2**attempt * random.uniform(0.5, 1))  # noqa: S311 - jitter, not a secret
            attempt += 1

    def _calling(self, query: Mapping[str, str], size_bytes: int, attempt: int) -> tracing.Span:
        part_number = query.get("partNumber")
        return calling_s3(
            "PutObject" if part_number is None else "UploadPart",
            bucket=self._presigner.bucket,
            size_bytes=size_bytes,
            part_number=None if part_number is None else int(part_number),
            attempt=attempt,
        )

    async def _put(self, url: str, headers: dict[str, str], outgoing: "_Outgoing") -> tuple[int, str, str]:
        """One attempt: the status, the error's code, and the ETag."""
        async with asyncio.timeout(self._stall_seconds) as limit:

            def moved_on() -> None:
                # aiohttp writes in a task of its own, which may go on for a moment after this one has ended.
                with contextlib.suppress(RuntimeError):
                    limit.reschedule(asyncio.get_running_loop().time() + self._stall_seconds)

            async with self._writes.put(url, data=outgoing.blocks(moved_on), headers=headers) as answer:
                code = "" if answer.status == 200 else await _error_code(answer)
                return answer.status, code, answer.headers.get("ETag", "")


def _session(settings: StorageSettings, *, connections: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        timeout=aiohttp.ClientTimeout(
            total=None,
            # Also how long to wait for one of the connections to become free.
            connect=_WAIT_SECONDS,
            sock_connect=_WAIT_SECONDS,
            sock_read=settings.storage_stall_seconds,
        ),
        auto_decompress=False,
        read_bufsize=_READ_BUFFER_BYTES,
    )


class _Outgoing:
    """A body that is being sent. Keeps the body's own error, which aiohttp would replace by its own."""

    def __init__(self, body: Body, size_bytes: int) -> None:
        self._body = body
        self._size_bytes = size_bytes
        self.failure: Exception | None = None

    async def blocks(self, moved_on: Callable[[], None]) -> AsyncGenerator[bytes, None]:
        left_bytes = self._size_bytes
        try:
            async for block in self._body():
                left_bytes -= len(block)
                moved_on()
                if left_bytes < 0:
                    break
                yield block
                moved_on()
            if left_bytes != 0:
                raise TruncatedBody(f"The body does not have the announced {self._size_bytes} bytes.")
        except Exception as error:
            self.failure = error
            raise


async def _arriving(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for block in answer.content.iter_any():
            yield block
    except UNREACHABLE as error:
        raise StorageUnavailable from error


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield


async def _error_code(answer: aiohttp.ClientResponse) -> str:
    return error_code(await answer.content.read(4096))
