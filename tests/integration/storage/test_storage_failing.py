"""The storage client against endpoints that are down, slow, or wrong."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from jettythunder.checksums import Algorithm, checksum_of
from jettythunder.errors import StorageUnavailable
from jettythunder.storage import Storage

from .conftest import Misbehave, Opener, misbehaving

TYPE = "application/octet-stream"
DATA = bytes(1 << 20)
CHECKSUM = checksum_of(DATA, Algorithm.CRC64NVME)
UNUSED_ADDRESS = "http://127.0.0.1:9"
QUICK_SECONDS = 20.0


async def blocks() -> AsyncIterator[bytes]:
    yield DATA


async def put(storage: Storage) -> None:
    await storage.put_streamed("key", blocks, size_bytes=len(DATA), checksum=CHECKSUM, content_type=TYPE)


async def read(storage: Storage) -> None:
    async with storage.read("key", start=5, end=9) as arriving:
        async for _ in arriving:
            pass


async def size(storage: Storage) -> None:
    await storage.size_of("key")


CALLS = pytest.mark.parametrize("call", [put, read, size, Storage.ping, Storage.ensure_bucket])


@CALLS
async def test_a_server_that_is_down_is_told_quickly(
    open_storage: Opener, call: Callable[[Storage], Awaitable[None]]
) -> None:
    async with open_storage(lyve_endpoint=UNUSED_ADDRESS) as storage:
        started = time.monotonic()
        with pytest.raises(StorageUnavailable):
            await call(storage)
        assert time.monotonic() - started < QUICK_SECONDS


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes everything and never answers."""
    while await reader.read(1 << 16):
        pass


async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads the head of a request only."""
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.Event().wait()


@pytest.mark.parametrize("behaviour", [silent, deaf])
@pytest.mark.parametrize("call", [put, read, size])
async def test_a_server_that_stalls_is_given_up(
    open_storage: Opener, behaviour: Misbehave, call: Callable[[Storage], Awaitable[None]]
) -> None:
    async with (
        misbehaving(behaviour) as address,
        open_storage(lyve_endpoint=address, storage_stall_seconds=0.2) as storage,
    ):
        started = time.monotonic()
        with pytest.raises(StorageUnavailable):
            await call(storage)
        assert time.monotonic() - started < QUICK_SECONDS


class LosingAnswers:
    """Begins multipart uploads, and loses the answer to the first; lists them unless it ``lists_none``."""

    def __init__(self, *, lists_none: bool = False) -> None:
        self.lists_none = lists_none
        self.begun: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := (await reader.readuntil(b"\r\n\r\n")).decode():
            method, target, _ = head.split("\r\n", 1)[0].split()
            answer = self.answer(method, target)
            if answer is None:
                return
            status, body = answer
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())

    def answer(self, method: str, target: str) -> tuple[str, str] | None:
        """A status and a body; None is a connection that closes without."""
        if method == "POST":
            self.begun.append(f"id{len(self.begun)}")
            told = f"<UploadId>{self.begun[-1]}</UploadId>"
            answer = ("200 OK", f"<InitiateMultipartUploadResult>{told}</InitiateMultipartUploadResult>")
            return answer if len(self.begun) > 1 else None
        if method == "DELETE":
            self.begun.remove(target.partition("uploadId=")[2])
            return ("204 No Content", "")
        if self.lists_none:
            return ("501 Not Implemented", "<Error><Code>NotImplemented</Code></Error>")
        uploads = "".join(f"<Upload><Key>key</Key><UploadId>{one}</UploadId></Upload>" for one in self.begun)
        return ("200 OK", f"<ListMultipartUploadsResult>{uploads}</ListMultipartUploadsResult>")


@pytest.mark.parametrize(("lists_none", "left"), [(False, ["id1"]), (True, ["id0", "id1"])])
async def test_a_multipart_upload_whose_answer_was_lost_is_aborted_where_it_is_listed(
    open_storage: Opener, lists_none: bool, left: list[str]
) -> None:
    server = LosingAnswers(lists_none=lists_none)
    async with misbehaving(server) as address, open_storage(lyve_endpoint=address) as storage:
        assert await storage.create_multipart("key", content_type=TYPE) == "id1"
    assert server.begun == left
