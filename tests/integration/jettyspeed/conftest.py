"""JettyThunder with three edges, each behind a link that a test can slow, break and look at."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.support.infrastructure import (
    IdleServers,
    RunningService,
    Services,
    ServiceStarter,
    start_services,
)
from tests.support.links import Link
from tests.support.waiting import eventually

EDGES = 3
LINK_BYTES_PER_SECOND = 3e6
FINISH_SECONDS = 120.0
GATEWAY = "storage-gateway"


@dataclass
class Site:
    """The services, and the edges with the links to them."""

    services: Services
    links: list[Link]
    workers: list[RunningService]
    starter: ServiceStarter
    http: httpx.AsyncClient

    def start_edge(self, index: int, *, wait: bool = True) -> None:
        """Start the chunk-worker behind a link."""
        link = self.links[index]
        name = f"link-{index + 1}"
        told = {"EDGE_ID": name, "EDGE_REGION": f"region-{index + 1}", "EDGE_URL": link.url}
        worker = self.starter("chunk-worker", told, gateway_url=self.services.base_url, wait=wait)
        link.target = worker.url
        self.workers[index : index + 1] = [worker]

    def kill_edge(self, index: int) -> None:
        """SIGKILL the chunk-worker behind a link; the link refuses no connection, it can't get through."""
        self.workers[index].kill()

    async def reset(self) -> None:
        """Put every link back in order and forget what passed."""
        for link in self.links:
            await link.die()
            await link.open()
            link.flow()
            link.flips_left = link.hang_ups_left = 0
            link.forget()
        self.set_rate(LINK_BYTES_PER_SECOND)

    def set_rate(self, bytes_per_second: float | None) -> None:
        """What each link carries; the usual rate leaves a test time to act while an upload runs.

        None is no limit, for when it has acted.
        """
        for link in self.links:
            link.set_rate(bytes_per_second)

    @property
    def chunk_numbers(self) -> list[int]:
        """The chunks of all PUTs, over all links."""
        return [number for link in self.links for number in link.chunk_numbers]


@dataclass(frozen=True)
class Outcome:
    """What a finished command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def answer(self) -> dict[str, Any]:
        """What --json printed."""
        found: dict[str, Any] = json.loads(self.out)
        return found


class Command:
    """A running `jettythunder` process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def finish(self) -> Outcome:
        async with asyncio.timeout(FINISH_SECONDS):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return Outcome(self.process.returncode, out.decode(), err.decode())

    async def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


