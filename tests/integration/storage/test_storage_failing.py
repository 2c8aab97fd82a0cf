"""The storage client against endpoints that are down, slow, or wrong."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from jettythunder.errors import StorageUnavailable
from jettythunder.storage import Storage

from .conftest import Misbehave, Opener, misbehaving

TYPE = "application/octet-stream"
DATA = bytes(1 << 20)
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
UNUSED_ADDRESS = "http://127.0.0.1:9"
QUICK_SECONDS = 5.0


async def blocks() -> AsyncIterator[bytes]:
    yield DATA


async def put(storage: Storage) -> None:
    await storage.put_streamed("key", blocks, size_bytes=len(DATA), md5=MD5, content_type=TYPE)


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
