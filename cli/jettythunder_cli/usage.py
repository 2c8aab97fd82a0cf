"""`jettythunder usage`: what accounts use, as a table, a file or a picture, and what ops may correct."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jettythunder_cli.usage_files import EXPORTS, Format, MissingPackage
from jettythunder_cli.usage_plots import plot_in_terminal, plot_to_png
from jettythunder_cli.usage_rebuild import rebuild

app = typer.Typer(
    help="What accounts store and send. Speaks to the usage-meter, as ops.", no_args_is_help=True
)
output = Console()
errors = Console(stderr=True)

GB = 1_000_000_000
_COSTS = ("storage_cost", "bandwidth_cost", "total_cost")
_TIMEOUT = httpx.Timeout(30, read=600)


class Bucket(StrEnum):
    """How a report is divided; hours, days and months are UTC's."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class Resource(StrEnum):
    """What is metered."""

    STORAGE = "storage"
    BANDWIDTH = "bandwidth"


Url = Annotated[
    str,
    typer.Option("--url", envvar="JETTYTHUNDER_USAGE_METER_URL", help="Where the usage-meter listens."),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="JETTYTHUNDER_OPS_TOKEN",
        help="The ops token.",
        show_default=False,
        show_envvar=True,
    ),
]
DEFAULT_URL = "http://127.0.0.1:3020"
AsJson = Annotated[bool, typer.Option("--json", help="Print a result for programs to read.")]
AnyAccount = Annotated[str | None, typer.Argument(help="The account's id or its user's; all by default.")]
From = Annotated[
    datetime | None,
    typer.Option("--from", help="First day, UTC.", show_default="the month's first", formats=["%Y-%m-%d"]),
]
To = Annotated[
    datetime | None,
    typer.Option("--to", help="The day after the last, UTC.", show_default="now", formats=["%Y-%m-%d"]),
]


class UsageError(Exception):
    """Something to tell the caller, in a sentence."""


@contextmanager
def _told_errors(*, as_json: bool) -> Iterator[None]:
    try:
        yield
    except (UsageError, MissingPackage) as error:
        if as_json:
            print(json.dumps({"error": str(error)}))
        else:
            errors.print(f"[red]✗[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


class UsageMeter:
    """The usage-meter's doors for ops."""

    def __init__(self, url: str, token: str | None) -> None:
        if not token:
            raise UsageError(
                "JETTYTHUNDER_OPS_TOKEN is not set: `. .jettythunder/env` loads it from the stack."
            )
        self._url = url
        self._client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=_TIMEOUT
        )

    def call(self, method: str, path: str, **how: Any) -> Any:
        """One answer as JSON, with exact numbers."""
        try:
            answer = self._client.request(method, path, **how)
        except httpx.HTTPError as error:
            raise self._unreachable() from error
        _raise_for(answer)
        return json.loads(answer.text, parse_float=Decimal)

    def lines(self, method: str, path: str, **how: Any) -> Iterator[dict[str, Any]]:
        """An answer with a JSON object a line, read as it comes."""
        try:
            with self._client.stream(method, path, **how) as answer:
                if answer.status_code >= 400:
                    answer.read()
                _raise_for(answer)
                for line in answer.iter_lines():
                    yield json.loads(line, parse_float=Decimal)
        except httpx.HTTPError as error:
            raise self._unreachable() from error

    def pages(self, path: str, name: str) -> Iterator[dict[str, Any]]:
        """The rows of all pages."""
        params: dict[str, Any] = {"page_size": 500}
        while True:
            page = self.call("GET", path, params=params)
            yield from page[name]
            if page["next_cursor"] is None:
                return
            params["cursor"] = page["next_cursor"]

    def _unreachable(self) -> UsageError:
        return UsageError(
            f"The usage-meter does not answer at {self._url}: is it up? `jettythunder stack status` tells its"
            " address; name it with --url."
        )


def _raise_for(answer: httpx.Response) -> None:
    if answer.status_code < 400:
        return
    try:
        problem = answer.json()
    except ValueError:
        raise UsageError(f"The usage-meter answered {answer.status_code}.") from None
    raise UsageError(f"{problem.get('detail', answer.status_code)} ({problem.get('code', 'unknown')})")


