"""The gateway as its callers see it, and what they can't see: the database and the bucket behind it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg
import httpx
from prometheus_client.parser import text_string_to_metric_families
from tests.support.infrastructure import Infrastructure, Services
from tests.support.s3 import open_multiparts, opened_s3
from tests.support.waiting import eventually

from jettythunder.settings import StorageSettings
from jettythunder.storage import ListedPart, Storage

BOUNDARY = "----jettythunder-test"
ANSWER_SECONDS = 120.0
SETTLE_SECONDS = 60.0
MEGABYTE = 1_000_000
GIGABYTE = 1_000_000_000

Problem = tuple[int, str]


def problem(answer: httpx.Response) -> Problem:
    """Status and stable code of an error answer, which must be problem+json."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body = answer.json()
    assert body["status"] == answer.status_code
    return answer.status_code, body["code"]


def form(
    *parts: tuple[str, str | None, bytes], content_type: str = "application/octet-stream"
) -> Iterable[bytes]:
    """A multipart/form-data body as clients build it: (field, file name or None, content), piece by piece."""
    for name, filename, content in parts:
        yield part_head(name, filename, content_type=content_type)
        yield content
        yield b"\r\n"
    yield f"--{BOUNDARY}--\r\n".encode()


def part_head(name: str, filename: str | None, *, content_type: str = "application/octet-stream") -> bytes:
    """What stands before a part's content."""
    disposition = f'form-data; name="{name}"' + ("" if filename is None else f'; filename="{filename}"')
    kind = "" if filename is None else f"Content-Type: {content_type}\r\n"
    return f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n{kind}\r\n".encode()


FORM_TYPE = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


class RawUpload:
    """An upload over a bare socket: for clients that cut, stall or vanish."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Send bytes, as fast as the gateway takes them."""
        self._writer.write(data)
        await self._writer.drain()

    def end_sending(self) -> None:
        """Close this end only: the body is over, the answer can still come."""
        self._writer.write_eof()

    def vanish(self) -> None:
        """Reset the connection."""
        self._writer.transport.abort()

    async def answer(self) -> tuple[int, dict[str, Any]]:
        """The answer's status and JSON body."""
        async with asyncio.timeout(ANSWER_SECONDS):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status = int(head.split()[1])
            lines = [line.partition(":") for line in head.split("\r\n")[1:] if line]
            headers = {name.lower(): value.strip() for name, _, value in lines}
            body = await self._reader.readexactly(int(headers["content-length"]))
        return status, json.loads(body)


