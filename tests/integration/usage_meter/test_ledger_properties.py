"""The ledger's promises under any interleaving, against the real database.

A machine takes random steps: uploads that reserve, grow, are completed, given up, expire; downloads; deletes;
tier changes; adjustments. Their events wait, and are delivered in any order, in concurrent batches, twice,
late, or all over again. A model says what must come of it.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeVar
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.support.infrastructure import Infrastructure

from jettythunder.contracts.assets import AssetDeletedV1, AssetDownloadedV1, AssetStreamedV1
from jettythunder.contracts.envelope import Event, Payload
from jettythunder.contracts.uploads import UploadAbortedV1, UploadCompletedV1
from jettythunder.database import Database
from jettythunder.lifecycle import role_of
from jettythunder_migrations import migrate
from usage_meter.ledger.adjust import Adjustments
from usage_meter.ledger.backlog import Backlog
from usage_meter.ledger.book import Ledger
from usage_meter.ledger.events import fact_of
from usage_meter.ledger.model import RECONCILER, Adjustment, Resource
from usage_meter.ledger.store import LedgerStore
from usage_meter.ledger.sweep import Sweep
from usage_meter.rollups.roll_up import Rollups
from usage_meter.rollups.store import RollupStore

from .conftest import GB, Pool, Tenant, Tenants

Answer = TypeVar("Answer")

# What the rows of storage_usage must be, computed from the ledger alone and in another way than they are:
# each row's byte-seconds are the sum over all entries so far of bytes x seconds within the hour.
_ROWS_ARE_THE_LEDGER = """
SELECT count(*) FROM storage_usage s
CROSS JOIN LATERAL (
    SELECT coalesce(sum(used_delta_bytes) FILTER (WHERE resource = 'storage'), 0) AS storage_bytes,
        coalesce(sum(
            used_delta_bytes * extract(epoch FROM s.period_end - greatest(occurred_at, s.period_start))
        ) FILTER (WHERE resource = 'storage'), 0) AS byte_seconds,
        coalesce(sum(used_delta_bytes) FILTER (
            WHERE resource = 'bandwidth' AND occurred_at >= s.period_start), 0) AS bandwidth_bytes,
        coalesce(sum(request_count) FILTER (WHERE occurred_at >= s.period_start), 0) AS request_count
    FROM usage_ledger l WHERE l.account_id = s.account_id AND l.occurred_at < s.period_end
) AS l
WHERE s.account_id = $1
  AND (s.storage_bytes, s.storage_byte_seconds, s.bandwidth_bytes, s.request_count)
      IS DISTINCT FROM (l.storage_bytes, l.byte_seconds, l.bandwidth_bytes, l.request_count)
"""


class Servers:
    """A database of the machine's own, and a loop to use it from synchronous steps."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._runner = asyncio.Runner()
        self._database = Database(url, name="properties", role=role_of("usage-meter"), size=4)
        self.pool: Pool = self.run(self._open())
        store = LedgerStore()
        self.ledger = Ledger(self._database, store, thresholds_percent=(80, 95, 100))
        self.adjustments = Adjustments(self._database, store, self.ledger)
        backlog = Backlog(
            store, depths=_nothing_waits, queues=[], unapplied=lambda: 0, newest_booked_at=lambda: None
        )
        self.sweep = Sweep(self._database, store, self.ledger, backlog)
        self.rollups = Rollups(self._database, RollupStore())

    async def _open(self) -> Pool:
        await self._database.open()
        return await asyncpg.create_pool(self._url, min_size=4, max_size=4)

    def run(self, coroutine: Coroutine[Any, Any, Answer]) -> Answer:
        return self._runner.run(coroutine)

    def close(self) -> None:
        self.run(self._database.close())
        self.run(self.pool.close())
        self._runner.close()


async def _nothing_waits(*queues: str) -> dict[str, int]:
    return dict.fromkeys(queues, 0)


@pytest.fixture(scope="module")
def database(servers: Infrastructure) -> Iterator[Servers]:
    with servers.empty_database() as url:
        migrate(url)
        opened = Servers(url)
        yield opened
        opened.close()


