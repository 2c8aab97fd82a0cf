"""Two hundred clients at once, through the API and through upload sessions, into room for a hundred."""

import asyncio
import os
from collections import Counter

import httpx
from tests.support.gateway import Backstage, Tenant, World, problem

SIZE = 1_000_000
CLIENTS = 200
ROOM = 100


async def begin_session(tenant: Tenant) -> httpx.Response:
    return await tenant.call("POST", "/api/storage/uploads", json={"filename": "a.bin", "size_bytes": SIZE})


async def test_not_one_byte_over_through_api_and_sessions_alike(world: World, backstage: Backstage) -> None:
    tenant = await world.tenant()
    quota = ROOM * SIZE + SIZE - 1
    await backstage.set_quota(tenant, storage_quota_bytes=quota)
    content = [os.urandom(SIZE) for _ in range(CLIENTS // 2)]
    answers = await asyncio.gather(
        *(call for body in content for call in (tenant.upload(body), begin_session(tenant)))
    )
    assert Counter(answer.status_code for answer in answers) == {201: ROOM, 402: CLIENTS - ROOM}
    refusals = {problem(answer) for answer in answers if answer.status_code == 402}
    assert refusals == {(402, "storage_quota_exceeded")}

    begun = [answer.json() for answer in answers if answer.status_code == 201]
    assets = [answer["asset"] for answer in begun if "asset" in answer]
    sessions = [answer["upload"] for answer in begun if "upload" in answer]
    for session in sessions:
        ended = await tenant.call("DELETE", f"/api/storage/uploads/{session['id']}")
        assert ended.status_code == 200, ended.text
    await backstage.holds_exactly(tenant, *assets)
