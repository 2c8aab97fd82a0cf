"""An edge that is stopped leaves the list first, and refuses new chunks while it finishes those under way."""

import asyncio

from tests.support.infrastructure import ServiceStarter
from tests.support.uploads import Uploads, random_chunk
from tests.support.waiting import eventually

from .conftest import BRISK, Client, listed_load


async def test_an_edge_leaves_the_list_before_its_last_chunk_has_arrived(
    client: Client, start_service: ServiceStarter, uploads: Uploads
) -> None:
    edge = start_service("chunk-worker", {"EDGE_ID": "leaving", **BRISK})
    other = await uploads.begin("session")
    async with client.half_sent(edge, await uploads.begin("session"), random_chunk()) as sending:

        async def is_receiving() -> bool:
            return await listed_load(uploads, "leaving") > 0

        await eventually(is_receiving)
        edge.process.terminate()

        async def is_off_the_list() -> bool:
            return not await uploads.pool.fetchval("SELECT count(*) FROM edges WHERE id = 'leaving'")

        await eventually(is_off_the_list)

        async def refused() -> bool:
            answer = await client.put(edge, other, random_chunk())
            assert answer.problem == (503, "shutting_down")
            assert int(answer.headers["Retry-After"]) >= 1
            return True

        await eventually(refused)
        assert await sending.finish() == 200
    await asyncio.to_thread(edge.wait_for_end)
