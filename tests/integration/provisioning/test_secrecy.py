"""Where credentials must never be."""

from typing import Any

import pytest
from tests.integration.provisioning.conftest import AgentCache, Broker, Gateway, Pool
from tests.support.infrastructure import RunningService

from jettythunder.broker import topology
from jettythunder.contracts.accounts import (
    AccountCredentialsRotatedV1,
    AccountProvisionedV1,
    AccountReply,
    ProvisionAccountV1,
    RotateCredentialsV1,
)
from jettythunder.contracts.agentcache import UserSignedUpV1
from provisioning.messages import PROVISIONING_EVENTS


def provision(user: str) -> ProvisionAccountV1:
    return ProvisionAccountV1(agentcache_user_id=user, agentcache_email="test@example.com", tier="pro")


async def logged(broker: Broker) -> str:
    return "\n".join(f"{message.headers} {message.body!r}" for message in await broker.event_log())


async def rotated(gateway: Gateway, broker: Broker, user: str, eventually: Any) -> list[AccountReply]:
    """Both pairs of an account, once the event log tells of it and of its rotation."""
    pairs = [
        await gateway.account(provision(user)),
        await gateway.account(RotateCredentialsV1(agentcache_user_id=user)),
    ]
    account_id = str(pairs[0].id)

    async def told() -> bool:
        kinds = (AccountProvisionedV1.TYPE, AccountCredentialsRotatedV1.TYPE)
        return all([await broker.events(kind, account_id=account_id) for kind in kinds])

    assert await eventually(told)
    return pairs


async def test_no_event_holds_a_key_or_a_secret(
    gateway: Gateway, broker: Broker, user: str, eventually: Any
) -> None:
    pairs = await rotated(gateway, broker, user, eventually)
    everything = await logged(broker)
    assert not [p for p in pairs if p.api_secret in everything or p.api_key in everything]


async def test_no_table_holds_a_secret(
    gateway: Gateway, broker: Broker, pool: Pool, user: str, eventually: Any
) -> None:
    pairs = await rotated(gateway, broker, user, eventually)
    tables = await pool.fetchval("SELECT schema_to_xml('public', true, false, '')::text")
    assert pairs[1].api_key in tables
    assert not [p for p in pairs if p.api_secret in tables]


@pytest.mark.parametrize("queue", [topology.EVENT_LOG, PROVISIONING_EVENTS.dead_letter_queue])
async def test_a_reply_to_that_names_a_queue_of_ours_gets_nothing(
    agentcache: AgentCache,
    gateway: Gateway,
    broker: Broker,
    channel: Any,
    pool: Pool,
    user: str,
    eventually: Any,
    queue: str,
) -> None:
    data = {"user_id": user, "email": "test@example.com", "tier": "pro"}
    before = await channel.declare_queue(PROVISIONING_EVENTS.dead_letter_queue, passive=True)
    await agentcache.publish(UserSignedUpV1.TYPE, data, reply_to=queue)

    async def answered() -> object:
        return await pool.fetchval(
            "SELECT folder_created_at FROM agentcache_accounts WHERE agentcache_user_ref = $1", user
        )

    await eventually(answered)
    account = await gateway.account(provision(user))
    after = await channel.declare_queue(PROVISIONING_EVENTS.dead_letter_queue, passive=True)
    assert after.declaration_result.message_count == before.declaration_result.message_count
    assert account.api_secret not in await logged(broker)


async def test_the_log_holds_no_key_and_no_secret(
    gateway: Gateway, broker: Broker, provisioning: RunningService, user: str, eventually: Any
) -> None:
    pairs = await rotated(gateway, broker, user, eventually)
    written = provisioning.log()
    assert AccountProvisionedV1.TYPE in written
    assert not [p for p in pairs if p.api_secret in written or p.api_key in written]
