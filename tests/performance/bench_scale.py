"""Measures what the services' statements cost as the database grows.

Run it with `make bench-scale` or `python -m tests.performance.bench_scale`. It fills a database of its own to
each size, runs the statements of requests, relays, jobs and housekeeping on it, each in a transaction that is
rolled back, and shows milliseconds and pages read by size. A statement that reads more than 1.5 times as many
pages as at the size before is shown with its plan: it grows with accounts or with history. Pages do not
depend on what else the machine does; times do.

The account that has a twentieth of all is the one that is asked about.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
from tests.performance.filling import fill
from tests.support.infrastructure import empty_database, running_infrastructure

from chunk_worker.app import create_app as _chunk_worker  # noqa: F401
from jettythunder.database import DECLARED, Statement
from jettythunder.ids import new_id
from jettythunder_migrations import migrate
from operations.assembly import open_operations  # noqa: F401 - declares the statements
from provisioning.app import create_app as _provisioning  # noqa: F401
from storage_gateway.app import create_app as _gateway  # noqa: F401
from usage_meter.app import create_app as _usage_meter  # noqa: F401
from usage_meter.messages import USAGE_METER_EVENTS

Given: TypeAlias = dict[str, Any]

GROWTH = 1.5
# Fewer pages more are another level of an index.
LEAST_PAGES = 12
RUNS = 3

_ROW_BYTES = """
SELECT name, sum(pg_total_relation_size(part.relid)) / nullif(sum(greatest(c.reltuples, 0)), 0) AS bytes
FROM unnest($1::text[]) AS name
CROSS JOIN LATERAL (
    SELECT relid FROM pg_partition_tree(name::regclass) WHERE isleaf
    UNION SELECT oid FROM pg_class WHERE oid = name::regclass AND relkind = 'r'
) AS part
JOIN pg_class c ON c.oid = part.relid
GROUP BY name ORDER BY name
"""
_TABLES = ("account_usage", "agentcache_assets", "inbox", "storage_usage", "uploads", "usage_ledger")


@dataclass(frozen=True)
class Case:
    """A statement, and what it is run with."""

    name: str
    given: Given
    variant: str = ""
    # The statement that its transaction begins with.
    after: str | None = None

    @property
    def title(self) -> str:
        return f"{self.name} ({self.variant})" if self.variant else self.name


@dataclass(frozen=True)
class Cost:
    """What one statement cost at one size: the quickest of some runs, and the pages of the last."""

    milliseconds: float
    pages: int
    plan: str


async def cases(connection: asyncpg.Connection[Any]) -> list[Case]:
    """All statements that requests, relays, jobs and housekeeping run, about rows that are there."""
    one = await connection.fetchrow(
        "SELECT a.*, k.cache_key AS named"
        " FROM agentcache_assets a JOIN asset_cache_keys k ON k.asset_id = a.id"
        " WHERE a.account_id = (SELECT id FROM bench_accounts WHERE n = 1) ORDER BY a.id LIMIT 1"
    )
    assert one is not None
    account = await connection.fetchrow("SELECT * FROM agentcache_accounts WHERE id = $1", one["account_id"])
    assert account is not None
    small: UUID = await connection.fetchval("SELECT id FROM bench_accounts WHERE n = 7")
    accounts = [row["id"] for row in await connection.fetch("SELECT id FROM bench_accounts WHERE n <= 100")]
    session: UUID = await connection.fetchval("SELECT id FROM uploads WHERE kind = 'session' LIMIT 1")
    known = await connection.fetch("SELECT event_id, event_time FROM inbox LIMIT 50")
    entry = await connection.fetchrow(
        "SELECT id, source_event_id FROM usage_ledger WHERE account_id = $1"
        " ORDER BY occurred_at LIMIT 1 OFFSET 500",
        account["id"],
    )
    assert entry is not None
    # As far as a page of the object storage's listing goes.
    thousandth: str = await connection.fetchval(
        "SELECT s3_key FROM agentcache_assets WHERE account_id = $1 AND s3_key > $2"
        " ORDER BY s3_key OFFSET 999 LIMIT 1",
        account["id"],
        one["s3_key"],
    )
    now = datetime.now(UTC)
    begin = now - timedelta(days=3650)
    ids = [row["event_id"] for row in known] + [new_id() for _ in range(50)]
    times = [row["event_time"] for row in known] + [now] * 50
    event: Given = {
        "lanes": [1],
        "exchanges": ["jettythunder.events"],
        "routing_keys": ["bench"],
        "event_ids": [new_id()],
        "bodies": ["{}"],
    }
    mine: Given = {"account_id": account["id"]}
    page: Given = {
        **mine,
        "prefix": None,
        "cache_key": None,
        "pipeline_id": None,
        "before_created_at": None,
        "before_id": None,
        "page_size": 101,
    }
    asset: Given = {**mine, "asset_id": one["id"]}
    hours: Given = {
        "account_ids": accounts,
        "from_hours": [now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)] * 100,
        "hour_limit": 744,
    }
    hash_of: Given = {**mine, "content_hash": one["content_hash"]}
    gateway, meter = "storage_gateway", "usage_meter"
    return [
        Case(f"{gateway}.access:authenticate", {"api_key": account["api_key"], "secret_digest": "x"}),
        Case(f"{gateway}.access:link_owner", {"asset_id": one["id"]}),
        Case(
            f"{gateway}.access:take_request",
            {"subject": f"account:{account['id']}", "request_limit": 10**9, "window_seconds": 60.0},
        ),
        Case(f"{gateway}.access:forget_counters", {"older_than_seconds": 600.0, "batch_size": 1000}),
        Case(f"{gateway}.accounts:quota_of", mine),
        Case(f"{gateway}.assets:fetch_asset", asset),
        Case(f"{gateway}.assets:fetch_asset_by_key", {**asset, "s3_key": one["s3_key"]}),
        Case(f"{gateway}.assets:fetch_asset_by_cache_key", {**mine, "cache_key": one["named"]}),
        Case(f"{gateway}.assets:list_assets", page),
        Case(
            f"{gateway}.assets:list_assets",
            {**page, "before_created_at": one["created_at"] + timedelta(days=30), "before_id": one["id"]},
            "later page",
        ),
        Case(f"{gateway}.assets:list_assets", {**page, "prefix": "rare-"}, "prefix"),
        Case(f"{gateway}.assets:list_assets", {**page, "cache_key": one["named"]}, "cache key"),
        Case(f"{gateway}.assets:list_assets", {**page, "pipeline_id": new_id()}, "pipeline"),
        Case(f"{gateway}.assets:find_known", hash_of),
        Case(f"{gateway}.assets:keep_duplicate", {**hash_of, "expires_at": None}),
        Case(
            f"{gateway}.assets:reserve_bandwidth",
            {**asset, **event, "reservation_id": new_id(), "size_bytes": 1, "hold_seconds": 60.0},
        ),
        Case(f"{gateway}.assets:delete_assets", {**mine, "asset_ids": [one["id"]]}),
        Case(f"{gateway}.assets:find_expired", {"batch_size": 100}),
        Case(f"{gateway}.assets:find_expired_duplicate", hash_of),
        Case(f"{gateway}.assets:rename_asset", {**asset, "filename": "x"}),
        Case(f"{gateway}.assets:takes_cache_key", {**asset, "cache_key": "new", "most": 100}),
        Case(f"{gateway}.assets:name_asset", {**asset, "cache_key": "new"}),
        Case(f"{gateway}.assets:claim_deletions", {"batch_size": 100, "retry_seconds": 60.0}),
        Case(
            f"{gateway}.assets:note_deleted",
            {"s3_bucket": "bucket", "s3_key": "k1", "late_write_seconds": 300.0},
        ),
        Case(f"{gateway}.assets:find_unverified", {"batch_size": 1, "account_id": None}),
        Case(f"{gateway}.assets:find_unverified", {"batch_size": 1, **mine}, "of an account"),
        Case(
            f"{gateway}.uploads:open_upload",
            {
                **mine,
                **event,
                "upload_id": new_id(),
                "kind": "form",
                "status": "receiving",
                "filename": "x",
                "content_type": "x",
                "s3_bucket": "x",
                "s3_key": "x",
                "size_bytes": 1,
                "chunk_size_bytes": None,
                "content_hash": None,
                "cache_key": None,
                "pipeline_id": None,
                "asset_expires_at": None,
                "correlation_id": "x",
                "reserve_bytes": 1,
                "open_seconds": 60.0,
            },
        ),
        Case(f"{gateway}.uploads:fetch_upload", {**mine, "upload_id": session}),
        Case(
            f"{gateway}.uploads:list_sessions",
            {**mine, "open_only": False, "before_created_at": None, "before_id": None, "page_size": 101},
        ),
        Case(f"{gateway}.uploads:count_open_sessions", {**mine, "most": 100}),
        Case(f"{gateway}.uploads:forget_closed", {"keep_days": 30, "batch_size": 500}),
        Case(f"{gateway}.uploads:find_expired", {"batch_size": 100}),
        Case(f"{gateway}.uploads:claim_leftovers", {"batch_size": 100, "retry_seconds": 60.0}),
        Case(f"{gateway}.uploads:renew_leases", {"upload_ids": [session], "lease_seconds": 60.0}),
        Case(
            f"{gateway}.uploads:close_upload",
            {"upload_id": session, "status": "aborted", "failure_code": "bench"},
        ),
        Case(f"{gateway}.uploads:delete_object_again", {"upload_id": session}),
        Case("jettythunder.chunks:fetch_upload", {**mine, "upload_id": session, "number": 1}),
        Case("provisioning.accounts:fetch_account", {"agentcache_user_id": account["agentcache_user_id"]}),
        Case(
            "provisioning.accounts:fetch_account_after",
            {
                "agentcache_user_id": account["agentcache_user_id"],
                "consumer": USAGE_METER_EVENTS.name,
                "event_id": ids[0],
            },
        ),
        Case("provisioning.accounts:fetch_account_of_each_master_key", {}),
        Case(
            "provisioning.accounts:users_to_move",
            {"master_key_ids": ["none"], "also_in_grace": True, "limit": 100},
        ),
        Case("jettythunder.outbox:insert_outbox", event),
        Case("jettythunder.outbox:take_outbox", {"all_lanes": range(16), "lock_space": 1, "batch_size": 500}),
        Case("jettythunder.outbox:lag", {}),
        Case(
            "jettythunder.outbox:insert_inbox",
            {"consumer": USAGE_METER_EVENTS.name, "event_id": new_id(), "event_time": now},
        ),
        Case("jettythunder.outbox:is_in_inbox", {"consumer": USAGE_METER_EVENTS.name, "event_id": ids[0]}),
        Case("jettythunder.outbox:keep_inbox", {"keep_days": 3650}),
        Case("operations.events:processed_by", {"event_id": ids[0]}),
        Case(
            "operations.events:known_events", {"consumer": USAGE_METER_EVENTS.name, "event_ids": ids}, "100"
        ),
        Case(f"{meter}.accounts:user_of", mine),
        Case(f"{meter}.accounts:find_account", {"account_id": None, "name": account["agentcache_user_ref"]}),
        Case(f"{meter}.accounts:list_accounts", {"after": small, "page_size": 200}),
        Case(f"{meter}.accounts:list_given", {"account_ids": accounts}, "100"),
        Case(
            f"{meter}.ledger:take_new",
            {"consumer": USAGE_METER_EVENTS.name, "event_ids": ids, "event_times": times},
            "100",
        ),
        Case(f"{meter}.ledger:lock_accounts", {"account_ids": accounts}, "100"),
        Case(f"{meter}.ledger:find_due_periods", {"batch_size": 500}),
        Case(
            f"{meter}.ledger:take_holds",
            {"ids": ids, "resources": ["storage"] * 100, "account_ids": [account["id"]] * 100},
            "100",
        ),
        Case(f"{meter}.ledger:find_reconciled", {"asset_ids": ids}, "100"),
        Case(
            f"{meter}.ledger:append_entries",
            {
                "account_id": accounts,
                "resource": ["storage"] * 100,
                "kind": ["settled"] * 100,
                "used_delta_bytes": [1] * 100,
                "reserved_delta_bytes": [0] * 100,
                "request_count": [1] * 100,
                "source_event_id": list(map(str, ids)),
                "reservation_id": ids,
                "asset_id": ids,
                "occurred_at": [now] * 100,
                "reason": [None] * 100,
                "author": [None] * 100,
            },
            "100",
        ),
        Case(f"{meter}.ledger:find_expired_holds", {"booked_until": now, "batch_size": 500}),
        Case(
            f"{meter}.ledger:fetch_entry",
            {"source_event_id": entry["source_event_id"], "resource": "storage"},
        ),
        Case(f"{meter}.ledger:outbox_backlog", {"types": ["bench"]}),
        Case(f"{meter}.ledger:oldest_in_outbox", {"types": ["bench"]}),
        Case(f"{meter}.reports:list_quotas", {"account_ids": accounts}, "100"),
        Case(f"{meter}.reports:list_entries", {**mine, "before": None, "page_size": 100}),
        Case(
            f"{meter}.reports:list_entries", {**mine, "before": entry["id"], "page_size": 100}, "later page"
        ),
        Case(f"{meter}.reports:list_reported", {"account_id": None, "after": small, "page_size": 100}),
        Case(
            f"{meter}.reports:report",
            {"bucket": "day", "from_at": now - timedelta(days=30), "to_at": now, "account_ids": [small]},
            "a month of an account",
        ),
        Case(f"{meter}.rollups:recent_accounts", {"oldest_hour": now, "but_of": [], "entry_limit": 100}),
        Case(f"{meter}.rollups:waiting_accounts", {"entry_limit": 100}),
        Case(
            f"{meter}.rollups:take_queued_hours",
            {"account_ids": accounts, "oldest_hour": begin},
        ),
        Case(f"{meter}.rollups:recompute_hours", hours, "100 accounts, 2 hours"),
        Case(f"{meter}.rollups:queue_later_hours", hours, "100 accounts"),
        Case(
            f"{meter}.rollups:list_ended_hours",
            {"grace_seconds": 300.0, "after_end": begin, "after_account": UUID(int=0), "batch_size": 500},
            after=f"{meter}.rollups:read_in_order",
        ),
        Case(
            f"{meter}.rollups:close_hours",
            {"account_ids": accounts, "period_starts": [now] * len(accounts)},
            after=f"{meter}.rollups:read_in_order",
        ),
        Case(f"{meter}.rollups:rollup_backlog", {}),
        Case(f"{meter}.scheduling:keep_usage", {}),
        Case(f"{meter}.reconciliation:bytes_by_source", {"account_id": small}, "a small account"),
        Case(f"{meter}.reconciliation:list_ledger_drift", {"account_id": small}, "a small account"),
        Case(
            f"{meter}.reconciliation:list_known_objects",
            {
                **mine,
                "bucket": "bucket",
                "after_key": one["s3_key"],
                "until_key": thousandth,
                "page_size": 2000,
            },
            "a page",
        ),
        Case(f"{meter}.reconciliation:list_lost_holds", {"account_id": small, "settle_seconds": 60.0}),
        Case(f"{meter}.reconciliation:queue_changed", {"account_ids": accounts}, "100"),
        Case(f"{meter}.reconciliation:list_queued", {"after": small, "page_size": 200}),
        Case(f"{meter}.reconciliation:begin_look", {"account_id": small}),
        Case(f"{meter}.reconciliation:note_drift", {"account_id": small, "drift_bytes": 1}),
        Case(f"{meter}.reconciliation:forget_drift", {"account_id": small}),
        Case(f"{meter}.reconciliation:leave_queue", {"account_id": small}),
        Case(f"{meter}.reconciliation:sum_drift", {}),
        Case(f"{meter}.reconciliation:begin_round", {}),
        Case(f"{meter}.reconciliation:fetch_round", {}),
        Case(f"{meter}.reconciliation:move_round", {"after": small}),
        Case(f"{meter}.reconciliation:run_age_seconds", {}),
        Case(f"{meter}.reconciliation:end_run", {}),
    ]


async def measure(connection: asyncpg.Connection[Any]) -> dict[str, Cost]:
    """What every statement costs on a filled database."""
    statements = {f"{statement.package}:{statement.name}": statement for statement, _ in DECLARED}
    return {
        case.title: await _cost(
            connection, statements[case.name], case, after=statements[case.after] if case.after else None
        )
        for case in await cases(connection)
    }


async def _cost(
    connection: asyncpg.Connection[Any], statement: Statement, case: Case, *, after: Statement | None
) -> Cost:
    arguments = [case.given[name] for name in statement.parameters]
    answers = []
    for _ in range(RUNS):
        transaction = connection.transaction()
        await transaction.start()
        try:
            if after is not None:
                await connection.execute(after.sql)
            text = await connection.fetchval(
                f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement.sql}", *arguments
            )
        except asyncpg.PostgresError as error:
            raise SystemExit(f"{case.title}: {error}") from error
        finally:
            await transaction.rollback()
        answers.append(json.loads(text)[0])
    plan = answers[-1]["Plan"]
    return Cost(
        milliseconds=min(float(answer["Execution Time"]) for answer in answers),
        pages=plan["Shared Hit Blocks"] + plan["Shared Read Blocks"],
        plan="\n".join(_described(plan)),
    )


def _described(node: dict[str, Any], depth: int = 0) -> Iterator[str]:
    """A plan's nodes, with what they read and how much of it they threw away."""
    about = [node.get("Relation Name") or node.get("CTE Name") or "", node.get("Index Name") or ""]
    pages = node["Shared Hit Blocks"] + node["Shared Read Blocks"]
    removed = node.get("Rows Removed by Filter", 0)
    if node["Actual Loops"]:
        yield (
            f"{'  ' * depth}{node['Node Type']} {' '.join(filter(None, about))}"
            f" rows={node['Actual Rows']} loops={node['Actual Loops']} pages={pages}"
            + (f" removed={removed}" if removed else "")
        )
        for child in node.get("Plans", ()):
            yield from _described(child, depth + 1)


