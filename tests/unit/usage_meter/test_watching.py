"""The scheduled reconciliation: it looks at what changed or drifts, and at a part of all accounts."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from jettythunder.errors import StorageUnavailable
from usage_meter.accounts.model import Account
from usage_meter.reconciliation.model import Findings, Round
from usage_meter.reconciliation.watch import Watching

HOUR = 3_600.0
DAY = 24 * HOUR
MONTH = 30 * DAY


def account(number: int) -> Account:
    return Account(UUID(int=number), f"user-{number}", f"accounts/{UUID(int=number)}/")


def found(account_id: UUID, drift_bytes: int, *, user: str | None = "user") -> Findings:
    return Findings(
        account_id=account_id,
        agentcache_user_id=user,
        bucket_bytes=0,
        assets_bytes=0,
        ledger_bytes=0,
        counter_bytes=0,
        adjusted_bytes=0,
        hours_drift_bytes=drift_bytes,
    )


@dataclass
class World:
    """Accounts and folders, what drifts, and what the database keeps of the looks at them.

    It is everything that the scheduled run works with; ``before_look`` is called before each look.
    """

    accounts: list[Account]
    drift_bytes: dict[UUID, int] = field(default_factory=dict)
    folders: list[UUID] = field(default_factory=list)
    queued: dict[UUID, int] = field(default_factory=dict)
    changed: set[UUID] = field(default_factory=set)
    position: Round | None = None
    estimate: int | None = None
    age_seconds: float = 0.0
    run_age_seconds: float | None = None
    looked_at: list[int] = field(default_factory=list)
    before_look: Callable[[UUID], None] = lambda _: None
    is_reachable: bool = True

    def wait(self, seconds: float) -> None:
        self.age_seconds += seconds
        if self.run_age_seconds is not None:
            self.run_age_seconds += seconds

    def fail(self, *numbers: int) -> None:
        """Let the looks at these accounts fail, and no others."""

        def before_look(account_id: UUID) -> None:
            if account_id.int in numbers:
                raise StorageUnavailable

        self.before_look = before_look

    def go_away(self, *, from_number: int) -> None:
        """Let the object storage be away from the look at an account on."""
        self.is_reachable = False
        self.fail(*(each.id.int for each in self.accounts if each.id.int >= from_number))

    def come_back(self) -> None:
        self.is_reachable = True
        self.fail()

    async def ping(self) -> None:
        if not self.is_reachable:
            raise StorageUnavailable

    def change(self, *account_ids: UUID) -> None:
        for account_id in account_ids:
            self.queued.setdefault(account_id, 0)
            self.changed.add(account_id)

    # The database, for the lock.
    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[World]:
        yield self

    async def release_snapshot(self) -> None:
        pass

    async def fetch(self, statement: object, arguments: Sequence[object]) -> list[tuple[bool]]:
        return [(True,)]

    # The accounts.
    async def given(self, on: object, *, account_ids: Sequence[UUID]) -> list[Account]:
        return [each for each in self.accounts if each.id in account_ids]

    async def page(self, on: object, *, after: UUID | None, page_size: int) -> list[Account]:
        return [each for each in self.accounts if after is None or each.id > after][:page_size]

    # Looking.
    async def at_account(self, account: Account) -> Findings:
        return self._look(account.id, account.agentcache_user_id)

    async def at_ownerless(self, account_id: UUID) -> Findings | None:
        return None if self._is_owned(account_id) else self._look(account_id, None)

    async def ownerless(self, *, after: UUID | None, until: UUID | None) -> AsyncIterator[UUID]:
        for each in sorted(self.folders):
            is_between = (after is None or each > after) and (until is None or each <= until)
            if is_between and not self._is_owned(each):
                yield each

    def _is_owned(self, account_id: UUID) -> bool:
        return account_id in {each.id for each in self.accounts}

    def _look(self, account_id: UUID, user: str | None) -> Findings:
        self.changed.discard(account_id)
        self.before_look(account_id)
        self.looked_at.append(account_id.int)
        findings = found(account_id, self.drift_bytes.get(account_id, 0), user=user)
        if not findings.is_clean or account_id in self.changed:
            self.queued[account_id] = findings.drift_bytes
        else:
            self.queued.pop(account_id, None)
        return findings


class Queue:
    """The queue, the round and the last run, as the database keeps them."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def add(self, on: object, *, account_ids: Sequence[UUID]) -> None:
        self._world.change(*account_ids)

    async def page(self, on: object, *, after: UUID | None, page_size: int) -> list[UUID]:
        return [each for each in sorted(self._world.queued) if after is None or each > after][:page_size]

    async def drift_bytes(self, on: object) -> int:
        return sum(self._world.queued.values())

    async def round(self, on: object) -> Round:
        if self._world.position is None:
            self._world.age_seconds = 0
        after = self._world.position
        estimate = self._world.estimate
        self._world.position = Round(
            after_account_id=after.after_account_id if after else None,
            account_count=after.account_count if after else 0,
            age_seconds=self._world.age_seconds,
            estimated_account_count=len(self._world.accounts) if estimate is None else estimate,
        )
        return self._world.position

    async def move_round(self, on: object, *, after: UUID) -> None:
        assert self._world.position is not None
        self._world.position = Round(
            after_account_id=after,
            account_count=self._world.position.account_count + 1,
            age_seconds=0,
            estimated_account_count=0,
        )

    async def end_round(self, on: object) -> None:
        self._world.position = None

    async def run_age_seconds(self, on: object) -> float | None:
        return self._world.run_age_seconds

    async def end_run(self, on: object) -> None:
        self._world.run_age_seconds = 0.0


