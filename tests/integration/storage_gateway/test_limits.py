"""Rate limits: per tier, exact, shared by all gateways; by address for what has no account."""

import asyncio
from collections import Counter

from tests.support.gateway import Backstage, World, problem
from tests.support.infrastructure import RunningService

QUOTA = "/api/agentcache/quota"


async def test_a_tier_s_requests_are_counted_exactly_across_gateways(
    world: World, impatient_gateway: RunningService
) -> None:
    tenant = await world.tenant("free")
    both = [tenant, tenant.at(impatient_gateway.url)]
    answers = await asyncio.gather(*(both[i % 2].get(QUOTA) for i in range(30)))
    assert Counter(answer.status_code for answer in answers) == {200: 10, 429: 20}
    remaining = [int(a.headers["ratelimit-remaining"]) for a in answers if a.status_code == 200]
    assert sorted(remaining) == list(range(10))


async def test_a_refusal_says_when_to_come_again(world: World) -> None:
    tenant = await world.tenant("free")
    for _ in range(10):
        await tenant.get(QUOTA)
    refused = await tenant.get(QUOTA)
    assert problem(refused) == (429, "rate_limited")
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert refused.headers["ratelimit-remaining"] == "0"


async def test_requests_are_let_in_again_when_the_window_has_moved_on(
    world: World, backstage: Backstage
) -> None:
    tenant = await world.tenant("free")
    for _ in range(11):
        await tenant.get(QUOTA)
    await backstage.pool.execute(
        "UPDATE rate_limits SET window_start = window_start - interval '120 s' WHERE subject = $1",
        f"account:{tenant.account_id}",
    )
    assert (await tenant.get(QUOTA)).status_code == 200


async def test_every_answer_to_a_tenant_tells_its_limit(world: World) -> None:
    tenant = await world.tenant("pro")
    headers = (await tenant.get(QUOTA)).headers
    assert headers["ratelimit-limit"] == "300"
    assert headers["ratelimit-remaining"] == "299"
    assert 0 < int(headers["ratelimit-reset"]) <= 60
    assert headers["ratelimit-policy"] == "300;w=60"


async def test_a_wrong_secret_uses_up_nothing_of_the_account(world: World) -> None:
    tenant = await world.tenant("free")
    for _ in range(12):
        await tenant.get(QUOTA, headers={"X-API-Secret": "wrong"})
    assert (await tenant.get(QUOTA)).headers["ratelimit-remaining"] == "9"


async def test_an_address_is_limited_where_there_is_no_account(
    world: World, impatient_gateway: RunningService
) -> None:
    async def knock(address: str) -> int:
        answer = await world.http.get(
            impatient_gateway.url + QUOTA,
            headers={"Authorization": "Bearer jt_x", "X-API-Secret": "s", "X-Forwarded-For": address},
        )
        return answer.status_code

    knocks = await asyncio.gather(*(knock("203.0.113.7") for _ in range(30)))
    assert Counter(knocks) == {401: 20, 429: 10}
    assert await knock("203.0.113.8") == 401
