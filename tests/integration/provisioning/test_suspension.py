"""Suspending accounts by command."""

import pytest
from tests.integration.provisioning.conftest import Gateway, Pool

from jettythunder.contracts.accounts import (
    ProvisionAccountV1,
    ResumeAccountV1,
    RotateCredentialsV1,
    SuspendAccountV1,
)


async def test_a_suspension_begins_and_ends(gateway: Gateway, pool: Pool, user: str) -> None:
    wanted = ProvisionAccountV1(agentcache_user_id=user, agentcache_email="test@example.com", tier="pro")
    await gateway.account(wanted)
    suspended = await gateway.account(SuspendAccountV1(agentcache_user_id=user))
    since = await suspended_at(pool, user)
    again = await gateway.account(SuspendAccountV1(agentcache_user_id=user))
    assert (suspended.status, again.status) == ("suspended", "suspended")
    assert since is not None
    assert await suspended_at(pool, user) == since
    resumed = await gateway.account(ResumeAccountV1(agentcache_user_id=user))
    assert (resumed.status, await suspended_at(pool, user)) == ("active", None)


async def test_a_suspension_raises_the_epoch_once(gateway: Gateway, pool: Pool, user: str) -> None:
    wanted = ProvisionAccountV1(agentcache_user_id=user, agentcache_email="test@example.com", tier="pro")
    await gateway.account(wanted)
    epochs = [await epoch(pool, user)]
    for command in (SuspendAccountV1, SuspendAccountV1, ResumeAccountV1, SuspendAccountV1):
        await gateway.account(command(agentcache_user_id=user))
        epochs.append(await epoch(pool, user))
    assert epochs == [0, 1, 1, 1, 2]


@pytest.mark.parametrize(("grace_seconds", "raised"), [(0, 1), (1, 0), (86_400, 0)])
async def test_a_rotation_without_grace_raises_the_epoch(
    gateway: Gateway, pool: Pool, user: str, grace_seconds: int, raised: int
) -> None:
    wanted = ProvisionAccountV1(agentcache_user_id=user, agentcache_email="test@example.com", tier="pro")
    await gateway.account(wanted)
    await gateway.account(RotateCredentialsV1(agentcache_user_id=user, grace_seconds=grace_seconds))
    assert await epoch(pool, user) == raised


async def epoch(pool: Pool, user: str) -> object:
    return await pool.fetchval("SELECT epoch FROM agentcache_accounts WHERE agentcache_user_ref = $1", user)


async def test_an_unknown_user_is_denied(gateway: Gateway, user: str) -> None:
    denied = await gateway.denial(SuspendAccountV1(agentcache_user_id=user))
    assert denied.code == "account_not_found"


async def suspended_at(pool: Pool, user: str) -> object:
    return await pool.fetchval(
        "SELECT suspended_at FROM agentcache_accounts WHERE agentcache_user_ref = $1", user
    )
