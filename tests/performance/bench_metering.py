"""Measures metering: a month of events, some late, some twice, booked and rolled up on real servers.

    python -m tests.performance.bench_metering --events 1000000 --accounts 1000
    python -m tests.performance.bench_metering --events 1000000 --size 100    # tables that are large already

The events are published first, as a backlog, and the usage-meter is started then: what is measured is the
rate at which it books them, not that at which this program makes them. Totals and every hourly row are
compared with a computation of this program's own that shares no code with the usage-meter.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

import aio_pika
import asyncpg
from rich.console import Console
from tests.performance.filling import ENTRIES, fill, give_memory
from tests.performance.processes import Processes
from tests.performance.stack import server_pids
from tests.performance.table import Table, add_output_options, show
from tests.support.infrastructure import (
    Infrastructure,
    RunningService,
    ServiceStarter,
    running_infrastructure,
    temporary_folder,
)
from tests.support.s3 import opened_s3
from tests.support.waiting import eventually

from jettythunder.contracts.assets import AssetDeletedV1, AssetDownloadedV1, AssetStreamedV1
from jettythunder.contracts.envelope import Event, Payload
from jettythunder.contracts.uploads import UploadCompletedV1
from usage_meter.messages import USAGE_METER_EVENTS

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

LATE_SHARE = 0.10
TWICE_SHARE = 0.05
PUBLISH_AT_ONCE = 2_000
POLL_SECONDS = 0.5
ROLL_UP_SECONDS = 1_800
HOUR_US = 3_600_000_000
METER = "usage-meter"
# The bits of a UUIDv7 that are neither its time, nor its version or variant.
_RANDOM_BITS = (0xFFF << 64) | (1 << 62) - 1
QUOTA_BYTES = 100_000 * 10**9

_NEW_ACCOUNTS = """
INSERT INTO agentcache_accounts (agentcache_user_id, agentcache_user_ref, agentcache_email, agentcache_tier,
    api_key, api_secret, storage_quota_gb, bandwidth_quota_gb, s3_bucket_name, s3_prefix)
SELECT gen_random_uuid(), 'bench-' || n, 'bench@example.com', 'enterprise', 'bench-' || n, '', 100000, 100000,
    'bucket', 'bench/' || n || '/'
