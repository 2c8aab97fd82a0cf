"""What AgentCache's events do, and what becomes of those that can't do anything."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from tests.integration.provisioning.conftest import AgentCache, Authenticator, Broker, Gateway, Pool

from jettythunder.broker.settling import ATTEMPTS, ERROR_CODE, ERROR_MESSAGE
from jettythunder.contracts.accounts import ChangeTierV1, ProvisionAccountV1
from jettythunder.contracts.agentcache import MultimodalCacheEnabledV1, UserSignedUpV1, UserTierChangedV1
from jettythunder.settings import ServiceSettings
from provisioning.messages import PROVISIONING_EVENTS


def signup(user: str, *, tier: str = "pro") -> dict[str, str]:
    return {"user_id": user, "email": "test@example.com", "tier": tier}


async def test_a_signup_is_answered_with_credentials_on_its_reply_queue(
    agentcache: AgentCache, authenticator: Authenticator, user: str
) -> None:
    account = await agentcache.account(UserSignedUpV1.TYPE, signup(user))
    assert (account.agentcache_user_id, account.tier, account.created) == (user, "pro", True)
    assert await authenticator.accepts(account)


async def test_a_signup_delivered_twice_is_answered_with_the_same_credentials(
    agentcache: AgentCache, user: str
) -> None:
    event_id = uuid4()
    first = await agentcache.account(UserSignedUpV1.TYPE, signup(user), event_id=event_id)
    second = await agentcache.account(UserSignedUpV1.TYPE, signup(user), event_id=event_id)
    assert second == first.model_copy(update={"created": False})


async def test_a_signup_and_a_call_at_once_make_one_account(
    agentcache: AgentCache, gateway: Gateway, user: str
) -> None:
    command = ProvisionAccountV1(agentcache_user_id=user, agentcache_email="test@example.com", tier="pro")
    by_event, by_call = await asyncio.gather(
        agentcache.account(UserSignedUpV1.TYPE, signup(user)), gateway.account(command)
    )
    assert (by_event.id, by_event.api_secret) == (by_call.id, by_call.api_secret)


async def test_a_signup_without_reply_to_makes_the_account(
    agentcache: AgentCache, pool: Pool, user: str, eventually: Any
) -> None:
    await agentcache.publish(UserSignedUpV1.TYPE, signup(user))

    async def made() -> object:
        return await pool.fetchval(
            "SELECT folder_created_at FROM agentcache_accounts WHERE agentcache_user_ref = $1", user
        )

    assert await eventually(made)


async def test_a_replayed_signup_does_not_bring_a_deleted_account_back(
    agentcache: AgentCache, broker: Broker, pool: Pool, user: str
) -> None:
    event_id = uuid4()
    account = await agentcache.account(UserSignedUpV1.TYPE, signup(user), event_id=event_id)
    await pool.execute("DELETE FROM agentcache_accounts WHERE id = $1", account.id)
    message_id = await agentcache.publish(UserSignedUpV1.TYPE, signup(user), event_id=event_id)
    dead = await broker.dead_letter(PROVISIONING_EVENTS, message_id)
    assert dead.headers[ERROR_CODE] == "account_not_found"


async def test_enabling_the_multimodal_cache_makes_a_missing_account(
    agentcache: AgentCache, user: str
) -> None:
    account = await agentcache.account(MultimodalCacheEnabledV1.TYPE, signup(user, tier="starter"))
    assert (account.created, account.tier) == (True, "starter")


async def test_enabling_the_multimodal_cache_leaves_an_account_as_it_is(
    agentcache: AgentCache, user: str
) -> None:
    first = await agentcache.account(UserSignedUpV1.TYPE, signup(user))
    again = await agentcache.account(MultimodalCacheEnabledV1.TYPE, signup(user, tier="business"))
    assert again == first.model_copy(update={"created": False})


async def test_a_tier_change_that_overtakes_its_signup_takes_effect(
    agentcache: AgentCache, pool: Pool, user: str, eventually: Any
) -> None:
    await agentcache.publish(UserTierChangedV1.TYPE, {"user_id": user, "tier": "business"})
    await agentcache.account(UserSignedUpV1.TYPE, signup(user, tier="starter"))

    async def moved() -> bool:
        tier = await pool.fetchval(
            "SELECT agentcache_tier FROM agentcache_accounts WHERE agentcache_user_ref = $1", user
        )
        return bool(tier == "business")

    assert await eventually(moved)


async def test_a_tier_change_of_a_user_who_never_signs_up_ends_as_a_dead_letter(
    agentcache: AgentCache, broker: Broker, user: str
) -> None:
    delays = ServiceSettings.model_fields["retry_delays_seconds"].default
    # As it comes back from the last of the wait queues.
    message_id = await agentcache.publish(
        UserTierChangedV1.TYPE,
        {"user_id": user, "tier": "pro"},
        headers={ATTEMPTS: len(delays)},
        exchange="",
        routing_key=PROVISIONING_EVENTS.name,
    )
    dead = await broker.dead_letter(PROVISIONING_EVENTS, message_id)
    assert dead.headers[ERROR_CODE] == "account_not_provisioned_yet"


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        ({"email": "test@example.com", "tier": "pro"}, "malformed_event", "data.user_id: missing"),
        ("no object", "malformed_event", "data: model"),
        ({"user_id": "", "email": "test@example.com", "tier": "pro"}, "malformed_event", "data.user_id"),
        ({"user_id": "a\tb", "email": "test@example.com", "tier": "pro"}, "invalid_field", "user id"),
        ({"user_id": "a", "email": "test", "tier": "pro"}, "invalid_field", "name@domain"),
        ({"user_id": "a", "email": "test@example.com", "tier": "gold"}, "unknown_tier", "The tiers are"),
    ],
)
async def test_an_event_that_can_do_nothing_is_a_dead_letter_with_a_reason(
    agentcache: AgentCache, broker: Broker, data: object, code: str, reason: str
) -> None:
    message_id = await agentcache.publish(UserSignedUpV1.TYPE, data)
    dead = await broker.dead_letter(PROVISIONING_EVENTS, message_id)
    assert dead.headers[ERROR_CODE] == code
    assert reason in str(dead.headers[ERROR_MESSAGE])


async def test_a_tier_change_by_event_and_by_call_are_the_same(
    agentcache: AgentCache, gateway: Gateway, user: str
) -> None:
    await agentcache.account(UserSignedUpV1.TYPE, signup(user, tier="free"))
    by_event = await agentcache.account(UserTierChangedV1.TYPE, {"user_id": user, "tier": "pro"})
    by_call = await gateway.account(ChangeTierV1(agentcache_user_id=user, tier="pro"))
    assert by_call == by_event
