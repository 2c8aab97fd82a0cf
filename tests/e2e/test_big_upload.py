"""A file of a hundred megabytes: through the gateway, the broker and several workers, and back."""

import hashlib
import os

from tests.support.gateway import MEGABYTE, Backstage, World

SIZE = 100 * MEGABYTE


async def test_a_big_file_goes_through_several_workers_and_comes_back_whole(
    world: World, backstage: Backstage
) -> None:
    tenant = await world.tenant("business")
    content = os.urandom(SIZE)
    answer = await tenant.upload(content, filename="film.mp4")
    assert answer.status_code == 201, answer.text
    asset = answer.json()["asset"]
    chunks = await backstage.pool.fetch(
        "SELECT number, size_bytes, edge FROM upload_chunks WHERE upload_id = $1 ORDER BY number",
        (await backstage.last_upload(tenant))["id"],
    )
    # Ten, or fewer where the workers keep up with the client: chunks are larger then.
    assert 2 <= len(chunks) <= 10
    assert [chunk["number"] for chunk in chunks] == list(range(1, len(chunks) + 1))
    assert sum(chunk["size_bytes"] for chunk in chunks) == SIZE
    assert len({chunk["edge"] for chunk in chunks}) > 1

    digest = hashlib.sha256()
    url = f"{tenant.base_url}/api/storage/stream/{asset['id']}"
    async with world.http.stream("GET", url, headers=tenant.headers) as read:
        async for block in read.aiter_raw():
            digest.update(block)
    assert digest.hexdigest() == hashlib.sha256(content).hexdigest() == asset["content_hash"]
    await backstage.holds_exactly(tenant, asset)
    quota = (await tenant.get("/api/agentcache/quota")).json()
    assert (quota["storage"]["used_bytes"], quota["storage"]["used_gb"]) == (SIZE, 0.1)