def started(world: World) -> Watching:
    """The scheduled run of an instance that has just been started."""
    return Watching(
        world,  # type: ignore[arg-type]
        world,  # type: ignore[arg-type]
        looking=world,  # type: ignore[arg-type]
        queue=Queue(world),  # type: ignore[arg-type]
        ping_storage=world.ping,
        interval_seconds=DAY,
        round_seconds=MONTH,
    )


async def run(world: World, *, times: int = 1) -> None:
    """Scheduled runs, a day apart, each of another instance."""
    for _ in range(times):
        await started(world).run()
        world.wait(DAY)


def drift() -> float | None:
    return REGISTRY.get_sample_value("jettythunder_meter_drift_bytes")


def measured_at() -> float | None:
    return REGISTRY.get_sample_value("jettythunder_meter_drift_measured_timestamp_seconds")


def looks_failed() -> float:
    return REGISTRY.get_sample_value("jettythunder_meter_looks_failed_total") or 0


async def test_what_changed_is_looked_at_wherever_the_round_is() -> None:
    world = World([account(number) for number in range(1, 1001)])
    world.change(UUID(int=900))
    await run(world)
    assert world.looked_at == [900, *range(1, 201)]
    world.looked_at.clear()
    await run(world)
    assert 900 not in world.looked_at


async def test_drift_is_measured_by_each_run_until_it_is_mended() -> None:
    world = World([account(number) for number in range(1, 1001)], drift_bytes={UUID(int=10): 7})
    await run(world)
    assert drift() == 7
    world.looked_at.clear()
    await run(world)
    assert (10 in world.looked_at, drift()) == (True, 7)
    world.drift_bytes.clear()
    await run(world)
    assert drift() == 0
    world.looked_at.clear()
    await run(world)
    assert 10 not in world.looked_at


async def test_an_account_that_changes_during_its_look_is_looked_at_again() -> None:
    world = World([account(number) for number in range(1, 1001)])
    world.change(UUID(int=900))
    world.before_look = lambda account_id: world.change(account_id) if account_id.int == 900 else None
    await run(world)
    world.before_look = lambda _: None
    await run(world)
    assert world.looked_at.count(900) == 2


@pytest.mark.parametrize("count", [0, 1, 199, 200, 201, 20_000])
async def test_every_account_is_looked_at_within_the_period_and_the_next_round_begins(count: int) -> None:
    world = World([account(number) for number in range(1, count + 1)])
    await run(world, times=30)
    assert set(world.looked_at) == set(range(1, count + 1))
    world.looked_at.clear()
    await run(world, times=30)
    assert set(world.looked_at) == set(range(1, count + 1))


async def test_a_run_looks_at_about_its_part_of_all() -> None:
    world = World([account(number) for number in range(1, 30_001)])
    for day in range(1, 4):
        await run(world)
        assert len(world.looked_at) == 1_000 * day


@pytest.mark.parametrize("estimate", [0, 100, 1_000_000])
async def test_no_account_is_left_out_however_wrong_the_estimate_of_their_number_is(estimate: int) -> None:
    world = World([account(number) for number in range(1, 10_001)], estimate=estimate)
    await run(world, times=30)
    assert set(world.looked_at) == set(range(1, 10_001))


async def test_a_run_that_failed_is_continued_where_it_stopped() -> None:
    world = World([account(number) for number in range(1, 11)], drift_bytes={UUID(int=2): 50})
    world.go_away(from_number=4)
    with pytest.raises(StorageUnavailable):
        await started(world).run()
    assert world.looked_at == [1, 2, 3]
    assert set(world.queued) == {UUID(int=number) for number in (2, 4, 5, 6, 7, 8)}
    world.looked_at.clear()
    world.come_back()
    await started(world).run()
    # The round goes on after the seventh, which it had moved to when the look at the eighth failed.
    assert world.looked_at == [2, 4, 5, 6, 7, 8, 8, 9, 10]
    assert (drift(), world.position) == (50, None)


