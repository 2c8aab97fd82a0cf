"""What the Cloudflare Worker promises beside the contract of edges."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.support.uploads import Uploads, random_chunk
from tests.support.worker_edge import EDGE_SECRET, WorkerEdge

from .conftest import Client

pytestmark = pytest.mark.worker

MIB = 1 << 20
MOST_BYTES = 64 * MIB


async def test_a_chunk_is_not_held_in_memory(
    client: Client, worker_edge: WorkerEdge, uploads: Uploads
) -> None:
    for number in (1, 2):
        await client.put(worker_edge, await uploads.begin("session"), random_chunk(), number=number)
    before_bytes = memory_of(worker_edge)
    async with client.half_sent(worker_edge, await uploads.begin("session"), bytes(MOST_BYTES)) as sending:
        # drain has returned, so all but the sockets' buffers of 32 MiB is in the Worker or past it.
        assert memory_of(worker_edge) - before_bytes < 24 * MIB
        assert await sending.finish() == 200


def memory_of(worker: WorkerEdge) -> int:
    return sum(int(process.memory_info().rss) for process in worker.workerd)


async def test_a_chunk_larger_than_cloudflare_takes_is_refused_unread(
    client: Client, worker_edge: WorkerEdge, uploads: Uploads
) -> None:
    upload = await uploads.begin("session")
    token = client.token(upload, MOST_BYTES + 1)
    answer = await client.put(worker_edge, upload, beginning(), token=token)
    assert answer.problem == (413, "payload_too_large")


async def beginning() -> AsyncIterator[bytes]:
    """A body of unannounced length; wrangler, not Cloudflare, reads what the Worker leaves of it."""
    yield b"bytes"


async def test_its_health_says_who_it_is_and_what_it_takes(client: Client, worker_edge: WorkerEdge) -> None:
    async with client.http.get(f"{worker_edge.url}/healthz") as answer:
        said = await answer.json()
    assert (said["status"], said["id"], said["region"]) == ("ok", "near", "workerd")
    assert said["max_chunk_bytes"] == MOST_BYTES


async def test_its_log_has_no_secret(client: Client, worker_edge: WorkerEdge, uploads: Uploads) -> None:
    upload, data = await uploads.begin("session"), random_chunk()
    token = client.token(upload, len(data))
    assert (await client.put(worker_edge, upload, data, token=token)).status == 200
    refused = client.token(upload, len(data), s3_upload_id="another")
    assert (await client.put(worker_edge, upload, random_chunk(), token=refused)).status == 403
    log = await asyncio.to_thread(worker_edge.log_file.read_text)
    for secret in (EDGE_SECRET, token, refused, "X-Amz-Signature"):
        assert secret not in log
