"""Which edges are listed by what they answer when they are asked for their health."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client import REGISTRY
from tests.support.edge_health import HealthyEdge, running_edge

from storage_gateway.edges.health import HealthChecks
from storage_gateway.edges.known import Edges
from storage_gateway.edges.store import Edge, EdgeCount

WORKER = {"id": "cf-1", "region": "global", "max_chunk_bytes": 64 << 20}


class Listed:
    """AgentCache's list."""

    def __init__(self, *edges: Edge) -> None:
        self.edges = list(edges)

    async def known(self) -> list[Edge]:
        return self.edges


class OwnEdges:
    async def live(self, *, silent_seconds: float) -> list[Edge]:
        return [Edge("edge-1", "local", "http://127.0.0.1:3100", "worker")]

    async def count(self, *, silent_seconds: float) -> EdgeCount:
        return EdgeCount(live=1, silent=2)


@pytest.fixture
async def worker() -> AsyncIterator[HealthyEdge]:
    async with running_edge(**WORKER) as running:
        yield running


async def test_a_worker_is_listed_with_what_it_says_of_itself(worker: HealthyEdge) -> None:
    checks = HealthChecks(Listed(), [worker.url])
    await checks.check()
    assert checks.healthy() == [Edge("cloudflare:cf-1", "global", worker.url, "external", 64 << 20)]


async def test_an_edge_of_agentcache_keeps_the_id_that_agentcache_gave_it(worker: HealthyEdge) -> None:
    checks = HealthChecks(Listed(Edge("agentcache:fra-1", "eu", worker.url, "external")), [])
    await checks.check()
    assert checks.healthy() == [Edge("agentcache:fra-1", "eu", worker.url, "external", 64 << 20)]


async def test_an_edge_that_has_not_answered_is_not_listed(worker: HealthyEdge) -> None:
    worker.status = 503
    checks = HealthChecks(Listed(), [worker.url, "http://127.0.0.1:9"])
    await checks.check()
    assert (checks.healthy(), worker.asked) == ([], 1)


async def test_an_edge_that_fails_is_dropped_once_it_was_silent_for_long(worker: HealthyEdge) -> None:
    clock = 100.0
    checks = HealthChecks(Listed(), [worker.url], clock=lambda: clock)
    await checks.check()
    worker.status = 503
    clock += 14
    await checks.check()
    assert [edge.url for edge in checks.healthy()] == [worker.url]
    clock += 2
    assert checks.healthy() == []
    worker.status = 200
    await checks.check()
    assert [edge.url for edge in checks.healthy()] == [worker.url]


async def test_an_edge_that_is_not_listed_any_more_is_dropped_at_once(worker: HealthyEdge) -> None:
    listed = Listed(Edge("agentcache:fra-1", "eu", worker.url, "external"))
    checks = HealthChecks(listed, [])
    await checks.check()
    listed.edges = []
    await checks.check()
    assert checks.healthy() == []


@pytest.mark.parametrize(
    "says",
    [[], "text", {**WORKER, "max_chunk_bytes": "many"}, {**WORKER, "id": "\x1b[31m"}, {"id": "x" * 9000}],
)
async def test_an_answer_of_another_form_counts_as_none(worker: HealthyEdge, says: Any) -> None:
    worker.says = says
    checks = HealthChecks(Listed(), [worker.url])
    await checks.check()
    assert checks.healthy() == []


async def test_a_redirect_is_not_followed(worker: HealthyEdge) -> None:
    async with running_edge(**WORKER) as other:
        worker.moved_to = f"{other.url}/healthz"
        checks = HealthChecks(Listed(), [worker.url])
        await checks.check()
        assert (checks.healthy(), other.asked) == ([], 0)


async def test_a_session_is_told_of_the_edges_that_take_its_chunks(worker: HealthyEdge) -> None:
    checks = HealthChecks(Listed(), [worker.url])
    await checks.check()
    edges = Edges(OwnEdges(), checks, direct_url=None, region="r")
    assert [edge["id"] for edge in await edges.answer(chunk_bytes=64 << 20)] == ["edge-1", "cloudflare:cf-1"]
    assert [edge["id"] for edge in await edges.answer(chunk_bytes=(64 << 20) + 1)] == ["edge-1"]


async def test_our_own_edges_are_counted_by_their_state() -> None:
    await Edges(OwnEdges(), HealthChecks(Listed(), []), direct_url=None, region="r").watch()
    counts = [
        REGISTRY.get_sample_value("jettythunder_edges", {"state": state}) for state in ("live", "silent")
    ]
    assert counts == [1, 2]
