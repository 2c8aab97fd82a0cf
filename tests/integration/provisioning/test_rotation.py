"""Rotating credentials."""

import asyncio
from uuid import uuid4

from tests.integration.provisioning.conftest import AgentCache, Authenticator, Gateway

from jettythunder.broker import topology
from jettythunder.contracts.accounts import AccountReply, ProvisionAccountV1, RotateCredentialsV1


async def provision(gateway: Gateway, user: str) -> AccountReply:
    return await gateway.account(
        ProvisionAccountV1(agentcache_user_id=user, agentcache_email="test@example.com", tier="pro")
    )


async def test_both_pairs_are_accepted_within_the_grace_time(
    gateway: Gateway, authenticator: Authenticator, user: str
) -> None:
    old = await provision(gateway, user)
    new = await gateway.account(RotateCredentialsV1(agentcache_user_id=user, grace_seconds=3600))
    assert {old.api_key, old.api_secret}.isdisjoint({new.api_key, new.api_secret})
    assert await authenticator.accepts(old)
    assert await authenticator.accepts(new)


async def test_without_grace_the_old_pair_is_refused_at_once(
    gateway: Gateway, authenticator: Authenticator, user: str
) -> None:
    old = await provision(gateway, user)
    new = await gateway.account(RotateCredentialsV1(agentcache_user_id=user, grace_seconds=0))
    assert not await authenticator.accepts(old)
    assert await authenticator.accepts(new)


async def test_keys_and_secrets_of_different_pairs_do_not_mix(
    gateway: Gateway, authenticator: Authenticator, user: str
) -> None:
    old = await provision(gateway, user)
    new = await gateway.account(RotateCredentialsV1(agentcache_user_id=user))
    assert not await authenticator.accepts(old.model_copy(update={"api_secret": new.api_secret}))


async def test_provisioning_again_answers_with_the_rotated_pair(gateway: Gateway, user: str) -> None:
    await provision(gateway, user)
    rotated = await gateway.account(RotateCredentialsV1(agentcache_user_id=user))
    assert await provision(gateway, user) == rotated


async def test_a_repeated_delivery_rotates_once(gateway: Gateway, agentcache: AgentCache, user: str) -> None:
    await provision(gateway, user)
    data = {"agentcache_user_id": user, "grace_seconds": 60}
    delivery = {"exchange": topology.COMMANDS, "event_id": uuid4()}
    first = await agentcache.account(RotateCredentialsV1.TYPE, data, **delivery)
    assert await agentcache.account(RotateCredentialsV1.TYPE, data, **delivery) == first


async def test_rotations_at_once_leave_one_current_pair(
    gateway: Gateway, authenticator: Authenticator, user: str
) -> None:
    await provision(gateway, user)
    command = RotateCredentialsV1(agentcache_user_id=user, grace_seconds=0)
    pairs = await asyncio.gather(*(gateway.account(command) for _ in range(5)))
    assert len({pair.api_key for pair in pairs}) == 5
    assert [await authenticator.accepts(pair) for pair in pairs].count(True) == 1


async def test_an_unknown_user_is_denied(gateway: Gateway, user: str) -> None:
    denied = await gateway.denial(RotateCredentialsV1(agentcache_user_id=user))
    assert denied.code == "account_not_found"