@dataclass
class Model:
    """What must be true of the account."""

    storage_quota: int
    bandwidth_quota: int
    storage_used: int = 0
    bandwidth_used: int = 0
    request_count: int = 0
    holds: dict[tuple[UUID, str], int] = field(default_factory=dict)
    assets: dict[UUID, int] = field(default_factory=dict)
    reconciled: set[UUID] = field(default_factory=set)
    past: list[Event[Any]] = field(default_factory=list)

    def reserved(self, resource: str) -> int:
        return sum(size for (_, held), size in self.holds.items() if held == resource)

    def store(self, data: UploadCompletedV1) -> None:
        """An upload's bytes are used, and its hold ends."""
        self.holds.pop((data.upload_id, "storage"), None)
        self.storage_used += data.stored_bytes
        self.assets[data.asset_id] = self.assets.get(data.asset_id, 0) + data.stored_bytes

    def book(self, event: Event[Any], *, month_start: datetime) -> None:
        """What an event that comes for the first time does."""
        data, is_current = event.data, event.time >= month_start
        match data:
            case UploadCompletedV1():
                self.request_count += is_current
                if data.asset_id in self.reconciled:
                    self.reconciled.remove(data.asset_id)
                else:
                    self.store(data)
            case UploadAbortedV1():
                self.holds.pop((data.upload_id, "storage"), None)
            case AssetDeletedV1():
                self.storage_used -= data.size_bytes
                self.assets[data.asset_id] = self.assets.get(data.asset_id, 0) - data.size_bytes
                self.request_count += is_current
            case AssetDownloadedV1() | AssetStreamedV1():
                self.holds.pop((data.reservation_id, "bandwidth"), None)
                sent = data.size_bytes if isinstance(data, AssetDownloadedV1) else data.sent_bytes
                self.bandwidth_used += sent if is_current else 0
                self.request_count += is_current
        self.past.append(event)


