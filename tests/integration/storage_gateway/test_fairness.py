"""What slow, stalled and greedy clients get, and that others are served beside them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import pytest
from tests.support.gateway import MEGABYTE, Backstage, Tenant, World, part_head, problem
from tests.support.infrastructure import Infrastructure, RunningService, Services, ServiceStarter
from tests.support.waiting import eventually

HEAD = part_head("file", "film.mp4")


@pytest.fixture(scope="module")
def strict_gateway(
    infrastructure: Infrastructure, services: Services, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    """A gateway that takes two uploads and two streams of an account."""
    starter = ServiceStarter(infrastructure, tmp_path_factory.mktemp("strict"))
    yield starter(
        "storage-gateway",
        {"UPLOADS_PER_ACCOUNT": "2", "STREAMS_PER_ACCOUNT": "2", "STREAMS_PER_LINK": "1"},
    )
    starter.end()


@contextlib.asynccontextmanager
async def unread(link: str) -> AsyncIterator[asyncio.StreamReader]:
    """A stream that was asked for, by a client that takes a few kilobytes of it and no more."""
    address = urlsplit(link)
    endpoint = socket.socket()
    endpoint.setblocking(False)
    endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await asyncio.get_running_loop().sock_connect(endpoint, (address.hostname, address.port))
    reader, writer = await asyncio.open_connection(sock=endpoint, limit=1)
    try:
        head = f"GET {address.path}?{address.query} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n"
        writer.write(head.encode())
        await reader.read(1)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        yield reader
    finally:
        writer.transport.abort()


async def link_to(tenant: Tenant, size: int) -> tuple[dict[str, object], str]:
    """An asset of this size, and the signed link to its stream."""
    asset = await tenant.store(os.urandom(size))
    link = (await tenant.get("/api/storage/download", params={"asset_id": asset["id"]})).json()
    return asset, str(link["stream_url"])


def at(gateway: RunningService, link: str) -> str:
    return urlsplit(link)._replace(netloc=urlsplit(gateway.url).netloc).geturl()


async def test_an_account_has_so_many_uploads_under_way(
    tenant: Tenant, world: World, backstage: Backstage, strict_gateway: RunningService
) -> None:
    here = tenant.at(strict_gateway.url)
    async with here.raw_upload(length=9 * MEGABYTE) as one, here.raw_upload(length=9 * MEGABYTE) as two:
        for upload in (one, two):
            await upload.send(HEAD + os.urandom(MEGABYTE))

        async def both_are_open() -> bool:
            return len(await backstage.open_uploads(tenant)) == 2

        await eventually(both_are_open)
        answer = await here.upload(b"a third")
        assert problem(answer) == (429, "too_many_uploads")
        assert int(answer.headers["Retry-After"]) >= 1
        # It is the account's limit, and nobody else's.
        other = await world.tenant()
        assert (await other.at(strict_gateway.url).upload(b"content")).status_code == 201
        one.vanish()
        two.vanish()
    await backstage.holds_exactly(tenant)

    async def there_is_room_again() -> bool:
        return (await here.upload(b"a third")).status_code == 201

    await eventually(there_is_room_again)


async def test_an_upload_that_trickles_is_ended(
    tenant: Tenant, backstage: Backstage, start_service: ServiceStarter
) -> None:
    gateway = start_service("storage-gateway", {"UPLOAD_MAX_SECONDS": "3"})
    async with tenant.at(gateway.url).raw_upload(length=40 * MEGABYTE) as upload:
        await upload.send(HEAD)
        answering = asyncio.create_task(upload.answer())
        while not answering.done():
            with contextlib.suppress(OSError):
                await upload.send(b"x")
            await asyncio.wait([answering], timeout=0.1)
        status, body = await answering
    assert (status, body["code"], body["retryable"]) == (408, "upload_timed_out", True)
    await backstage.holds_exactly(tenant)


async def test_an_account_and_a_link_have_so_many_streams_under_way(
    tenant: Tenant, world: World, strict_gateway: RunningService
) -> None:
    asset, link = await link_to(tenant, 8 * MEGABYTE)
    here = tenant.at(strict_gateway.url)
    async with unread(at(strict_gateway, link)):
        assert problem(await world.http.get(at(strict_gateway, link))) == (429, "too_many_streams")
        # The link's limit is not the account's, which may read on with its credentials.
        assert (await here.get(f"/api/storage/stream/{asset['id']}")).status_code == 200
        _, second = await link_to(tenant, 8 * MEGABYTE)
        async with unread(at(strict_gateway, second)):
            refused = await here.get(f"/api/storage/stream/{asset['id']}")
            assert problem(refused) == (429, "too_many_streams")
            assert int(refused.headers["Retry-After"]) >= 1


async def test_a_reader_that_stalls_is_disconnected_and_pays_for_what_was_sent(
    tenant: Tenant, world: World, backstage: Backstage, start_service: ServiceStarter
) -> None:
    limits = {"HTTP_SEND_STALL_SECONDS": "1", "HTTP_SEND_MIN_BYTES_PER_SECOND": "1000000"}
    gateway = start_service("storage-gateway", limits)
    _, link = await link_to(tenant, 20 * MEGABYTE)
    async with unread(at(gateway, link)):

        async def is_cut() -> bool:
            cut = await world.metric("jettythunder_http_cut_total", base_url=gateway.url, reason="reader")
            return cut == 1

        await eventually(is_cut, timeout_seconds=30)

    async def is_settled() -> bool:
        usage = await backstage.usage(tenant)
        assert usage["bandwidth_reserved_bytes"] == 0
        # The link itself was counted as a download of the whole.
        assert 0 < usage["bandwidth_used_bytes"] - 20 * MEGABYTE < 20 * MEGABYTE
        return True

    await eventually(is_settled, timeout_seconds=30)
