"""What a project under load has done, when it has come to rest: nothing failed, nothing was lost."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import asyncpg
from tests.chaos.accounting import ByteAccount, MessageAccount, count_bytes, count_messages
from tests.containers.composed import Composed
from tests.containers.load import Load
from tests.support.waiting import eventually

SETTLE_SECONDS = 240.0


@dataclass(frozen=True)
class Account:
    """The figures of one run."""

    load: dict[str, int]
    failures: list[str]
    read_back: int
    damaged: list[str]
    unmade_users: set[str]
    aborted_uploads: int
    messages: list[MessageAccount]
    bytes: ByteAccount

    def show(self, **more: Any) -> None:
        """Print all figures, and ``more``."""
        for name, value in (asdict(self) | more).items():
            print(f"  {name}: {value}")

    def assert_nothing_is_lost(self) -> None:
        """Every upload is there unchanged, every event processed, every byte counted by all who count."""
        assert self.failures == []
        assert self.damaged == []
        assert self.unmade_users == set()
        assert all(account.is_settled and account.dead == 0 for account in self.messages), self.messages
        assert self.bytes.differing_accounts == 0, self.bytes
        assert self.bytes.reservations == 0, self.bytes


async def account_for(project: Composed, load: Load, pool: asyncpg.Pool[asyncpg.Record]) -> Account:
    """Wait until nothing is under way, read every upload back, and count."""
    database_url, rabbitmq_url = (project.environment[name] for name in ("DATABASE_URL", "RABBITMQ_URL"))

    async def is_quiet() -> bool:
        left = await pool.fetchrow(
            "SELECT (SELECT count(*) FROM outbox) AS outbox,"
            " (SELECT count(*) FROM uploads WHERE upload_is_open(status)) AS uploads,"
            " (SELECT count(*) FROM usage_reservations) AS reservations"
        )
        assert left is not None
        assert not any(left.values()), f"left: {dict(left)}"
        messages = await count_messages(pool, database_url=database_url, rabbitmq_url=rabbitmq_url)
        assert all(account.unaccounted == 0 for account in messages), messages
        return True

    await eventually(is_quiet, timeout_seconds=SETTLE_SECONDS, poll_seconds=1)
    read_back = await load.verify()
    await eventually(is_quiet, timeout_seconds=SETTLE_SECONDS, poll_seconds=1)
    made = await pool.fetch("SELECT agentcache_user_ref AS user FROM agentcache_accounts")
    return Account(
        load=dict(load.counts),
        failures=load.failures,
        read_back=read_back,
        damaged=load.damaged,
        unmade_users=load.announced_users - {row["user"] for row in made},
        aborted_uploads=await pool.fetchval(
            "SELECT count(*) FROM uploads WHERE status IN ('aborted', 'expired')"
        ),
        messages=await count_messages(pool, database_url=database_url, rabbitmq_url=rabbitmq_url),
        bytes=await count_bytes(pool, project.environment),
    )
