"""The services of a run, the account that uploads, and which processes are whose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import httpx
from tests.support.infrastructure import Infrastructure, RoleName, S3Access, ServiceStarter

SERVERS: dict[str, RoleName] = {"PostgreSQL": "postgres", "RabbitMQ": "rabbitmq", "S3 server": "s3"}


@dataclass(frozen=True)
class Account:
    """An account with its credentials."""

    id: UUID
    api_key: str
    api_secret: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}", "X-API-Secret": self.api_secret}

    @property
    def curl_headers(self) -> list[str]:
        """The same as arguments of curl."""
        return [part for name, value in self.headers.items() for part in ("-H", f"{name}: {value}")]


async def provision(gateway_url: str, environment: Mapping[str, str]) -> Account:
    """A new account of the largest tier, made as AgentCache makes it."""
    async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
        answer = await http.post(
            f"{gateway_url}/api/agentcache/provision",
            headers={"Authorization": f"Bearer {environment['AGENTCACHE_WEBHOOK_SECRET']}"},
            json=provisioning_request(),
        )
    account = answer.raise_for_status().json()["account"]
    return Account(UUID(account["id"]), account["api_key"], account["api_secret"])


def provisioning_request() -> dict[str, str]:
    """The body that asks for an account of a new user."""
    return {
        "agentcache_user_id": f"bench-{uuid4()}",
        "agentcache_email": "bench@example.com",
        "tier": "enterprise",
    }


@dataclass(frozen=True)
class RunningServices:
    """All services of a run. ``pids`` has the processes by what they are, the servers' too."""

    gateway_url: str
    environment: Mapping[str, str]
    pids: Mapping[str, list[int]]


@contextmanager
def running_services(
    infrastructure: Infrastructure,
    folder: Path,
    *,
    s3: S3Access,
    workers: int,
    environment: Mapping[str, str] | None = None,
) -> Iterator[RunningServices]:
    """Start every service, with the object storage at `s3`, and end them at the block's end.

    `environment` adds to what all services are started with.
    """
    starter = ServiceStarter(infrastructure, folder)
    given = {"LYVE_ENDPOINT": s3.endpoint, **(environment or {})}
    try:
        # The others wait for the bucket, which provisioning makes.
        provisioning = starter("provisioning", given)
        gateway = starter("storage-gateway", given, wait=False)
        groups = {
            "gateway": [gateway],
            "workers": [
                starter(
                    "chunk-worker",
                    {**given, "EDGE_ID": f"worker-{number}"},
                    gateway_url=gateway.url,
                    wait=False,
                )
                for number in range(1, workers + 1)
            ],
            "meter": [starter("usage-meter", given, wait=False)],
            "provisioning": [provisioning],
            "operations": [starter("operations", given, wait=False)],
        }
        for services in groups.values():
            for service in services:
                service.wait_until_ready()
        pids = {name: [service.pid for service in services] for name, services in groups.items()}
        yield RunningServices(
            gateway.url, infrastructure.environment, {**pids, **server_pids(infrastructure)}
        )
    finally:
        starter.end()


def server_pids(infrastructure: Infrastructure) -> dict[str, list[int]]:
    """The processes of the servers."""
    return {name: _pids_of(infrastructure, role) for name, role in SERVERS.items()}


def _pids_of(infrastructure: Infrastructure, role: RoleName) -> list[int]:
    """The server's processes; none where it is a container."""
    stack = infrastructure.stack
    pids = [stack.supervisor.process(program.name).pid for program in stack.roles[role].programs()]
    return [pid for pid in pids if pid is not None]