async def test_accounts_that_can_t_be_looked_at_stay_queued_and_hold_up_no_others() -> None:
    gone, before = UUID(int=150), looks_failed()
    world = World(
        [account(number) for number in range(1, 1001) if number != 150],
        folders=[gone],
        drift_bytes={UUID(int=800): 7},
    )
    world.change(*(UUID(int=number) for number in (700, 800, 900)))
    world.fail(10, 20, 150, 700)
    await run(world)
    assert world.looked_at == [800, 900, *(n for n in range(1, 202) if n not in (10, 20, 150))]
    assert set(world.queued) == {UUID(int=number) for number in (10, 20, 150, 700, 800)}
    assert (looks_failed() - before, drift()) == (4, 7)
    world.looked_at.clear()
    world.fail()
    await run(world)
    assert {10, 20, 150, 700, 800} < set(world.looked_at)
    assert set(world.queued) == {UUID(int=800)}


async def test_neighbours_that_can_t_be_looked_at_end_no_run() -> None:
    world = World([account(number) for number in range(1, 201)])
    world.fail(*range(11, 81))
    await run(world)
    assert world.looked_at == [*range(1, 11), *range(81, 201)]


async def test_a_run_in_which_nothing_can_be_looked_at_fails() -> None:
    world = World([account(number) for number in range(1, 201)])
    world.fail(*range(1, 201))
    with pytest.raises(StorageUnavailable):
        await started(world).run()
    assert world.run_age_seconds is None


async def test_a_run_is_due_an_interval_after_the_last_one_of_any_instance() -> None:
    world = World([account(number) for number in range(1, 1001)])
    one, other = started(world), started(world)
    assert await one.run() == HOUR
    assert len(world.looked_at) == 200
    assert await other.run() == HOUR
    world.wait(DAY - HOUR / 2)
    assert await one.run() == HOUR / 2
    assert await started(world).run() == HOUR / 2
    assert len(world.looked_at) == 200
    world.wait(HOUR / 2)
    await started(world).run()
    assert len(world.looked_at) == 400
    await one.run()
    await other.run()
    assert len(world.looked_at) == 400


async def test_a_run_that_failed_is_due_at_once() -> None:
    world = World([account(number) for number in range(1, 11)])
    await run(world)
    world.go_away(from_number=1)
    with pytest.raises(StorageUnavailable):
        await started(world).run()
    world.looked_at.clear()
    world.come_back()
    await started(world).run()
    assert set(world.looked_at) == set(range(1, 11))


async def test_the_metric_says_when_drift_was_measured_after_a_restart_too() -> None:
    world = World([])
    await started(world).show()
    assert measured_at() == 0
    await run(world)
    await started(world).show()
    assert measured_at() == pytest.approx(time.time() - DAY, abs=60)


async def test_runs_that_were_missed_are_caught_up_with() -> None:
    world = World([account(number) for number in range(1, 30_001)])
    await run(world)
    world.wait(9 * DAY)
    await run(world)
    assert len(world.looked_at) == 11_000


async def test_folders_of_accounts_that_are_gone_are_found_in_their_part_and_stay_queued() -> None:
    gone = [UUID(int=number) for number in (150, 300, 5_000)]
    world = World(
        [account(number) for number in range(1, 401) if number not in (150, 300)],
        folders=[UUID(int=number) for number in (10, 150, 300, 5_000)],
        drift_bytes=dict.fromkeys(gone, 1),
    )
    await run(world)
    assert drift() == 1
    await run(world)
    assert drift() == 3
    world.drift_bytes.clear()
    await run(world)
    assert (drift(), world.queued) == (0, {})


async def test_the_folder_of_an_account_that_was_queued_and_is_gone_is_looked_at() -> None:
    world = World([account(number) for number in range(1, 1001) if number != 900])
    world.change(UUID(int=900))
    await run(world)
    assert world.looked_at[0] == 900


def round_of(count: int, *, looked_at: int = 0, days: float = 0) -> Round:
    return Round(
        after_account_id=None,
        account_count=looked_at,
        age_seconds=days * DAY,
        estimated_account_count=count,
    )


@pytest.mark.parametrize(
    ("position", "due"),
    [
        (round_of(30_000), 1_000),
        (round_of(30_000, looked_at=1_000, days=1), 1_000),
        (round_of(30_000, looked_at=1_000, days=10), 10_000),
        (round_of(30_000, looked_at=20_000, days=10), -9_000),
        (round_of(30_000, looked_at=29_000, days=29), math.inf),
        (round_of(30_000, looked_at=30_000, days=99), math.inf),
    ],
)
def test_due_is_what_ends_the_round_in_its_period(position: Round, due: float) -> None:
    assert position.due_count(interval_seconds=DAY, period_seconds=MONTH) == pytest.approx(due)


def test_a_period_shorter_than_the_interval_makes_each_run_look_at_all() -> None:
    assert round_of(30_000).due_count(interval_seconds=DAY, period_seconds=DAY / 2) == math.inf
