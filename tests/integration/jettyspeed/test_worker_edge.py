"""A Cloudflare Worker beside a chunk-worker: uploads over both at once, and reads through its cache."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.integration.jettyspeed.conftest import (
    LINK_BYTES_PER_SECOND,
    Account,
    Site,
    gateway_of_its_own,
    hash_of,
    provisioned,
)
from tests.support.agentcache import AgentCache, running_agentcache
from tests.support.links import Link
from tests.support.waiting import eventually
from tests.support.worker_edge import EDGE_SECRET, WorkerEdge, running_worker

pytestmark = pytest.mark.worker

CHUNK_BYTES = 5 << 20
WORKER = "cloudflare:workerd"


@dataclass(frozen=True)
class WorkerSite:
    """The Worker behind a link, one chunk-worker behind another, and a gateway that lists both."""

    worker: WorkerEdge
    link: Link
    agentcache: AgentCache
    account: Account

    async def listed(self) -> set[str]:
        edges: list[dict[str, Any]] = (await self.account.get("/api/edges"))["edges"]
        return {edge["id"] for edge in edges}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def beside(running_site: Site, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WorkerSite]:
    folder = tmp_path_factory.mktemp("beside")
    await running_site.reset()
    account = await provisioned(running_site, folder, "enterprise")
    link = await Link(rate=LINK_BYTES_PER_SECOND).open()
    told = {
        "EDGE_SECRETS": EDGE_SECRET,
        "EDGE_WORKER_URLS": link.url,
        "JETTYSPEED_CDN_URL": link.url,
    }
    with ExitStack() as running:
        async with (
            gateway_of_its_own(running_site, folder, told) as gateway_url,
            running_agentcache() as agentcache,
        ):
            starting = running_worker(
                running_site.services.infrastructure,
                tmp_path_factory.mktemp("worker"),
                gateway_url=gateway_url,
                edge_id="workerd",
                AGENTCACHE_API_URL=agentcache.url,
            )
            worker = await asyncio.to_thread(running.enter_context, starting)
            link.target = worker.url
            account.use(gateway_url)
            made = WorkerSite(worker, link, agentcache, account)

            async def is_listed() -> bool:
                return WORKER in await made.listed()

            await eventually(is_listed, timeout_seconds=30)
            yield made
            await asyncio.to_thread(running.close)
    await link.die()


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def one_chunk_worker(site: Site, beside: WorkerSite) -> None:
    """Of the chunk-workers only the first can be reached."""
    for other in site.links[1:]:
        await other.die()
    beside.link.set_rate(LINK_BYTES_PER_SECOND)
    beside.link.forget()


@pytest.fixture
def account(beside: WorkerSite) -> Account:
    return beside.account


async def test_both_kinds_of_edges_carry_one_file(site: Site, beside: WorkerSite, account: Account) -> None:
    file = account.file(6 * CHUNK_BYTES + 12_345)
    result = await account.done("upload", "--file", str(file), "--accelerate")
    assert sorted(result["edges"]) == [WORKER, "link-1"]
    assert result["asset"]["content_hash"] == hash_of(file)
    assert await account.stored_hash(result["asset"]["id"]) == hash_of(file)
    sent = set(beside.link.chunk_numbers)
    assert sent
    assert sent | set(site.chunk_numbers) == set(range(1, 8))

    async def recorded() -> bool:
        return len(beside.agentcache.records) >= len(sent)

    await eventually(recorded)
    record = beside.agentcache.records[0]
    prefix, _, index = record["key"].rpartition(":")
    assert prefix.startswith("chunk:")
    assert int(index) + 1 in sent
    assert record["value"]["uploaded"] is True
    assert record["value"]["edge"]


async def test_a_signed_link_is_read_through_the_edge_cache_and_counted(
    site: Site, beside: WorkerSite, account: Account
) -> None:
    site.set_rate(None)
    beside.link.set_rate(None)
    file = account.file(2 * CHUNK_BYTES, "film.mp4")
    content = file.read_bytes()
    asset = (await account.done("upload", "--file", str(file), "--accelerate"))["asset"]
    link = (await account.get(f"/api/storage/download?metered=true&asset_id={asset['id']}"))["cdn_url"]
    assert link.startswith(beside.link.url)
    used_before = await bandwidth_of(account)

    async with httpx.AsyncClient(timeout=30) as http:
        whole = await http.get(link)
        assert (whole.status_code, whole.content == content) == (200, True)
        assert whole.headers["ETag"].strip('"')
        assert whole.headers["Access-Control-Allow-Origin"] == "*"

        async def cached() -> httpx.Response | None:
            answer = await http.get(link, headers={"Range": "bytes=1000-1999"})
            assert (answer.status_code, answer.content) == (206, content[1000:2000])
            assert answer.headers["Content-Range"] == f"bytes 1000-1999/{len(content)}"
            asked.append(1000)
            return answer if answer.headers["X-Edge-Cache"] == "hit" else None

        asked = [len(content)]
        await eventually(cached, timeout_seconds=20)
        head = await http.head(link)
        assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(content)))
        unchanged = await http.get(link, headers={"If-None-Match": whole.headers["ETag"]})
        assert unchanged.status_code == 304
        outside = await http.get(link, headers={"Range": f"bytes={len(content)}-"})
        assert (outside.status_code, outside.json()["code"]) == (416, "range_not_satisfiable")
        forged = await http.get(link.replace("epoch=0", "epoch=1"))
        assert (forged.status_code, forged.json()["code"]) == (403, "link_invalid")
        unsigned = await http.get(link.partition("?")[0])
        assert (unsigned.status_code, unsigned.json()["code"]) == (401, "unauthenticated")

    async def counted() -> bool:
        return await bandwidth_of(account) - used_before == sum(asked)

    await eventually(counted, timeout_seconds=30)


async def test_a_worker_that_ends_costs_nothing_but_time_and_is_not_listed_any_more(
    site: Site, beside: WorkerSite, account: Account
) -> None:
    # So few at once that chunks are still to come when the first are there.
    account.environment["JETTYSPEED_MAX_THREADS"] = "3"
    file = account.file(12 * CHUNK_BYTES)
    command = await account.start("upload", "--file", str(file), "--accelerate", "--json")
    await account.reached(0.2)
    await asyncio.to_thread(beside.worker.kill)
    site.set_rate(None)
    outcome = await command.finish()
    assert outcome.code == 0, outcome.out + outcome.err
    assert await account.stored_hash(outcome.answer["asset"]["id"]) == hash_of(file)

    async def dropped() -> bool:
        return WORKER not in await beside.listed()

    await eventually(dropped, timeout_seconds=40)


async def bandwidth_of(account: Account) -> int:
    """The bytes of this period that are counted."""
    quota = await account.get("/api/agentcache/quota")
    return int(quota["bandwidth"]["used_bytes"])
