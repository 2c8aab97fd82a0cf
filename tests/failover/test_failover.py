"""The primary is lost under load and its standby promoted: nothing that was acknowledged is lost with it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable

import asyncpg
import pytest
from tests.chaos.accounting import account_for_everything
from tests.chaos.load import Load
from tests.failover.load import ENVIRONMENT, opened_load, running
from tests.failover.servers import Server, own_servers
from tests.support.infrastructure import running_infrastructure, start_services
from tests.support.waiting import eventually

from jettythunder_dev.stack import is_ready

UPLOADS_BEFORE = 20
UPLOADS_AFTER = 20
FAILURES = 10
RECOVERY_SECONDS = 180.0

# What a caller may be told while there is no primary: that the call can be repeated, with a stable code.
TOLD = re.compile(r"503 [a-z_]+")


@pytest.mark.failover
@pytest.mark.timeout(600)
@pytest.mark.parametrize("lose", [Server.kill, Server.freeze], ids=["killed", "silent"])
async def test_nothing_acknowledged_is_lost_with_the_primary(
    lose: Callable[[Server], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with own_servers() as servers:
        primary = await asyncio.to_thread(servers.make_primary)
        standby = await asyncio.to_thread(servers.make_standby, primary)
        both = primary.url().replace(f":{primary.port}/", f":{primary.port},127.0.0.1:{standby.port}/")
        variables = {"DATABASE_URL": f"{both}?target_session_attrs=read-write"}
        with running_infrastructure(variables=variables) as infrastructure:
            services = start_services(infrastructure, workers=1, environment=ENVIRONMENT)
            async with (
                opened_load(infrastructure, services) as load,
                asyncpg.create_pool(infrastructure.database_url, min_size=0, max_size=4) as pool,
            ):
                async with running(load):
                    await eventually(lambda: load.uploads >= UPLOADS_BEFORE, timeout_seconds=RECOVERY_SECONDS)
                    before = load.counts.copy()
                    lost_at = time.monotonic()
                    await asyncio.to_thread(lose, primary)
                    if lose is Server.kill:
                        await eventually(lambda: load.failures >= FAILURES, timeout_seconds=RECOVERY_SECONDS)
                    acknowledged = load.uploads
                    promoting_at = time.monotonic()
                    await asyncio.to_thread(standby.promote)
                    promoted_at = time.monotonic()
                    await eventually(lambda: load.uploads > acknowledged, timeout_seconds=RECOVERY_SECONDS)
                    back_at = time.monotonic()
                    for url in services.urls.values():
                        await eventually(
                            lambda: asyncio.to_thread(is_ready, url),  # noqa: B023
                            timeout_seconds=RECOVERY_SECONDS,
                        )
                    ready_at = time.monotonic()
                    enough = acknowledged + UPLOADS_AFTER
                    await eventually(lambda: load.uploads >= enough, timeout_seconds=RECOVERY_SECONDS)
                # As whoever promotes a standby sees to it: the old primary does not come back.
                await asyncio.to_thread(primary.kill)
                told = _failures(load)
                with capsys.disabled():
                    print("\nthe primary was lost:")
                    print(f"  promotion asked for after: {promoting_at - lost_at:.2f} s")
                    print(f"  promotion took: {promoted_at - promoting_at:.2f} s")
                    print(f"  first upload after the promotion: {back_at - promoted_at:.2f} s")
                    print(f"  all services ready after the promotion: {ready_at - promoted_at:.2f} s")
                    print(f"  load before: {dict(before)}")
                    print(f"  told to callers: {told}")
                    await account_for_everything(infrastructure, services, load, pool)
                answered = [name for name in told if name[0].isdigit()]
                assert all(TOLD.fullmatch(name) for name in answered), told


def _failures(load: Load) -> dict[str, int]:
    return {
        name.removeprefix("failed: "): count
        for name, count in load.counts.items()
        if name.startswith("failed: ")
    }