class Tenant:
    """One account and an HTTP client with its credentials."""

    def __init__(self, http: httpx.AsyncClient, base_url: str, account: Mapping[str, Any]) -> None:
        self.account_id = UUID(account["id"])
        self.user = account["agentcache_user_id"]
        self.s3_prefix = account["s3_prefix"]
        self.api_key = account["api_key"]
        self.api_secret = account["api_secret"]
        self.base_url = base_url
        self._http = http

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}", "X-API-Secret": self.api_secret}

    def at(self, base_url: str) -> Tenant:
        """The same account at another gateway."""
        other = object.__new__(Tenant)
        other.__dict__ = {**self.__dict__, "base_url": base_url}
        return other

    async def call(self, method: str, path: str, **how: Any) -> httpx.Response:
        """Call a door with the account's credentials."""
        headers = {**self.headers, **how.pop("headers", {})}
        return await self._http.request(method, self.base_url + path, headers=headers, **how)

    async def get(self, path: str, **how: Any) -> httpx.Response:
        return await self.call("GET", path, **how)

    async def post_form(self, body: Any, **how: Any) -> httpx.Response:
        """Upload a body made by hand; an async iterator goes without Content-Length."""
        headers = {**FORM_TYPE, **how.pop("headers", {})}
        return await self.call("POST", "/api/storage/upload", content=body, headers=headers, **how)

    async def upload(
        self,
        content: bytes,
        *,
        filename: str = "test.bin",
        headers: Mapping[str, str] | None = None,
        **fields: str,
    ) -> httpx.Response:
        """Upload a file the usual way, and give the answer whatever it is."""
        parts = [
            *((name, None, value.encode()) for name, value in fields.items()),
            ("file", filename, content),
        ]
        return await self.post_form(b"".join(form(*parts)), headers=dict(headers or {}))

    async def store(self, content: bytes | None = None, **how: Any) -> dict[str, Any]:
        """Upload a file, which must succeed, and give its asset."""
        answer = await self.upload(os.urandom(1000) if content is None else content, **how)
        assert answer.status_code in (200, 201), answer.text
        asset: dict[str, Any] = answer.json()["asset"]
        return asset

    @contextlib.asynccontextmanager
    async def raw_upload(self, *, length: int | None = None) -> AsyncIterator[RawUpload]:
        """A connection on which the head of an upload was sent; without length it is chunked."""
        address = urlsplit(self.base_url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        given = {**self.headers, **FORM_TYPE, "Host": address.netloc}
        head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        writer.write(f"POST /api/storage/upload HTTP/1.1\r\n{head}{framing}\r\n\r\n".encode())
        try:
            yield RawUpload(reader, writer)
        finally:
            writer.transport.abort()


class Backstage:
    """The database and the object storage, looked at directly."""

    def __init__(
        self,
        pool: asyncpg.Pool[asyncpg.Record],
        storage: Storage,
        s3: Any,
    ) -> None:
        self.pool = pool
        self.storage = storage
        self._s3 = s3

    async def usage(self, tenant: Tenant) -> dict[str, int]:
        """The account's counters."""
        row = await self.pool.fetchrow("SELECT * FROM account_usage WHERE account_id = $1", tenant.account_id)
        assert row is not None
        return {
            name: value for name, value in row.items() if name.endswith("_bytes") or name == "request_count"
        }

    async def set_quota(self, tenant: Tenant, **columns: int) -> None:
        """Give the account another quota in bytes, finer than tiers are."""
        for column, value in columns.items():
            assert column in ("storage_quota_bytes", "bandwidth_quota_bytes")
            await self.pool.execute(
                f"UPDATE account_usage SET {column} = $2 WHERE account_id = $1",  # noqa: S608
                tenant.account_id,
                value,
            )

    async def objects(self, tenant: Tenant) -> dict[str, int]:
        """The account's objects in the bucket, but for its folder."""
        found = await self.storage.list_sizes(tenant.s3_prefix)
        return {key: size for key, size in found.items() if key != tenant.s3_prefix}

    async def open_uploads(self, tenant: Tenant) -> list[str]:
        rows = await self.pool.fetch(
            "SELECT id FROM uploads WHERE account_id = $1"
            " AND status IN ('created', 'receiving', 'completing')",
            tenant.account_id,
        )
        return [str(row["id"]) for row in rows]

    async def last_upload(self, tenant: Tenant) -> asyncpg.Record:
        row = await self.pool.fetchrow(
            "SELECT * FROM uploads WHERE account_id = $1 ORDER BY created_at DESC LIMIT 1", tenant.account_id
        )
        assert row is not None
        return row

    async def multiparts(self, tenant: Tenant) -> list[tuple[str, str]]:
        """Key and id of the account's multipart uploads that the object storage has open."""
        return await open_multiparts(self._s3, self.storage.bucket, prefix=tenant.s3_prefix)

    async def parts(self, tenant: Tenant) -> list[ListedPart]:
        """The parts of those."""
        return [
            part
            for key, upload_id in await self.multiparts(tenant)
            for part in await self.storage.list_parts(key, upload_id)
        ]

    async def holds_exactly(
        self, tenant: Tenant, *assets: Mapping[str, Any], timeout_seconds: float = SETTLE_SECONDS
    ) -> None:
        """Wait until the account has these assets and nothing else, anywhere.

        Assets, bucket and ledger agree to the byte; no reservation, open upload, deletion still to be done,
        multipart upload or part of one is left.
        """
        sizes = {asset["s3_key"]: asset["size_bytes"] for asset in assets}

        async def settled() -> bool:
            usage = await self.usage(tenant)
            rows = await self.pool.fetch(
                "SELECT s3_key, size_bytes FROM agentcache_assets WHERE account_id = $1", tenant.account_id
            )
            assert {row["s3_key"]: row["size_bytes"] for row in rows} == sizes
            assert await self.open_uploads(tenant) == []
            assert (usage["storage_used_bytes"], usage["storage_reserved_bytes"]) == (sum(sizes.values()), 0)
            booked = await self.pool.fetchrow(
                "SELECT coalesce(sum(used_delta_bytes), 0) AS used,"
                " coalesce(sum(reserved_delta_bytes), 0) AS reserved"
                " FROM usage_ledger WHERE account_id = $1 AND resource = 'storage'",
                tenant.account_id,
            )
            assert booked is not None
            assert (booked["used"], booked["reserved"]) == (sum(sizes.values()), 0)
            assert (
                await self.pool.fetchval(
                    "SELECT count(*) FROM usage_reservations WHERE account_id = $1 AND resource = 'storage'",
                    tenant.account_id,
                )
                == 0
            )
            assert (
                await self.pool.fetchval(
                    "SELECT count(*) FROM object_deletions"
                    " WHERE starts_with(s3_key, $1) AND not_before <= now()",
                    tenant.s3_prefix,
                )
                == 0
            )
            assert await self.objects(tenant) == sizes
            assert await self.multiparts(tenant) == []
            return True

        await eventually(settled, timeout_seconds=timeout_seconds, poll_seconds=0.1)


@dataclass(frozen=True)
class World:
    """Everything a test of the gateway needs."""

    http: httpx.AsyncClient
    backstage: Backstage
    base_url: str
    environment: Mapping[str, str]

    async def metric(self, name: str, *, base_url: str | None = None, **labels: str) -> float:
        """What a gateway's metrics say; 0 for a sample that is not there."""
        answer = await self.http.get(
            f"{base_url or self.base_url}/metrics",
            headers={"Authorization": f"Bearer {self.environment['JETTYTHUNDER_OPS_TOKEN']}"},
        )
        samples = (
            sample
            for family in text_string_to_metric_families(answer.raise_for_status().text)
            for sample in family.samples
        )
        return next((s.value for s in samples if (s.name, s.labels) == (name, labels)), 0.0)

    async def tenant(self, tier: str = "enterprise", *, base_url: str | None = None) -> Tenant:
        """A new account, made as AgentCache makes it."""
        address = base_url or self.base_url
        answer = await self.http.post(
            f"{address}/api/agentcache/provision",
            headers={"Authorization": f"Bearer {self.environment['AGENTCACHE_WEBHOOK_SECRET']}"},
            json={
                "agentcache_user_id": f"user-{uuid4().hex}",
                "agentcache_email": "test@example.com",
                "tier": tier,
            },
        )
        assert answer.status_code == 201, answer.text
        return Tenant(self.http, address, answer.json()["account"])


@contextlib.asynccontextmanager
async def opened_world(infrastructure: Infrastructure, services: Services) -> AsyncIterator[World]:
    """Clients for the services and for what is behind them."""
    environment = services.environment
    known = {name.upper() for name in StorageSettings.model_fields}
    settings = {name.lower(): value for name, value in environment.items() if name in known}
    storage = Storage(StorageSettings.model_validate(settings))
    await storage.open()
    try:
        async with (
            httpx.AsyncClient(timeout=ANSWER_SECONDS, limits=httpx.Limits(max_connections=200)) as http,
            asyncpg.create_pool(environment["DATABASE_URL"], min_size=1, max_size=4) as pool,
            opened_s3(infrastructure.s3) as s3,
        ):
            backstage = Backstage(pool, storage, s3)
            yield World(http, backstage, services.base_url, environment)
    finally:
        await storage.close()
