"""Reconciliation for operators: what is known of an account after two looks and mending."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

import pytest

from usage_meter.accounts.model import Account
from usage_meter.reconciliation.model import Findings, Missing, Orphan
from usage_meter.reconciliation.reconcile import Reconciliation

ACCOUNT = Account(UUID(int=1), "user", "accounts/1/")
CLEAN = Findings(
    account_id=ACCOUNT.id,
    agentcache_user_id="user",
    bucket_bytes=0,
    assets_bytes=0,
    ledger_bytes=0,
    counter_bytes=0,
    adjusted_bytes=0,
)
ORPHAN = Orphan("accounts/1/a", 5)
LOST = Missing(UUID(int=2), "accounts/1/b", 70, None)
DAMAGED = Missing(UUID(int=3), "accounts/1/c", 70, 50)


@dataclass
class World:
    """One account, what looks at it find one after the other, and the drift that is kept of it.

    ``kept_bytes`` is None once it is clean.
    """

    looks: list[Findings]
    kept_bytes: int | None = None
    mended: list[Findings] = field(default_factory=list)

    # The database, for the lock.
    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[World]:
        yield self

    async def release_snapshot(self) -> None:
        pass

    async def fetch(self, statement: object, arguments: Sequence[object]) -> list[tuple[bool]]:
        return [(True,)]

    # The accounts.
    async def find(self, on: object, *, name: str) -> Account:
        return ACCOUNT

    # Looking.
    async def at_account(self, account: Account) -> Findings:
        findings = self.looks.pop(0)
        await self.note(self, findings)
        return findings

    # Mending.
    async def mend(self, findings: Findings) -> Findings:
        self.mended.append(findings)
        left_alone = ("damaged",) if DAMAGED in findings.missing else ()
        return replace(findings, mended=() if findings.is_clean else ("all",), left_alone=left_alone)

    # The queue.
    async def note(self, on: object, findings: Findings, *, mended_bytes: int = 0) -> None:
        self.kept_bytes = None if findings.is_clean else findings.drift_bytes - mended_bytes


@pytest.mark.parametrize(
    ("first", "second", "mended", "kept_bytes"),
    [
        pytest.param(
            replace(CLEAN, orphans=(ORPHAN,)),
            replace(CLEAN, missing=(LOST,)),
            CLEAN,
            70,
            id="nothing is seen twice",
        ),
        pytest.param(
            replace(CLEAN, orphans=(ORPHAN,)),
            replace(CLEAN, orphans=(ORPHAN,), missing=(LOST,)),
            replace(CLEAN, orphans=(ORPHAN,)),
            70,
            id="a part is seen twice",
        ),
        pytest.param(
            replace(CLEAN, orphans=(ORPHAN,)),
            replace(CLEAN, orphans=(ORPHAN,)),
            replace(CLEAN, orphans=(ORPHAN,)),
            0,
            id="all is seen twice",
        ),
        pytest.param(
            replace(CLEAN, missing=(DAMAGED,)),
            replace(CLEAN, missing=(DAMAGED,)),
            replace(CLEAN, missing=(DAMAGED,)),
            20,
            id="a person is needed",
        ),
        pytest.param(replace(CLEAN, orphans=(ORPHAN,)), CLEAN, CLEAN, None, id="it has settled"),
    ],
)
async def test_what_is_known_after_mending_is_what_the_second_look_saw_less_what_was_mended(
    first: Findings, second: Findings, mended: Findings, kept_bytes: int | None
) -> None:
    world = World([first, second])
    reconciliation = Reconciliation(
        world,  # type: ignore[arg-type]
        world,  # type: ignore[arg-type]
        looking=world,  # type: ignore[arg-type]
        mending=world,  # type: ignore[arg-type]
        queue=world,  # type: ignore[arg-type]
        settle_seconds=0,
    )
    assert len([line async for line in reconciliation.run(account="user", fix=True)]) == 1
    assert (world.mended, world.kept_bytes) == ([mended], kept_bytes)