FROM generate_series(1, $1) AS n
RETURNING id
"""

progress = Console(stderr=True)


@dataclass
class Hour:
    """What one hour of an account must show."""

    storage_delta: int = 0
    # The sum of change x microseconds left in the hour.
    weighted: int = 0
    bandwidth_bytes: int = 0
    request_count: int = 0


@dataclass
class Expected:
    """What the events must add up to, computed as they are made."""

    hours: dict[tuple[UUID, int], Hour] = field(default_factory=lambda: defaultdict(Hour))
    storage_bytes: dict[UUID, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, account_id: UUID, at_us: int, *, storage: int = 0, bandwidth: int = 0) -> None:
        number = at_us // HOUR_US
        hour = self.hours[account_id, number]
        hour.storage_delta += storage
        hour.weighted += storage * ((number + 1) * HOUR_US - at_us)
        hour.bandwidth_bytes += bandwidth
        hour.request_count += 1
        self.storage_bytes[account_id] += storage

    def rows(self) -> Iterator[tuple[UUID, datetime, int, Decimal, int, int]]:
        """The hourly rows: account, hour, bytes at its end, byte-seconds, bytes sent, requests."""
        by_account: dict[UUID, list[int]] = defaultdict(list)
        for account_id, number in self.hours:
            by_account[account_id].append(number)
        for account_id, numbers in by_account.items():
            stored = 0
            for number in sorted(numbers):
                hour = self.hours[account_id, number]
                byte_us = stored * HOUR_US + hour.weighted
                stored += hour.storage_delta
                starts_at = datetime.fromtimestamp(number * 3600, UTC)
                byte_seconds = Decimal(byte_us) / 1_000_000
                yield account_id, starts_at, stored, byte_seconds, hour.bandwidth_bytes, hour.request_count


@dataclass(frozen=True)
class Figures:
    """What was measured."""

    events: int
    duplicates: int
    late: int
    accounts: int
    meters: int
    hourly_rows: int
    entries_before: int
    booked_events_per_second: int
    rolled_up_after_seconds: float
    cpu_us_per_event: dict[str, int]
    meter_peak_memory_mb: int
    totals_equal: bool
    rows_equal: bool


class Month:
    """A past month of random events about some accounts, the same for the same seed."""

    def __init__(self, account_ids: list[UUID], count: int, *, seed: int) -> None:
        self._random = random.Random(seed)
        self.account_ids = account_ids
        self._count = count
        self.expected = Expected()
        this_month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        self.begins_at = (this_month - timedelta(days=1)).replace(day=1)
        self._length_us = int((this_month - self.begins_at) / timedelta(microseconds=1))
        self.late = self.duplicates = 0

    def messages(self) -> list[tuple[bytes, str, str]]:
        """Body, type and id of each message in the order of arrival."""
        arriving: list[tuple[int, tuple[bytes, str, str]]] = []
        begins_us = int(self.begins_at.timestamp()) * 1_000_000
        for number in range(self._count):
            offset_us = number * self._length_us // self._count
            event = self._event(begins_us + offset_us)
            message = event.encode(), event.type, str(event.id)
            arrives_us = offset_us
            if self._random.random() < LATE_SHARE:
                arrives_us += self._random.randrange(self._length_us - offset_us)
                self.late += 1
            arriving.append((arrives_us, message))
            if self._random.random() < TWICE_SHARE:
                again_us = arrives_us + self._random.randrange(max(1, self._length_us - arrives_us))
                arriving.append((again_us, message))
                self.duplicates += 1
        arriving.sort(key=lambda item: item[0])
        return [message for _, message in arriving]

    def _event(self, at_us: int) -> Event[Payload]:
        account_id = self._random.choice(self.account_ids)
        size = self._random.randrange(1, 50_000_000)
        kind = self._random.random()
        payload: Payload
        if kind < 0.4:
            payload = UploadCompletedV1(
                account_id=account_id,
                upload_id=self._uuid(),
                asset_id=self._uuid(),
                size_bytes=size,
                stored_bytes=size,
                chunk_count=1,
                deduplicated=False,
                duration_seconds=1,
            )
            self.expected.add(account_id, at_us, storage=size)
        elif kind < 0.5:
            payload = AssetDeletedV1(
                account_id=account_id, asset_id=self._uuid(), size_bytes=size, reason="request"
            )
            self.expected.add(account_id, at_us, storage=-size)
        elif kind < 0.7:
            payload = AssetDownloadedV1(
                account_id=account_id, asset_id=self._uuid(), reservation_id=self._uuid(), size_bytes=size
            )
            self.expected.add(account_id, at_us, bandwidth=size)
        else:
            payload = AssetStreamedV1(
                account_id=account_id, asset_id=self._uuid(), reservation_id=self._uuid(), sent_bytes=size
            )
            self.expected.add(account_id, at_us, bandwidth=size)
        return Event[Payload](
            id=self._event_id(at_us),
            source="/bench",
            type=payload.TYPE,
            subject=str(account_id),
            time=datetime.fromtimestamp(at_us // 1_000_000, UTC).replace(microsecond=at_us % 1_000_000),
            data=payload,
        )

    def _event_id(self, at_us: int) -> UUID:
        """A UUIDv7, as the services make them: it begins with the time."""
        return UUID(int=(at_us // 1_000 << 80) | (0x7 << 76) | (0b10 << 62) | self._uuid().int & _RANDOM_BITS)

    def _uuid(self) -> UUID:
        return UUID(int=self._random.getrandbits(128), version=4)


async def make_accounts(pool: Pool, count: int) -> list[UUID]:
    """Accounts with room for everything."""
    rows = await pool.fetch(_NEW_ACCOUNTS, count)
    account_ids = [row["id"] for row in rows]
    await pool.execute(
        "SELECT set_quotas_v1(id, $1, $1) FROM unnest($2::uuid[]) AS id", QUOTA_BYTES, account_ids
    )
    return account_ids


async def publish(url: str, messages: Iterable[tuple[bytes, str, str]]) -> None:
    """Put messages into the usage-meter's queue alone, in their order."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(USAGE_METER_EVENTS.replay_exchange)
        waiting: list[Any] = []
        for body, event_type, message_id in messages:
            message = aio_pika.Message(
                body, type=event_type, message_id=message_id, delivery_mode=aio_pika.DeliveryMode.PERSISTENT
            )
            waiting.append(exchange.publish(message, routing_key=event_type))
            if len(waiting) == PUBLISH_AT_ONCE:
                await asyncio.gather(*waiting)
                waiting.clear()
        await asyncio.gather(*waiting)


async def waiting_messages(url: str) -> int:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(USAGE_METER_EVENTS.name, passive=True)
        return int(queue.declaration_result.message_count or 0)


async def booked(pool: Pool, month: Month) -> int:
    """How many events of the month are booked, each with one entry."""
    counted = "SELECT count(*) FROM usage_ledger WHERE account_id = ANY ($1)"
    return int(await pool.fetchval(counted, month.account_ids))