@app.command()
def show(
    account: AnyAccount = None,
    ledger: Annotated[
        int, typer.Option(help="Also the newest entries of the account's ledger.", min=0, max=1000)
    ] = 0,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Show quotas: used, reserved and allowed, of one account or all."""
    with _told_errors(as_json=as_json):
        meter = UsageMeter(url, token)
        if account is None:
            rows = list(meter.pages("/usage/accounts", "accounts"))
            _show_quotas(rows, as_json=as_json)
            return
        quota = meter.call("GET", f"/usage/accounts/{account}")
        entries = _entries(meter, account, ledger) if ledger else []
        if as_json:
            print(json.dumps({**quota, "ledger": entries} if ledger else quota, default=str))
            return
        _show_quotas([quota], as_json=False)
        if entries:
            _show_entries(entries)


def _entries(meter: UsageMeter, account: str, count: int) -> list[dict[str, Any]]:
    answer = meter.call("GET", f"/usage/accounts/{account}/ledger", params={"page_size": count})
    found: list[dict[str, Any]] = answer["entries"]
    return found


def _show_quotas(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, default=str))
        return
    table = _table("User", "Tier", "Status", *("Storage", "%", "Bandwidth", "%", "Requests", "Resets"))
    for row in rows:
        table.add_row(
            escape(str(row["agentcache_user_id"])),
            row["tier"],
            row["status"],
            *_gauge(row, Resource.STORAGE),
            *_gauge(row, Resource.BANDWIDTH),
            f"{row['request_count']:,}",
            row["period_end"][:10],
        )
    output.print(table)


def _gauge(row: dict[str, Any], resource: Resource) -> tuple[str, str]:
    """Used of allowed, with what is reserved on top, and the share that both take."""
    used, reserved, quota = (row[f"{resource}_{name}_bytes"] for name in ("used", "reserved", "quota"))
    taken = used + reserved
    percent = f"{Decimal(100 * taken) / quota:.1f}" if quota else ("0.0" if taken <= 0 else "100.0")
    return f"{_gb(used)}{_reserved(reserved)} of {_gb(quota)}", percent


def _table(*titles: str, caption: str | None = None) -> Table:
    """A table whose figures stand to the right."""
    table = Table(caption=caption, caption_justify="left")
    for title in titles:
        words = title in ("User", "Tier", "Status", "From", "When", "Resource", "Kind", "Source", "What")
        table.add_column(title, justify="left" if words else "right")
    return table


def _show_entries(entries: list[dict[str, Any]]) -> None:
    table = _table("When", "Resource", "Kind", "Used", "Reserved", "Source", caption="Bytes; times in UTC.")
    for entry in entries:
        table.add_row(
            entry["occurred_at"][:19].replace("T", " "),
            entry["resource"],
            entry["kind"],
            f"{entry['used_delta_bytes']:+,}",
            f"{entry['reserved_delta_bytes']:+,}",
            escape(_source(entry)),
        )
    output.print(table)


def _source(entry: dict[str, Any]) -> str:
    """Where an entry comes from: a person and a reason, or an event."""
    if entry["author"]:
        return f"{entry['author']}: {entry['reason']}"
    return str(entry["reason"] or entry["source_event_id"])


@app.command()
def report(
    account: AnyAccount = None,
    from_day: From = None,
    to_day: To = None,
    by: Annotated[Bucket, typer.Option(help="How to divide it.")] = Bucket.DAY,
    plot: Annotated[bool, typer.Option("--plot", help="Draw it in the terminal.")] = False,
    png: Annotated[
        Path | None, typer.Option("--png", help="Draw it into this PNG file.", dir_okay=False)
    ] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Show usage over time: bytes stored and byte-hours, bytes sent, requests and costs."""
    with _told_errors(as_json=as_json):
        rows = list(_rows(UsageMeter(url, token), account, from_day, to_day, by))
        if png is not None:
            plot_to_png(rows, png)
            errors.print(f"Drew {png}.", highlight=False)
        if plot:
            plot_in_terminal(rows)
        if as_json:
            print(json.dumps(rows, default=str))
        elif not plot:
            _show_rows(rows, by)


def _rows(
    meter: UsageMeter, account: str | None, from_day: datetime | None, to_day: datetime | None, by: Bucket
) -> Iterator[dict[str, Any]]:
    now = datetime.now(UTC)
    start = (
        from_day.replace(tzinfo=UTC)
        if from_day
        else now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    )
    end = to_day.replace(tzinfo=UTC) if to_day else now + timedelta(hours=1)
    if end <= start:
        raise UsageError("--to must come after --from.")
    params = {"from": start.isoformat(), "to": end.isoformat(), "by": by.value}
    if account is not None:
        params["account"] = account
    return meter.lines("GET", "/usage/report", params=params)


def _show_rows(rows: list[dict[str, Any]], by: Bucket) -> None:
    table = _table(
        *("User", "From", "Stored", "GB-hours", "Sent", "Requests", "Storage $", "Bandwidth $", "Total $"),
        caption=f"By {by}, in UTC. Stored: at the {by}'s end, or now. A GB is 10^9 bytes.",
    )
    for row in rows:
        table.add_row(
            escape(str(row["agentcache_user_id"])),
            row["period_start"][:16].replace("T", " "),
            _gb(row["storage_bytes"]),
            _gb_hours(Decimal(row["storage_byte_hours"])),
            _gb(row["bandwidth_bytes"]),
            f"{row['request_count']:,}",
            *(str(row[name]) for name in _COSTS),
        )
    table.add_section()
    table.add_row(
        "All",
        "",
        "",
        _gb_hours(sum((Decimal(row["storage_byte_hours"]) for row in rows), Decimal(0))),
        _gb(sum(row["bandwidth_bytes"] for row in rows)),
        f"{sum(row['request_count'] for row in rows):,}",
        *(str(sum((Decimal(row[name]) for row in rows), Decimal(0))) for name in _COSTS),
    )
    output.print(table)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="Where to write it.", dir_okay=False)],
    account: Annotated[
        str | None, typer.Option("--account", help="The account's id or its user's; all by default.")
    ] = None,
    from_day: From = None,
    to_day: To = None,
    by: Annotated[Bucket, typer.Option(help="How to divide it.")] = Bucket.DAY,
    kind: Annotated[
        Format | None,
        typer.Option("--format", help="csv, json or parquet.", show_default="by the file's name"),
    ] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Write usage over time to a file, for a spreadsheet, a program or a data warehouse."""
    with _told_errors(as_json=as_json):
        chosen = kind or _format_of(file)
        rows = _rows(UsageMeter(url, token), account, from_day, to_day, by)
        unfinished = file.with_name(f".{file.name}.{uuid4().hex}")
        try:
            count = EXPORTS[chosen](rows, unfinished)
            unfinished.replace(file)
        except OSError as error:
            raise UsageError(f"{file} can't be written: {error.strerror}.") from error
        finally:
            unfinished.unlink(missing_ok=True)
        if as_json:
            print(json.dumps({"file": str(file), "rows": count, "format": chosen.value}))
        else:
            output.print(f"[green]✓[/green] {count:,} rows in {file}", highlight=False)


def _format_of(file: Path) -> Format:
    try:
        return Format(file.suffix.removeprefix(".").lower())
    except ValueError:
        raise UsageError(
            f"What {file.name} should be is not clear: name --format csv, json or parquet."
        ) from None


@app.command()
def reconcile(
    account: AnyAccount = None,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what a second look sees too.")] = False,
    show_all: Annotated[bool, typer.Option("--all", help="Also the accounts without drift.")] = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Compare the bucket, the assets, the ledger and the counters; changes nothing without --fix.

    Ends with 2 where there is drift that was not mended, or not all of it.
    """
    with _told_errors(as_json=as_json):
        meter = UsageMeter(url, token)
        answer = meter.lines("POST", "/usage/reconcile", json={"account": account, "fix": fix})
        with errors.status("Looking …") as status:
            found: list[dict[str, Any]] = []
            for number, line in enumerate(answer, 1):
                status.update(f"{number:,} accounts looked at …")
                found.append(line)
    drifting = [line for line in found if not line["is_clean"]]
    if as_json:
        print(json.dumps(found if show_all else drifting))
    else:
        _show_findings(found if show_all else drifting)
        drift_bytes = sum(line["drift_bytes"] for line in drifting)
        output.print(
            f"{len(found):,} accounts, {len(drifting):,} with drift, {drift_bytes:,} bytes", highlight=False
        )
    if any(line["needs_a_person"] for line in drifting):
        raise typer.Exit(2)


