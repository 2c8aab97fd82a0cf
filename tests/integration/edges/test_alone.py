"""An edge that is nothing else: without the broker, in a role that may call functions and touch no table."""

from collections.abc import Iterator

import pytest
from tests.support.event_log import logged_events
from tests.support.infrastructure import Infrastructure, RunningService, ServiceStarter
from tests.support.uploads import Uploads, md5_of, random_chunk
from tests.support.waiting import eventually

from jettythunder.contracts.uploads import ChunkUploadedV1

from .conftest import BRISK, Client


@pytest.fixture(scope="module")
def lone_edge(
    uploads: Uploads, infrastructure: Infrastructure, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    starter = ServiceStarter(infrastructure, tmp_path_factory.mktemp("alone"))
    yield starter("edge", {"EDGE_ID": "alone", "EDGE_CHUNK_ATTEMPTS": "2", **BRISK})
    starter.end()


async def test_it_needs_the_database_and_the_object_storage(
    client: Client, lone_edge: RunningService
) -> None:
    async with client.http.get(f"{lone_edge.url}/readyz") as answer:
        assert (await answer.json())["checks"] == {"database": "ok", "storage": "ok"}


async def test_it_is_listed(lone_edge: RunningService, uploads: Uploads) -> None:
    async def listed() -> object:
        return await uploads.pool.fetchval("SELECT url FROM edges WHERE id = 'alone'")

    assert await eventually(listed) == lone_edge.url


async def test_its_chunks_are_recorded_and_others_publish_the_event(
    client: Client,
    lone_edge: RunningService,
    edges: list[RunningService],
    uploads: Uploads,
    infrastructure: Infrastructure,
) -> None:
    upload, data = await uploads.begin("session"), random_chunk()
    answer = await client.put(lone_edge, upload, data)
    assert (answer.status, answer.body["md5"], answer.body["edge"]) == (200, md5_of(data), "alone")

    async def published() -> bool:
        events = await logged_events(infrastructure.rabbitmq_url, ChunkUploadedV1.TYPE)
        return any(event.data["upload_id"] == str(upload.id) for event in events)

    await eventually(published, timeout_seconds=30)
    assert await uploads.object_of(upload) == data


async def test_a_token_that_is_revoked_on_the_way_records_nothing(
    client: Client, lone_edge: RunningService, uploads: Uploads
) -> None:
    upload, data = await uploads.begin("session"), random_chunk()
    async with client.half_sent(lone_edge, upload, data) as sending:

        async def begun() -> bool:
            found = await uploads.pool.fetchval("SELECT in_flight_bytes FROM edges WHERE id = 'alone'")
            return bool(found)

        await eventually(begun)
        await uploads.change_account(upload, "epoch = epoch + 1")
        assert await sending.finish() == 409
    assert await uploads.rows(upload) == []


async def test_a_token_is_good_for_a_bounded_number_of_times(
    client: Client, lone_edge: RunningService, uploads: Uploads
) -> None:
    upload = await uploads.begin("session")
    token = client.token(upload, len(random_chunk()))
    for _ in range(2):
        assert (await client.put(lone_edge, upload, random_chunk(), token=token)).status == 200
    refused = await client.put(lone_edge, upload, random_chunk(), token=token)
    assert refused.problem == (429, "too_many_attempts")
    assert 0 < int(refused.headers["Retry-After"]) <= 900
    renewed = client.token(upload, len(random_chunk()))
    assert (await client.put(lone_edge, upload, random_chunk(), token=renewed)).status == 429