sizes = st.integers(0, GB // 3)
shares = st.integers(0, 100)
numbers = st.integers(0, 1_000)
endings = st.sampled_from(["complete", "complete", "abort", "wait"])
ages = st.sampled_from([0, 0, 0, 30, 3_700, 86_400, 40 * 86_400])


class LedgerMachine(RuleBasedStateMachine):
    """One account, whose events may be delivered whenever it pleases."""

    database: Servers

    @initialize(quota_gb=st.sampled_from([0, 1, 1, 2, 3]))
    def begin(self, quota_gb: int) -> None:
        tenants = Tenants(self.database.pool, wire=None)  # type: ignore[arg-type]
        self.tenant: Tenant = self.database.run(tenants.new(storage_gb=quota_gb, bandwidth_gb=quota_gb))
        self.model = Model(quota_gb * GB, quota_gb * GB)
        self.uploads: list[UUID] = []
        self.downloads: list[UUID] = []
        self.stored: list[UploadCompletedV1] = []
        self.waiting: list[Event[Any]] = []

    def _say(self, payload: Payload, age_seconds: int) -> None:
        at = datetime.now(UTC) - timedelta(seconds=age_seconds)
        self.waiting.append(Event[Any](source="/test", type=payload.TYPE, time=at, data=payload))

    def _reserve_storage(self, size: int, upload_id: UUID) -> bool:
        used, reserved = self.model.storage_used, self.model.reserved("storage")
        granted = self.database.run(self.tenant.reserve(size, upload_id=upload_id)) is not None
        assert granted is (used + reserved + size <= self.model.storage_quota)
        if granted:
            key = (upload_id, "storage")
            self.model.holds[key] = self.model.holds.get(key, 0) + size
        return granted

    # Rules do much at a time: each example leaves some of them out, and should say something nevertheless.

    @rule(size=sizes, more=st.lists(sizes, max_size=2), ending=endings, share=shares, age=ages)
    def upload(self, size: int, more: list[int], ending: str, share: int, age: int) -> None:
        """An upload begins, may grow, and may come to an end."""
        upload_id = uuid4()
        if self._reserve_storage(size, upload_id):
            for step in more:
                self._reserve_storage(step, upload_id)
            self.uploads.append(upload_id)
            self._end_upload(len(self.uploads) - 1, ending, share, age)

    @rule(size=sizes, count=st.integers(2, 6))
    def race_for_room(self, size: int, count: int) -> None:
        """Several uploads ask at once: as many are let in as fit, not one more."""

        async def race() -> list[UUID | None]:
            return await asyncio.gather(*(self.tenant.reserve(size) for _ in range(count)))

        room = self.model.storage_quota - self.model.storage_used - self.model.reserved("storage")
        granted = [upload_id for upload_id in self.database.run(race()) if upload_id is not None]
        fitting = sum((number + 1) * size <= room for number in range(count))
        assert len(granted) == fitting
        for upload_id in granted:
            self.model.holds[upload_id, "storage"] = size
        self.uploads += granted

    @precondition(lambda self: self.uploads)
    @rule(number=numbers, size=sizes, ending=endings, share=shares, age=ages)
    def go_on(self, number: int, size: int, ending: str, share: int, age: int) -> None:
        """An upload of before grows and may come to an end; it may have expired meanwhile."""
        place = number % len(self.uploads)
        if (self.uploads[place], "storage") in self.model.holds:
            self._reserve_storage(size, self.uploads[place])
        self._end_upload(place, ending, share, age)

    def _end_upload(self, place: int, ending: str, share: int, age: int) -> None:
        if ending == "wait":
            return
        upload_id = self.uploads.pop(place)
        if ending == "abort":
            aborted = UploadAbortedV1(account_id=self.tenant.id, upload_id=upload_id, code="expired")
            self._say(aborted, age)
            return
        stored = self.model.holds.get((upload_id, "storage"), GB) * share // 100
        completed = UploadCompletedV1(
            account_id=self.tenant.id,
            upload_id=upload_id,
            asset_id=uuid4(),
            size_bytes=stored,
            stored_bytes=stored,
            chunk_count=1,
            deduplicated=False,
            duration_seconds=0,
        )
        self.stored.append(completed)
        self._say(completed, age)

    @precondition(lambda self: self.stored)
    @rule(number=numbers, age=ages)
    def delete(self, number: int, age: int) -> None:
        """The event of the deletion may come before that of the upload."""
        asset = self.stored.pop(number % len(self.stored))
        payload = AssetDeletedV1(
            account_id=self.tenant.id,
            asset_id=asset.asset_id,
            size_bytes=asset.stored_bytes,
            reason="request",
        )
        self._say(payload, age)

    @rule(size=sizes, ending=endings, share=shares, age=ages)
    def download(self, size: int, ending: str, share: int, age: int) -> None:
        """A download begins, and may be over: streamed in part, or signed."""
        used, reserved = self.model.bandwidth_used, self.model.reserved("bandwidth")
        reservation_id = self.database.run(self.tenant.reserve_bandwidth(size))
        assert (reservation_id is not None) is (used + reserved + size <= self.model.bandwidth_quota)
        if reservation_id is not None:
            self.model.holds[reservation_id, "bandwidth"] = size
            self.downloads.append(reservation_id)
            self._end_download(len(self.downloads) - 1, ending, share, age)

    @precondition(lambda self: self.downloads)
    @rule(number=numbers, ending=endings, share=shares, age=ages)
    def finish_download(self, number: int, ending: str, share: int, age: int) -> None:
        """A download of before is over; its reservation may have expired meanwhile."""
        self._end_download(number % len(self.downloads), ending, share, age)

    def _end_download(self, place: int, ending: str, share: int, age: int) -> None:
        if ending == "wait":
            return
        reservation_id = self.downloads.pop(place)
        size = self.model.holds.get((reservation_id, "bandwidth"), GB)
        about = {"account_id": self.tenant.id, "asset_id": uuid4(), "reservation_id": reservation_id}
        if ending == "abort":
            self._say(AssetStreamedV1(**about, sent_bytes=size * share // 100), age)
        else:
            self._say(AssetDownloadedV1(**about, size_bytes=size), age)

    @precondition(lambda self: self.waiting)
    @rule(order=st.randoms(use_true_random=False), copies=st.integers(1, 3), batches=st.integers(1, 3))
    def deliver(self, order: Random, copies: int, batches: int) -> None:
        """Events come in any order, each several times, in batches that are booked at the same time."""
        order.shuffle(self.waiting)
        count = order.randint(1, len(self.waiting))
        events, self.waiting = self.waiting[:count], self.waiting[count:]
        for event in events:
            self.model.book(event, month_start=self._month_start())
        arriving = events * copies
        self._record(*(arriving[number::batches] for number in range(batches)))

    @precondition(lambda self: self.model.past)
    @rule()
    def replay_everything(self) -> None:
        self._record(self.model.past, list(reversed(self.model.past)))

    # One rule for what is rare: rules are chosen alike, and these would crowd out the others.
    @rule(
        what=st.sampled_from(["tier", "adjustment", "expiry", "reconciliation"]),
        quota_gb=st.integers(0, 3),
        size=sizes,
    )
    def work_behind_the_scenes(self, what: str, quota_gb: int, size: int) -> None:
        match what:
            case "tier":
                self._change_tier(quota_gb)
            case "adjustment":
                self._adjust(size - GB // 6)
            case "reconciliation":
                self._reconcile()
            case _:
                self._expire_everything()

    def _change_tier(self, quota_gb: int) -> None:
        self.database.run(self.tenant.change_quota(storage_gb=quota_gb))
        self.model.storage_quota = quota_gb * GB

    def _adjust(self, size: int) -> None:
        adjustment = Adjustment(
            id=uuid4(),
            account_id=self.tenant.id,
            resource=Resource.STORAGE,
            used_delta_bytes=size,
            reason="a test",
            author="a test",
        )
        booked = [self.database.run(self.database.adjustments.adjust(adjustment)) for _ in range(2)]
        assert booked == [True, False]
        self.model.storage_used += size

    def _reconcile(self) -> None:
        """Uploads whose events are late are taken for lost, and their bytes are adjusted."""
        uploads = [event.data for event in self.waiting if isinstance(event.data, UploadCompletedV1)]
        for data in uploads:
            if data.stored_bytes == 0 or data.asset_id in self.model.reconciled:
                continue
            adjustment = Adjustment(
                id=uuid4(),
                account_id=self.tenant.id,
                resource=Resource.STORAGE,
                used_delta_bytes=data.stored_bytes,
                reason="a test",
                author=RECONCILER,
                asset_id=data.asset_id,
                reservation_id=data.upload_id,
            )
            self.database.run(self.database.adjustments.adjust(adjustment))
            self.model.store(data)
            self.model.reconciled.add(data.asset_id)

    def _expire_everything(self) -> None:
        """Whoever held something is gone for hours; their events may still come."""
        expire = "UPDATE usage_reservations SET expires_at = now() - interval '2 hours' WHERE account_id = $1"
        self.database.run(self.tenant.pool.execute(expire, self.tenant.id))
        self.database.run(self.database.sweep.run())
        self.model.holds.clear()

    def _record(self, *batches: list[Event[Any]]) -> None:
        async def record() -> None:
            facts = [list(map(fact_of, batch)) for batch in batches if batch]
            await asyncio.gather(*map(self.database.ledger.record, facts))

        self.database.run(record())

    def _month_start(self) -> datetime:
        return datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)

    @invariant()
    def counters_are_what_they_must_be(self) -> None:
        quota = self.database.run(self.tenant.quota())
        model = self.model
        assert quota["storage_used_bytes"] == model.storage_used
        assert quota["storage_reserved_bytes"] == model.reserved("storage")
        assert quota["storage_quota_bytes"] == model.storage_quota
        assert quota["bandwidth_used_bytes"] == model.bandwidth_used
        assert quota["bandwidth_reserved_bytes"] == model.reserved("bandwidth")
        assert quota["request_count"] == model.request_count

    @invariant()
    def the_ledger_proves_the_counters(self) -> None:
        self.database.run(self.tenant.proves_its_counters())

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        while self.waiting:
            self.deliver(Random(len(self.waiting)), copies=2, batches=3)
        self.replay_everything()
        self.counters_are_what_they_must_be()
        self.the_ledger_proves_the_counters()
        self.database.run(self.database.rollups.roll_up_all())
        pool = self.database.pool
        assert self.database.run(pool.fetchval(_ROWS_ARE_THE_LEDGER, self.tenant.id)) == 0
        sums = self.database.run(
            pool.fetch(
                "SELECT asset_id, sum(used_delta_bytes)::bigint AS bytes FROM usage_ledger"
                " WHERE account_id = $1 AND resource = 'storage' AND asset_id IS NOT NULL GROUP BY asset_id",
                self.tenant.id,
            )
        )
        booked = {row["asset_id"]: row["bytes"] for row in sums}
        assert {asset: size for asset, size in booked.items() if size} == {
            asset: size for asset, size in self.model.assets.items() if size
        }


def explore(database: Servers, *, examples: int) -> None:
    machine = type("BoundLedgerMachine", (LedgerMachine,), {"database": database})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_no_interleaving_breaks_the_ledger(database: Servers) -> None:
    explore(database, examples=20)


@pytest.mark.deep
@pytest.mark.timeout(3600)
def test_no_interleaving_breaks_the_ledger_in_many_tries(database: Servers) -> None:
    explore(database, examples=500)