async def measure(
    servers: Infrastructure, meters: list[RunningService], month: Month, pool: Pool, total: int, *, size: int
) -> Figures:
    """Wait until everything is booked and rolled up, and compare."""
    for meter in meters:
        meter.wait_until_ready()
    unique = total - month.duplicates
    with Processes({METER: [meter.pid for meter in meters], **server_pids(servers)}).measured() as taken:
        begun_at, begun_with = time.perf_counter(), await booked(pool, month)
        # The queue's length is cheap to ask for, and the ledger's is not: it is asked for at the end.
        while (waiting := await waiting_messages(servers.rabbitmq_url)) or await booked(pool, month) < unique:
            progress.print(f"  {waiting:,} messages wait", end="\r", highlight=False)
            await asyncio.sleep(POLL_SECONDS)
        booked_at = time.perf_counter()
    measured = total * (1 - begun_with / unique)
    await eventually(
        lambda: pool.fetchval(
            "SELECT NOT EXISTS (SELECT FROM usage_rollup_queue WHERE account_id = ANY ($1))",
            month.account_ids,
        ),
        timeout_seconds=ROLL_UP_SECONDS,
        poll_seconds=POLL_SECONDS,
    )
    rolled_up_at = time.perf_counter()
    return Figures(
        events=unique,
        duplicates=month.duplicates,
        late=month.late,
        accounts=len(month.expected.storage_bytes),
        meters=len(meters),
        hourly_rows=len(month.expected.hours),
        entries_before=size * ENTRIES,
        booked_events_per_second=round(measured / (booked_at - begun_at)),
        rolled_up_after_seconds=round(rolled_up_at - booked_at, 1),
        cpu_us_per_event={
            name: round(taken.cpu_seconds[name] / measured * 1e6)
            for name in (METER, "PostgreSQL", "RabbitMQ")
        },
        meter_peak_memory_mb=round(taken.peak_mb[METER]),
        totals_equal=await totals_are_equal(pool, month),
        rows_equal=await rows_are_equal(pool, month),
    )


async def totals_are_equal(pool: Pool, month: Month) -> bool:
    rows = await pool.fetch(
        "SELECT account_id, storage_used_bytes FROM account_usage"
        " WHERE account_id = ANY ($1) AND storage_used_bytes <> 0",
        month.account_ids,
    )
    found = {row["account_id"]: row["storage_used_bytes"] for row in rows}
    return found == {account: size for account, size in month.expected.storage_bytes.items() if size}


async def rows_are_equal(pool: Pool, month: Month) -> bool:
    rows = await pool.fetch(
        "SELECT account_id, period_start, storage_bytes, storage_byte_seconds, bandwidth_bytes, request_count"
        " FROM storage_usage WHERE account_id = ANY ($1)",
        month.account_ids,
    )
    return {tuple(row) for row in rows} == set(month.expected.rows())


def table(figures: Figures) -> Table:
    """The figures for people."""
    rows: list[tuple[str, ...]] = [
        (
            "events, of which late / and sent twice",
            f"{figures.events:,}, {figures.late:,} / {figures.duplicates:,}",
        ),
        ("accounts / hourly rows", f"{figures.accounts:,} / {figures.hourly_rows:,}"),
        ("instances of the usage-meter", f"{figures.meters}"),
        ("entries of the ledger before", f"{figures.entries_before:,}"),
        ("booked", f"{figures.booked_events_per_second:,} events/s"),
        ("all rows rolled up after", f"{figures.rolled_up_after_seconds} s more"),
        *((f"{name}: CPU per event", f"{cpu} µs") for name, cpu in figures.cpu_us_per_event.items()),
        ("usage-meter: peak memory", f"{figures.meter_peak_memory_mb} MB"),
        ("totals equal an independent computation", "yes" if figures.totals_equal else "NO"),
        ("hourly rows equal it", "yes" if figures.rows_equal else "NO"),
    ]
    return Table("Metering", ["what", "measured"], rows)


async def run(
    servers: Infrastructure,
    folder: Path,
    *,
    size: int,
    meters: int,
    events: int,
    accounts: int,
    seed: int,
) -> Figures:
    """Everything, on servers that nobody else uses."""
    if size:
        await asyncio.to_thread(give_memory, servers)
    async with asyncpg.create_pool(
        servers.database_url, min_size=1, max_size=2, command_timeout=None
    ) as pool:
        if size:
            progress.print(f"Filling the database to size {size} …", highlight=False)
            await fill(pool, size)
        async with opened_s3(servers.s3) as s3:
            # The meter is ready where its bucket is.
            await s3.create_bucket(Bucket=servers.s3.bucket)
        starter = ServiceStarter(servers, folder)
        month = Month(await make_accounts(pool, accounts), events, seed=seed)
        progress.print(f"Making {events:,} events …", highlight=False)
        messages = month.messages()
        progress.print(f"Publishing {len(messages):,} messages …", highlight=False)
        await publish(servers.rabbitmq_url, messages)
        total = len(messages)
        del messages
        started = [starter("usage-meter", wait=False) for _ in range(meters)]
        try:
            return await measure(servers, started, month, pool, total, size=size)
        finally:
            starter.end()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--size",
        type=int,
        default=0,
        help="fill the tables before, as `make bench-scale` does: 100 is 20 million entries of the ledger",
    )
    parser.add_argument("--meters", type=int, default=1, help="instances of the usage-meter")
    parser.add_argument("--events", type=int, default=50_000, help="events of the month")
    parser.add_argument("--accounts", type=int, default=1_000, help="accounts they are about")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same month")
    add_output_options(parser)
    given = parser.parse_args()
    with running_infrastructure() as servers, temporary_folder() as folder:
        figures = asyncio.run(
            run(
                servers,
                folder,
                size=given.size,
                meters=given.meters,
                events=given.events,
                accounts=given.accounts,
                seed=given.seed,
            )
        )
    show(given, [table(figures)], asdict(figures))
    if not (figures.totals_equal and figures.rows_equal):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