def _show_findings(lines: list[dict[str, Any]]) -> None:
    if not lines:
        return
    table = _table("User", "Bucket", "Assets", "Ledger", "Adjusted", "Drift", "What", caption="Bytes.")
    for line in lines:
        findings = line["findings"]
        counts = {
            "orphan objects": len(findings["orphans"]),
            "assets without their object": len(findings["missing"]),
            "assets the ledger has wrong": len(findings["ledger_drift"]),
            "counters that differ": len(findings["counter_drift"]),
        }
        what = [f"{count} {name}" for name, count in counts.items() if count]
        what += [f"mended: {done}" for done in findings["mended"]]
        what += [f"left alone: {rest}" for rest in findings["left_alone"]]
        table.add_row(
            escape(findings["agentcache_user_id"] or f"account {findings['account_id']} is gone"),
            *(f"{findings[f'{name}_bytes']:,}" for name in ("bucket", "assets", "ledger", "adjusted")),
            f"{line['drift_bytes']:,}",
            escape("\n".join(what)),
        )
    output.print(table)


@app.command()
def adjust(
    account: Annotated[str, typer.Argument(help="The account's id or its user's.")],
    resource: Annotated[Resource, typer.Argument(help="What to correct.")],
    size_bytes: Annotated[int, typer.Argument(metavar="BYTES", help="What to add; negative takes away.")],
    reason: Annotated[str, typer.Option(help="Why; it stays in the ledger.")],
    author: Annotated[str, typer.Option(help="Who; it stays in the ledger.", envvar="USER")],
    at: Annotated[
        datetime | None,
        typer.Option(
            help="Which hour it corrects, UTC.",
            show_default="now",
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M"],
        ),
    ] = None,
    identity: Annotated[
        str | None,
        typer.Option("--id", help="A UUID that makes repeating the command safe.", show_default="a new one"),
    ] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Correct an account's usage by an entry in its ledger. A negative number follows `--`."""
    with _told_errors(as_json=as_json):
        wanted = {
            "id": identity or str(uuid4()),
            "account": account,
            "resource": resource.value,
            "bytes": size_bytes,
            "reason": reason,
            "author": author,
            "occurred_at": at.replace(tzinfo=UTC).isoformat() if at else None,
        }
        answer = UsageMeter(url, token).call("POST", "/usage/adjustments", json=wanted)
    if as_json:
        print(json.dumps(answer, default=str))
        return
    done = "Booked" if answer["booked"] else "Booked before, nothing changed"
    output.print(f"[green]✓[/green] {done}: {answer['id']}", highlight=False)
    _show_quotas([answer["quota"]], as_json=False)


@app.command()
def prices(
    resource: Annotated[
        Resource | None, typer.Argument(help="What to set a price for; without it prices are shown.")
    ] = None,
    usd_per_gb: Annotated[
        str | None, typer.Argument(help="Dollars per GB (10^9 bytes) sent, or per GB-month stored.")
    ] = None,
    from_month: Annotated[
        datetime | None, typer.Option("--from", help="The first month it is for.", formats=["%Y-%m"])
    ] = None,
    source: Annotated[str | None, typer.Option(help="Where the price comes from.")] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Show the prices that costs are computed with, or set one from a month on."""
    with _told_errors(as_json=as_json):
        meter = UsageMeter(url, token)
        if resource is None:
            rows = meter.call("GET", "/usage/prices")
        elif usd_per_gb is None or from_month is None or source is None:
            raise UsageError(
                "To set a price give all of: resource, dollars per GB, --from 2026-01 and --source."
            )
        else:
            wanted = {
                "resource": resource.value,
                "usd_per_gb": usd_per_gb,
                "effective_from": from_month.date().isoformat(),
                "source": source,
            }
            rows = meter.call("PUT", "/usage/prices", json=wanted)
    _show(rows, _price_table, as_json=as_json)


def _price_table(rows: list[dict[str, Any]]) -> Table:
    table = _table("Resource", "From", "$ per GB", "Source")
    for row in rows:
        table.add_row(
            row["resource"],
            row["effective_from"][:10],
            f"{Decimal(row['usd_per_gb']).normalize():f}",
            escape(row["source"]),
        )
    return table


def _show(
    rows: list[dict[str, Any]], as_table: Callable[[list[dict[str, Any]]], Table], *, as_json: bool
) -> None:
    if as_json:
        print(json.dumps(rows, default=str))
    else:
        output.print(as_table(rows))


def _gb(size_bytes: int) -> str:
    return f"{Decimal(size_bytes) / GB:,.3f} GB"


def _gb_hours(byte_hours: Decimal) -> str:
    return f"{byte_hours / GB:,.3f}"


def _reserved(size_bytes: int) -> str:
    return f" (+{_gb(size_bytes)} reserved)" if size_bytes else ""


app.command()(rebuild)