def has_grown(before: Cost, after: Cost) -> bool:
    """Whether a statement reads more at a larger size than another level of its indexes explains."""
    return after.pages > before.pages * GROWTH and after.pages - before.pages >= LEAST_PAGES


@dataclass(frozen=True)
class Measured:
    """What a size costs: statements, and bytes a row with all its indexes, by table."""

    costs: dict[str, Cost]
    row_bytes: dict[str, float]


async def _row_bytes(connection: asyncpg.Connection[Any]) -> dict[str, float]:
    rows = await connection.fetch(_ROW_BYTES, _TABLES)
    return {row["name"]: row["bytes"] for row in rows}


async def measure_size(url: str, size: int) -> Measured:
    """Fill a database of its own to a size, measure, and drop it."""
    with empty_database(url) as filled:
        migrate(filled)
        connection = await asyncpg.connect(filled, statement_cache_size=0)
        try:
            began = time.monotonic()
            await fill(connection, size)
            print(f"size {size}: filled in {time.monotonic() - began:.0f} s", flush=True)
            return Measured(await measure(connection), await _row_bytes(connection))
        finally:
            await connection.close()


def report(measured: dict[int, Measured]) -> None:
    """Print the tables, and the plans of what grew."""
    sizes = list(measured)
    found = {size: measured[size].costs for size in sizes}
    width = max(len(title) for title in found[sizes[0]])
    print(f"{'statement':{width}}" + "".join(f"  {f'{size}x ms':>10} {'pages':>8}" for size in sizes))
    grown = []
    for title in found[sizes[0]]:
        costs = [found[size][title] for size in sizes]
        is_grown = any(has_grown(*pair) for pair in itertools.pairwise(costs))
        figures = "".join(f"  {cost.milliseconds:>10.2f} {cost.pages:>8,}" for cost in costs)
        print(f"{title:{width}}{figures}{'  grows' if is_grown else ''}")
        if is_grown:
            grown.append((title, costs[-1].plan))
    for title, plan in grown:
        print(f"\n{title}\n{plan}")
    print("\nbytes a row with its indexes: ", end="")
    print(", ".join(f"{name} {size:.0f}" for name, size in measured[sizes[-1]].row_bytes.items()))
    print(f"\n{len(grown)} of {len(found[sizes[0]])} statements grow")


@contextmanager
def server(given: str | None) -> Iterator[str]:
    """The URL of a server that databases may be made on: the given one, or one of its own."""
    if given is not None:
        yield given
        return
    with running_infrastructure() as running:
        yield running.database_url


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="1,10", help="how large, separated by commas (default 1,10)")
    parser.add_argument("--database-url", help="a server to use, on which the user may make databases")
    parser.add_argument("--json", action="store_true", help="print the figures for programs")
    options = parser.parse_args()
    with server(options.database_url) as url:
        found = {size: asyncio.run(measure_size(url, size)) for size in map(int, options.sizes.split(","))}
    if options.json:
        print(json.dumps({size: asdict(measured) for size, measured in found.items()}))
    else:
        report(found)


if __name__ == "__main__":
    main()
