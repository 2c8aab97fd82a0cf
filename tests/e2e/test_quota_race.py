"""Fifty uploads at once into room for twenty."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.gateway import Backstage, Tenant, World, form, problem

SIZE = 12_345


async def known_length(tenant: Tenant) -> Any:
    return await tenant.upload(os.urandom(SIZE))


async def unknown_length(tenant: Tenant) -> Any:
    async def body() -> AsyncIterator[bytes]:
        for piece in form(("file", "a.bin", os.urandom(SIZE))):
            yield piece

    return await tenant.post_form(body())


@pytest.mark.parametrize("send", [known_length, unknown_length])
async def test_exactly_as_many_uploads_succeed_as_there_is_room_for(
    world: World, backstage: Backstage, send: Any
) -> None:
    tenant = await world.tenant()
    await backstage.set_quota(tenant, storage_quota_bytes=20 * SIZE + SIZE - 1)
    answers = await asyncio.gather(*(send(tenant) for _ in range(50)))
    assert Counter(answer.status_code for answer in answers) == {201: 20, 402: 30}
    refusals = {problem(answer) for answer in answers if answer.status_code == 402}
    assert refusals == {(402, "storage_quota_exceeded")}
    await backstage.holds_exactly(tenant, *(a.json()["asset"] for a in answers if a.status_code == 201))
    assert (await backstage.usage(tenant))["storage_used_bytes"] == 20 * SIZE
