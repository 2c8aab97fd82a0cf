"""Edges come and go in the list of edges."""

from datetime import timedelta

import asyncpg
from tests.support.infrastructure import RunningService, ServiceStarter
from tests.support.uploads import Uploads
from tests.support.waiting import eventually

from .conftest import BRISK

# Far longer than between two heartbeats, also of a busy machine.
SILENCE = timedelta(seconds=3)


async def row(uploads: Uploads, edge_id: str) -> asyncpg.Record | None:
    return await uploads.pool.fetchrow(
        "SELECT *, now() - last_seen_at AS silence FROM edges WHERE id = $1", edge_id
    )


async def test_an_edge_lists_itself_and_leaves_the_list(
    start_service: ServiceStarter, uploads: Uploads
) -> None:
    told = {"EDGE_ID": "passing", "EDGE_REGION": "eu-1", "EDGE_BUDGET_BYTES": "1000"}
    edge = start_service("chunk-worker", told)
    listed = await eventually(lambda: row(uploads, "passing"))
    assert (listed["region"], listed["url"], listed["capacity_bytes"]) == ("eu-1", edge.url, 1000)
    edge.terminate()
    assert await row(uploads, "passing") is None


async def test_a_living_edge_keeps_its_row_fresh(edge: RunningService, uploads: Uploads) -> None:
    first = await eventually(lambda: row(uploads, "near"))

    async def seen_again() -> bool:
        now = await row(uploads, "near")
        assert now is not None
        return bool(now["last_seen_at"] > first["last_seen_at"])

    await eventually(seen_again)


async def test_a_killed_edge_falls_silent(start_service: ServiceStarter, uploads: Uploads) -> None:
    edge = start_service("chunk-worker", {"EDGE_ID": "killed", **BRISK})
    await eventually(lambda: row(uploads, "killed"))
    edge.kill()

    async def silent() -> bool:
        left = await row(uploads, "killed")
        assert left is not None
        return bool(left["silence"] > SILENCE)

    await eventually(silent)


async def test_a_worker_without_address_is_no_edge(start_service: ServiceStarter, uploads: Uploads) -> None:
    start_service("chunk-worker", {"EDGE_ID": "hidden", "EDGE_URL": None})
    assert await row(uploads, "hidden") is None