class Account:
    """One account, its command line, and its doors."""

    def __init__(self, http: httpx.AsyncClient, account: dict[str, Any], base_url: str, folder: Path) -> None:
        self._http = http
        self.folder = folder
        self.config_file = folder / "config.toml"
        self._headers = {
            "Authorization": f"Bearer {account['api_key']}",
            "X-API-Secret": account["api_secret"],
        }
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.environment = {
            **inherited,
            "JETTYTHUNDER_API_KEY": account["api_key"],
            "JETTYTHUNDER_API_SECRET": account["api_secret"],
            "JETTYTHUNDER_STATE_DIR": str(folder / "state"),
            "JETTYTHUNDER_CONFIG": str(self.config_file),
            "COLUMNS": "200",
        }
        self.use(base_url)

    def use(self, base_url: str) -> None:
        """Talk to this gateway from now on."""
        self._base_url = base_url
        self.environment["JETTYTHUNDER_API_URL"] = f"{base_url}/api/agentcache"

    async def start(
        self, *arguments: str, piped: bool = False, environment: dict[str, str] | None = None
    ) -> Command:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "jettythunder_cli.main",
            *arguments,
            cwd=self.folder,
            env={**self.environment, **(environment or {})},
            stdin=asyncio.subprocess.PIPE if piped else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        return Command(process)

    async def run(self, *arguments: str, environment: dict[str, str] | None = None) -> Outcome:
        return await (await self.start(*arguments, environment=environment)).finish()

    async def done(self, *arguments: str) -> dict[str, Any]:
        """Run a command with --json that must succeed; its answer."""
        outcome = await self.run(*arguments, "--json")
        assert outcome.code == 0, outcome.out + outcome.err
        return outcome.answer

    async def get(self, path: str) -> dict[str, Any]:
        answer = await self._http.get(self._base_url + path, headers=self._headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def sessions(self) -> list[dict[str, Any]]:
        """The account's open upload sessions."""
        uploads: list[dict[str, Any]] = (await self.get("/api/storage/uploads?status=open"))["uploads"]
        return uploads

    async def reached(self, share: float) -> dict[str, Any]:
        """The one open session, once the server has this share of its bytes."""

        async def far_enough() -> dict[str, Any] | None:
            found = await self.sessions()
            if not found:
                return None
            upload: dict[str, Any] = (await self.get(f"/api/storage/uploads/{found[0]['id']}"))["upload"]
            return upload if upload["received_bytes"] >= share * upload["size_bytes"] else None

        return await eventually(far_enough, timeout_seconds=60)

    async def stored_hash(self, asset_id: str) -> str:
        """The SHA-256 of the bytes that the gateway gives back."""
        digest = hashlib.sha256()
        url = f"{self._base_url}/api/storage/stream/{asset_id}"
        async with self._http.stream("GET", url, headers=self._headers) as answer:
            assert answer.status_code == 200
            async for block in answer.aiter_bytes():
                digest.update(block)
        return digest.hexdigest()

    def file(self, size_bytes: int, name: str = "film.mp4") -> Path:
        """A file of random bytes."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size_bytes))
        return path


def hash_of(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def running_site(
    idle_servers: IdleServers, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """Servers and services of this folder's own: its edges are no one else's."""
    with idle_servers.borrowed() as infrastructure:
        # Its chunk-workers are the edges behind the links.
        services = start_services(infrastructure, kinds=("storage-gateway", "provisioning", "usage-meter"))
        starter = ServiceStarter(infrastructure, tmp_path_factory.mktemp("edges"))
        links = [await Link(rate=LINK_BYTES_PER_SECOND).open() for _ in range(EDGES)]
        # One for all calls, as making one takes longer than a call; and no connection outlives its call, as
        # tests restart what is at its other end.
        http = httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_keepalive_connections=0))
        running = Site(services, links, [], starter, http)
        try:
            for index in range(EDGES):
                running.start_edge(index, wait=False)
            for worker in running.workers:
                worker.wait_until_ready()
            yield running
        finally:
            await http.aclose()
            for link in links:
                await link.die()
            starter.end()


@pytest_asyncio.fixture(loop_scope="session")
async def site(running_site: Site) -> AsyncIterator[Site]:
    """The site with every link in order."""
    await running_site.reset()
    yield running_site
    for link in running_site.links:
        link.flow()


async def provisioned(site: Site, folder: Path, tier: str) -> Account:
    """A new account of a tier, once the edges are listed to it."""
    secret = site.services.environment["AGENTCACHE_WEBHOOK_SECRET"]
    user = f"jettyspeed-{os.urandom(6).hex()}"
    body = {"agentcache_user_id": user, "agentcache_email": "t@example.com", "tier": tier}

    async def made() -> httpx.Response:
        answer = await site.http.post(
            f"{site.services.base_url}/api/agentcache/provision",
            json=body,
            headers={"Authorization": f"Bearer {secret}"},
        )
        # A test may have taken RabbitMQ away, and the call is safe to repeat.
        assert answer.status_code in (200, 201), answer.text
        return answer

    answer = await eventually(made, timeout_seconds=60)
    account = Account(site.http, answer.json()["account"], site.services.base_url, folder)

    async def listed() -> bool:
        edges = (await account.get("/api/edges"))["edges"]
        return {edge["id"] for edge in edges} == {f"link-{number + 1}" for number in range(EDGES)}

    await eventually(listed, timeout_seconds=30)
    return account


@pytest_asyncio.fixture(loop_scope="session")
async def account(site: Site, tmp_path: Path) -> Account:
    """An account whose tier has JettySpeed."""
    return await provisioned(site, tmp_path, "enterprise")


@contextlib.asynccontextmanager
async def gateway_of_its_own(site: Site, folder: Path, told: dict[str, str]) -> AsyncIterator[str]:
    """The URL of one more gateway, which is told something else."""
    starter = ServiceStarter(site.services.infrastructure, folder)
    try:
        # It may look for the object storage behind a link, which is served by this very loop.
        yield (await asyncio.to_thread(starter, "storage-gateway", told)).url
    finally:
        starter.end()


@pytest_asyncio.fixture(loop_scope="session")
async def direct_link(site: Site, account: Account, tmp_path: Path) -> AsyncIterator[Link]:
    """The way to the object storage, which the account's gateway offers as an edge too."""
    link = await Link(site.services.infrastructure.s3.endpoint, rate=LINK_BYTES_PER_SECOND).open()
    told = {"JETTYSPEED_DIRECT": "true", "LYVE_ENDPOINT": link.url}
    async with gateway_of_its_own(site, tmp_path, told) as url:
        account.use(url)
        yield link
    await link.die()


@pytest_asyncio.fixture(loop_scope="session")
async def short_lived_link(site: Site, account: Account, tmp_path: Path) -> AsyncIterator[Link]:
    """The way to a gateway whose tokens are good for ten seconds; the account uses it."""
    async with gateway_of_its_own(site, tmp_path, {"EDGE_TOKEN_SECONDS": "10"}) as url:
        link = await Link(url).open()
        account.use(link.url)
        yield link
        await link.die()
