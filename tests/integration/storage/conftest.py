"""A storage client on the real server, and servers that misbehave."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from uuid import uuid4

import pytest
import pytest_asyncio
from tests.support.infrastructure import Infrastructure

from jettythunder.settings import StorageSettings
from jettythunder.storage import Storage

Opener = Callable[..., AbstractAsyncContextManager[Storage]]
Misbehave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(scope="package")
def open_storage(infrastructure: Infrastructure) -> Opener:
    """Opens a storage client; keyword arguments are settings other than the stack's."""

    @contextlib.asynccontextmanager
    async def opened(**other: object) -> AsyncIterator[Storage]:
        given = {k.lower(): v for k, v in infrastructure.environment.items() if k.startswith("LYVE_")}
        storage = Storage(StorageSettings.model_validate(given | other))
        await storage.open()
        try:
            yield storage
        finally:
            await storage.close()

    return opened


@pytest_asyncio.fixture(scope="package")
async def storage(open_storage: Opener) -> AsyncIterator[Storage]:
    async with open_storage() as opened:
        await opened.ensure_bucket()
        yield opened


@pytest.fixture
def key() -> str:
    """A key nobody else uses."""
    return f"tests/storage/{uuid4()}/object"


@contextlib.asynccontextmanager
async def misbehaving(behaviour: Misbehave) -> AsyncIterator[str]:
    """The address of a server that treats each connection as ``behaviour`` does."""

    connections: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await behaviour(reader, writer)
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.create_task(handle(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
