"""The scheduled reconciliation: one that fails is continued and not begun anew."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from jettythunder.errors import StorageUnavailable
from usage_meter.accounts.model import Account
from usage_meter.reconciliation.model import Findings
from usage_meter.reconciliation.reconcile import Reconciliation

ACCOUNTS = [Account(UUID(int=number), f"user-{number}", f"accounts/{number}/") for number in range(1, 6)]


class Servers:
    """Database, object storage and accounts; the storage fails once, at one account."""

    def __init__(self, *, fails_at: Account) -> None:
        self.fails_at: Account | None = fails_at
        self.looked_at: list[Account] = []

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator["Servers"]:
        yield self

    async def fetch(self, statement: object, arguments: Sequence[object]) -> list[tuple[bool]]:
        return [(True,)]

    async def list_folders(self, prefix: str) -> AsyncIterator[list[str]]:
        yield []

    async def missing(self, on: object, *, account_ids: Sequence[UUID]) -> list[UUID]:
        return []

    async def every(self, on: object, *, after: UUID | None = None) -> AsyncIterator[Account]:
        for account in ACCOUNTS:
            if after is None or account.id > after:
                yield account

    async def at_account(self, account: Account) -> Findings:
        if account == self.fails_at:
            self.fails_at = None
            raise StorageUnavailable
        self.looked_at.append(account)
        return Findings(
            account_id=account.id,
            agentcache_user_id=account.agentcache_user_id,
            bucket_bytes=0,
            assets_bytes=0,
            ledger_bytes=0,
            counter_bytes=0,
            adjusted_bytes=0,
            hours_drift_bytes=10,
        )


async def test_a_run_that_failed_is_continued_where_it_stopped() -> None:
    servers = Servers(fails_at=ACCOUNTS[3])
    reconciliation = Reconciliation(
        servers,  # type: ignore[arg-type]
        servers,  # type: ignore[arg-type]
        servers,  # type: ignore[arg-type]
        looking=servers,  # type: ignore[arg-type]
        mending=None,  # type: ignore[arg-type]
        settle_seconds=0,
    )
    with pytest.raises(StorageUnavailable):
        await reconciliation.watch()
    await reconciliation.watch()
    assert servers.looked_at == ACCOUNTS
    assert REGISTRY.get_sample_value("jettythunder_meter_drift_bytes") == 50
    await reconciliation.watch()
    assert servers.looked_at == ACCOUNTS * 2
