"""All services on one stack, each sending its traces to a collector."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx
from aiohttp import web
from tests.support.gateway import Tenant
from tests.support.infrastructure import Infrastructure, RunningService, ServiceStarter

MEGABYTES_OF_CHUNKS = 6

# An account without any room to spare: the first large file crosses a threshold.
_QUOTA = "UPDATE account_usage SET storage_quota_bytes = $2 WHERE account_id = $1"


@dataclass(frozen=True)
class TracedServices:
    """The addresses of a gateway and the operations service; the others work behind them."""

    environment: Mapping[str, str]
    gateway_url: str
    operations_url: str

    @property
    def operator(self) -> dict[str, str]:
        """The headers of an operator's call."""
        return {"Authorization": f"Bearer {self.environment['JETTYTHUNDER_OPS_TOKEN']}"}

    async def provision(
        self, http: httpx.AsyncClient, *, quota_bytes: int, headers: Mapping[str, str] | None = None
    ) -> Tenant:
        """A new account, made as AgentCache makes it, with this quota of storage."""
        answer = await http.post(
            f"{self.gateway_url}/api/agentcache/provision",
            headers={
                "Authorization": f"Bearer {self.environment['AGENTCACHE_WEBHOOK_SECRET']}",
                **(headers or {}),
            },
            json={"agentcache_user_id": "traced", "agentcache_email": "t@example.com", "tier": "pro"},
        )
        tenant = Tenant(http, self.gateway_url, answer.raise_for_status().json()["account"])
        connection = await asyncpg.connect(self.environment["DATABASE_URL"])
        await connection.execute(_QUOTA, tenant.account_id, quota_bytes)
        await connection.close()
        return tenant


@contextmanager
def traced_services(
    infrastructure: Infrastructure, folder: Path, environment: Mapping[str, str]
) -> Iterator[TracedServices]:
    """Start every service and record everything; they end at the block's end.

    `environment` names the collector and adds to what the services are started with.
    """
    starter = ServiceStarter(infrastructure, folder)
    given = {
        "OTEL_TRACES_SAMPLER_ARG": "1",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "JETTYSPEED_CHUNK_SIZE_MB": str(MEGABYTES_OF_CHUNKS),
        **environment,
    }

    def start(kind: str, **more: str) -> RunningService:
        return starter(kind, given, wait=False, **more)

    try:
        # The others wait for the bucket, which provisioning makes.
        starter("provisioning", given)
        gateway = start("storage-gateway")
        services = [
            gateway,
            start("chunk-worker", gateway_url=gateway.url),
            start("usage-meter"),
            start("operations"),
        ]
        for service in services:
            service.wait_until_ready()
        yield TracedServices(infrastructure.environment, gateway.url, services[-1].url)
    finally:
        starter.end()


@dataclass
class WebhookReceiver:
    """AgentCache's end of the webhooks, at ``url``; ``headers`` are those of what was taken."""

    url: str = ""
    headers: list[Mapping[str, str]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        """Take a webhook."""
        self.headers.append(request.headers)
        return web.Response(status=204)


@contextlib.asynccontextmanager
async def receiving_webhooks() -> AsyncIterator[WebhookReceiver]:
    """A receiver on a free port."""
    receiver = WebhookReceiver()
    app = web.Application()
    app.router.add_post("/", receiver.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        yield receiver
    finally:
        await runner.cleanup()


def some_file(chunks: int) -> bytes:
    """Bytes that nobody has stored yet, for so many chunks."""
    return os.urandom(chunks * MEGABYTES_OF_CHUNKS * 1_000_000 - 1_000_000)
