"""The database is restored to a moment from its backup and archived WAL, and all else agrees with it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.chaos.accounting import is_quiet
from tests.chaos.load import Load
from tests.failover.load import ENVIRONMENT, opened_load, running
from tests.failover.servers import Server, Servers, own_servers
from tests.support.commands import jettythunder
from tests.support.infrastructure import Infrastructure, Services, running_infrastructure, start_services
from tests.support.waiting import eventually, eventually_sync

from jettythunder.broker.event_log import open_event_log
from jettythunder.broker.topology import event_queues
from operations.replays.replay import is_bound

UPLOADS = 10
SETTLE_SECONDS = 240.0
RECOVERY_SECONDS = 120.0
METERING, SIGN_UPS = "usage-meter.events", "provisioning.agentcache-events"


@pytest.mark.failover
@pytest.mark.timeout(900)
async def test_the_database_is_restored_to_a_moment(capsys: pytest.CaptureFixture[str]) -> None:
    with own_servers() as servers:
        archive, backup = servers.empty_folder("archive"), servers.empty_folder("backup")
        keep = f"test ! -f {archive}/%f && cp %p {archive}/%f"
        primary = await asyncio.to_thread(servers.make_primary, archive_mode="on", archive_command=keep)
        with running_infrastructure(variables={"DATABASE_URL": primary.url()}) as infrastructure:
            services = start_services(infrastructure, workers=1, environment=ENVIRONMENT)
            async with (
                opened_load(infrastructure, services) as kept,
                opened_load(infrastructure, services) as lost,
            ):
                async with running(kept):
                    await eventually(lambda: kept.uploads >= UPLOADS, timeout_seconds=RECOVERY_SECONDS)
                    await asyncio.to_thread(primary.back_up_to, backup)
                    enough = kept.uploads + UPLOADS
                    await eventually(lambda: kept.uploads >= enough, timeout_seconds=RECOVERY_SECONDS)
                moment: datetime = primary.value("SELECT clock_timestamp()")

                deleted = await _change_accounts(kept)
                async with running(lost):
                    await eventually(
                        lambda: lost.uploads >= UPLOADS and lost.announced_users,
                        timeout_seconds=RECOVERY_SECONDS,
                    )
                await _quiet(infrastructure)

                began = time.monotonic()
                infrastructure.end_services()
                restored = await asyncio.to_thread(_restore, servers, primary, archive, backup, moment)
                restored_at = time.monotonic()
                services = start_services(infrastructure, workers=1, environment=ENVIRONMENT)
                started_at = time.monotonic()
                kept.base_urls[:] = [services.base_url]

                since = (moment - timedelta(hours=1)).isoformat()
                replays = {
                    METERING: await _replay(
                        services, METERING, "--since", since, "--until", moment.isoformat()
                    ),
                    SIGN_UPS: await _replay(services, SIGN_UPS, "--since", since),
                }
                await eventually(
                    lambda: _processed(infrastructure, {METERING: moment, SIGN_UPS: None}),
                    timeout_seconds=SETTLE_SECONDS,
                    poll_seconds=1,
                )
                found = await _reconcile(services)
                mended = await _reconcile(services, "--fix")
                await eventually(lambda: _agrees(services), timeout_seconds=SETTLE_SECONDS, poll_seconds=1)
                left = await _reconcile(services)
                agreed_at = time.monotonic()

                _, wrong = await kept.verify(at_once=4)
                users = {
                    row[0]
                    for row in await _rows(restored, "SELECT agentcache_user_ref FROM agentcache_accounts")
                }
            with capsys.disabled():
                print(f"\nrestored to {moment.isoformat()}:")
                print(f"  before it: {dict(kept.counts)}")
                print(f"  after it, and lost with it: {dict(lost.counts)}; 1 upload, {len(deleted)} deletes")
                print(f"  database restored: {restored_at - began:.1f} s")
                print(f"  services started: {started_at - restored_at:.1f} s")
                print(f"  replayed and reconciled: {agreed_at - started_at:.1f} s; replayed {replays}")
                print(f"  reconcile found: {_summary(found)}")
                print(f"  reconcile --fix: {_summary(mended)}")
                print(f"  then: {_summary(left)}")
            # What was deleted after the moment has its row again, and its object is gone.
            assert {line.partition(":")[0] for line in wrong} <= deleted, wrong
            assert all(line["findings"]["agentcache_user_id"] is None for line in left), left
            assert lost.announced_users <= users
            assert not {account.user for account in lost.accounts} & users


async def _change_accounts(load: Load) -> set[str]:
    """Upload to an account, and delete an asset, that were there before the moment; the deleted."""
    account = next(account for account in load.accounts if len(account.sha256_by_asset) > 1)
    asset_id = next(iter(account.sha256_by_asset.keys() - account.doubtful))
    url = load.base_urls[0]
    files = {"file": ("late.bin", b"after the moment", "application/octet-stream")}
    answers = [
        await load.http.post(f"{url}/api/storage/upload", headers=account.headers, files=files),
        await load.http.delete(f"{url}/api/storage/assets/{asset_id}", headers=account.headers),
    ]
    assert all(answer.is_success for answer in answers), [answer.text for answer in answers]
    return {asset_id}


async def _quiet(infrastructure: Infrastructure) -> None:
    async with asyncpg.create_pool(infrastructure.database_url, min_size=0, max_size=2) as pool:
        await eventually(
            lambda: is_quiet(pool, infrastructure), timeout_seconds=SETTLE_SECONDS, poll_seconds=0.5
        )


def _restore(servers: Servers, primary: Server, archive: Path, backup: Path, moment: datetime) -> Server:
    """End the primary, and start its backup in its place with what had happened until the moment."""
    last = primary.value("SELECT pg_walfile_name(pg_switch_wal())")
    eventually_sync((archive / last).exists, timeout_seconds=RECOVERY_SECONDS)
    primary.stop()
    (backup / "recovery.signal").touch()
    restored = dataclasses.replace(primary, data=backup)
    servers.started.append(restored)
    restored.start(
        restore_command=f"cp {archive}/%f %p",
        recovery_target_time=moment.isoformat(),
        recovery_target_action="promote",
    )
    eventually_sync(
        lambda: not restored.value("SELECT pg_is_in_recovery()"), timeout_seconds=RECOVERY_SECONDS
    )
    return restored


async def _replay(services: Services, consumer: str, *wanted: str) -> int:
    code, said = await jettythunder(
        services.environment, "events", "replay", "--to", consumer, *wanted, "--json"
    )
    assert code == 0, said
    return int(json.loads(said)["replayed_count"])


async def _processed(infrastructure: Infrastructure, until: dict[str, datetime | None]) -> bool:
    """Whether each of the consumers has processed what the log has of it until a moment."""
    wanted: dict[str, set[Any]] = {name: set() for name in until}
    async with open_event_log(infrastructure.rabbitmq_url) as log:
        async for logged in log.read():
            for queue in event_queues():
                if queue.name in until and logged.event is not None and is_bound(queue, logged):
                    last = until[queue.name]
                    if last is None or logged.event.time < last:
                        wanted[queue.name].add(logged.event.id)
    async with asyncpg.create_pool(infrastructure.database_url, min_size=0, max_size=1) as pool:
        for name, ids in wanted.items():
            rows = await pool.fetch("SELECT event_id FROM inbox WHERE consumer = $1", name)
            missing = ids - {row["event_id"] for row in rows}
            assert not missing, f"{name} has not processed {len(missing)} of {len(ids)}"
    return True


async def _reconcile(services: Services, *options: str) -> list[dict[str, Any]]:
    """The accounts with drift, as `jettythunder usage reconcile` shows them."""
    _, said = await jettythunder(
        {**services.environment, "JETTYTHUNDER_USAGE_METER_URL": services.urls["usage-meter"]},
        *("usage", "reconcile", "--json", *options),
    )
    drifting: list[dict[str, Any]] = json.loads(said)
    return drifting


async def _agrees(services: Services) -> bool:
    """No account drifts; what is left are folders of accounts that are gone."""
    left = await _reconcile(services)
    owned = [line for line in left if line["findings"]["agentcache_user_id"] is not None]
    assert owned == [], owned
    return True


def _summary(drifting: list[dict[str, Any]]) -> dict[str, Any]:
    counted: Counter[str] = Counter()
    for line in drifting:
        findings = line["findings"]
        gone = findings["agentcache_user_id"] is None
        counted["folders of accounts that are gone" if gone else "accounts with drift"] += 1
        orphans = "orphans of accounts that are gone" if gone else "orphans"
        counted[orphans] += len(findings["orphans"])
        counted[f"bytes of {orphans}"] += sum(orphan["size_bytes"] for orphan in findings["orphans"])
        for name in ("missing", "ledger_drift", "lost_holds", "counter_drift"):
            counted[name] += len(findings[name])
    return dict(counted)


async def _rows(server: Server, statement: str) -> list[asyncpg.Record]:
    async with asyncpg.create_pool(server.url(), min_size=0, max_size=1) as pool:
        return await pool.fetch(statement)
