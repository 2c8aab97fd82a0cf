"""Two hundred clients at once, through the API and through JettySpeed sessions, into room for a hundred."""

import asyncio
import os
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.gateway import GIGABYTE, MEGABYTE, Backstage, Tenant, World, problem

from jettythunder_client import ApiError, AsyncClient, Config

CLIENTS = 200
ROOM = 100
ALL_SECONDS = 480
REFUSED = (402, "storage_quota_exceeded")


async def begin_session(tenant: Tenant, size_bytes: int) -> httpx.Response:
    body = {"filename": "a.bin", "size_bytes": size_bytes}
    return await tenant.call("POST", "/api/storage/uploads", json=body)


async def test_not_one_byte_over_through_api_and_sessions_alike(world: World, backstage: Backstage) -> None:
    size_bytes = MEGABYTE // 10
    tenant = await world.tenant()
    await backstage.set_quota(tenant, storage_quota_bytes=ROOM * size_bytes + size_bytes - 1)
    content = [os.urandom(size_bytes) for _ in range(CLIENTS // 2)]
    answers = await asyncio.gather(
        *(call for body in content for call in (tenant.upload(body), begin_session(tenant, size_bytes)))
    )
    assert Counter(answer.status_code for answer in answers) == {201: ROOM, 402: CLIENTS - ROOM}
    assert {problem(answer) for answer in answers if answer.status_code == 402} == {REFUSED}

    begun = [answer.json() for answer in answers if answer.status_code == 201]
    assets = [answer["asset"] for answer in begun if "asset" in answer]
    sessions = [answer["upload"] for answer in begun if "upload" in answer]
    for session in sessions:
        ended = await tenant.call("DELETE", f"/api/storage/uploads/{session['id']}")
        assert ended.status_code == 200, ended.text
    await backstage.holds_exactly(tenant, *assets)


Asset = dict[str, Any]


async def through_the_api(tenant: Tenant, file: Path) -> Asset | None:
    """Upload a file as a form; its asset, or None where there was no room."""
    content = await asyncio.to_thread(file.read_bytes)
    answer = await tenant.upload(content, filename=file.name)
    if answer.status_code == 402:
        assert problem(answer) == REFUSED
        return None
    assert answer.status_code == 201, answer.text
    asset: Asset = answer.json()["asset"]
    return asset


async def through_a_session(tenant: Tenant, file: Path, state: Path) -> Asset | None:
    """Upload a file over the edges; its asset, or None where there was no room."""
    config = Config(
        api_url=tenant.base_url,
        api_key=tenant.api_key,
        api_secret=tenant.api_secret,
        max_threads=2,
        state_dir=state,
        retry_seconds=ALL_SECONDS,
    )
    async with AsyncClient(config) as client:
        try:
            uploaded = await client.upload(file, accelerate=True)
        except ApiError as error:
            assert (error.status, error.code) == REFUSED, error
            return None
    assert uploaded.route == "jettyspeed"
    return uploaded.asset


def write_files(folder: Path, size_bytes: int) -> list[Path]:
    """As many files as clients, no two alike."""
    rest = os.urandom(size_bytes - 16)
    files = [folder / f"{number}.bin" for number in range(CLIENTS)]
    for file in files:
        file.write_bytes(os.urandom(16) + rest)
    return files


@pytest.mark.deep
@pytest.mark.timeout(2 * ALL_SECONDS)
async def test_not_one_byte_over_the_last_gigabyte(
    world: World, backstage: Backstage, tmp_path: Path
) -> None:
    size_bytes = GIGABYTE // ROOM
    files = await asyncio.to_thread(write_files, tmp_path, size_bytes)
    tenant = await world.tenant()
    await backstage.set_quota(tenant, storage_quota_bytes=GIGABYTE)
    async with asyncio.timeout(ALL_SECONDS):
        stored = await asyncio.gather(
            *(
                through_a_session(tenant, file, tmp_path / f"state-{number}")
                if number % 2
                else through_the_api(tenant, file)
                for number, file in enumerate(files)
            )
        )
    assets = [asset for asset in stored if asset is not None]
    ways = Counter("session" if number % 2 else "api" for number, asset in enumerate(stored) if asset)
    print(f"{len(assets)} of {CLIENTS} stored: {dict(ways)}")
    assert len(assets) == ROOM
    await backstage.holds_exactly(tenant, *assets)
    assert (await backstage.usage(tenant))["storage_used_bytes"] == GIGABYTE
