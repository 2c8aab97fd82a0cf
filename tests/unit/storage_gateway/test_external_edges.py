"""AgentCache's list of edges: which of them clients get to know."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.agentcache import AgentCache, running_agentcache

from jettythunder.hosts import HostList
from storage_gateway.edges.external import ExternalEdges
from storage_gateway.edges.store import Edge

FAR = {"id": "fra-1", "region": "eu-central", "url": "https://fra-1.edges.example/"}


@pytest.fixture
async def agentcache() -> AsyncIterator[AgentCache]:
    async with running_agentcache() as running:
        yield running


async def listed(
    agentcache: AgentCache, listing: Any, hosts: str = ".edges.example, 127.0.0.1"
) -> list[Edge]:
    """The edges of the list that are asked for their health."""
    agentcache.listing = listing
    return await ExternalEdges(agentcache.url, HostList(hosts)).known()


@pytest.mark.parametrize("wrapped", [False, True])
async def test_an_edge_on_an_allowed_host_is_listed_under_an_id_of_its_own(
    agentcache: AgentCache, wrapped: bool
) -> None:
    entries = [{**FAR, "id": "edge-1"}]
    [edge] = await listed(agentcache, {"edges": entries} if wrapped else entries)
    assert edge == Edge("agentcache:edge-1", "eu-central", "https://fra-1.edges.example", "external")


@pytest.mark.parametrize(
    "url",
    [
        "http://fra-1.edges.example",
        "https://edges.example.evil",
        "https://evil",
        "https://user:password@fra-1.edges.example",
        "https://fra-1.edges.example@evil",
        "ftp://fra-1.edges.example",
        "javascript:alert(1)",
        7,
    ],
)
async def test_an_edge_elsewhere_or_in_plaintext_is_dropped_and_the_others_stay(
    agentcache: AgentCache, url: Any
) -> None:
    edges = await listed(agentcache, [{"id": "other", "url": url}, FAR])
    assert [edge.id for edge in edges] == ["agentcache:fra-1"]


async def test_this_machine_needs_no_encryption(agentcache: AgentCache) -> None:
    [edge] = await listed(agentcache, [{"id": "near", "url": "http://127.0.0.1:9000"}])
    assert edge.url == "http://127.0.0.1:9000"


@pytest.mark.parametrize(
    "entry",
    [
        {**FAR, "id": "x" * 101},
        {**FAR, "id": "\x1b[31m"},
        {**FAR, "region": "r" * 100_000},
        {"url": FAR["url"]},
        {"id": "no-url"},
        "nonsense",
        None,
    ],
)
async def test_an_entry_of_another_form_is_dropped(agentcache: AgentCache, entry: Any) -> None:
    assert await listed(agentcache, [entry]) == []


async def test_a_long_list_is_cut(agentcache: AgentCache) -> None:
    edges = await listed(agentcache, [{**FAR, "id": f"e{number}"} for number in range(300)])
    assert len(edges) == 100


@pytest.mark.parametrize("listing", ["nonsense", "x" * 100_000, {"edges": 7}, {"edges": None}, 7, [[[[]]]]])
async def test_what_is_no_list_or_too_large_is_passed_over(agentcache: AgentCache, listing: Any) -> None:
    assert await listed(agentcache, listing) == []


async def test_a_redirect_is_not_followed(agentcache: AgentCache) -> None:
    async with running_agentcache() as other:
        other.listing = [FAR]
        agentcache.moved_to = f"{other.url}/edges"
        assert await listed(agentcache, []) == []
        assert other.asked == 0


async def test_without_allowed_hosts_nobody_is_asked(agentcache: AgentCache) -> None:
    assert await listed(agentcache, [FAR], hosts="") == []
    assert agentcache.asked == 0
