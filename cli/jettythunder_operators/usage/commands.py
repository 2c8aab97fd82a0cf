"""`jettythunder usage`: what accounts use, as a table, a file or a picture, and what ops may correct."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote
from uuid import uuid4

import typer

from jettythunder.ids import new_id
from jettythunder_cli.frame.options import AsJson
from jettythunder_cli.frame.output import errors, print_done, print_json, print_line
from jettythunder_cli.frame.table import Table, figures, ids, words
from jettythunder_cli.frame.text import size_text
from jettythunder_client.errors import FileUnwritable
from jettythunder_operators.api import OperatorsApi
from jettythunder_operators.usage.files import EXPORTS, Format
from jettythunder_operators.usage.plots import plot_in_terminal, plot_to_png
from jettythunder_operators.usage.rebuild import rebuild
from jettythunder_operators.usage.server import DEFAULT_URL, Token, Url, usage_meter

app = typer.Typer(
    help="What accounts store and send. Calls the usage-meter, with the operators' token.",
    no_args_is_help=True,
)

GB = 1_000_000_000
_COSTS = ("storage_cost", "bandwidth_cost", "total_cost")


class Bucket(StrEnum):
    """How a report is divided; hours, days and months are UTC's."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class Resource(StrEnum):
    """What is metered."""

    STORAGE = "storage"
    BANDWIDTH = "bandwidth"


AnyAccount = Annotated[str | None, typer.Argument(help="The account's id or its user's; all by default.")]
From = Annotated[
    datetime | None,
    typer.Option("--from", help="First day, UTC.", show_default="the month's first", formats=["%Y-%m-%d"]),
]
To = Annotated[
    datetime | None,
    typer.Option("--to", help="The day after the last, UTC.", show_default="now", formats=["%Y-%m-%d"]),
]


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
    with usage_meter(url, token) as meter:
        if account is None:
            _show_quotas(list(meter.pages("/usage/accounts", "accounts")), as_json=as_json)
            return
        quota = meter.call("GET", f"/usage/accounts/{quote(account, safe='')}")
        entries = _entries(meter, account, ledger) if ledger else []
    if as_json:
        print_json({**quota, "ledger": entries} if ledger else quota)
        return
    _show_quotas([quota], as_json=False)
    if entries:
        print_line()
        _show_entries(entries)


def _entries(meter: OperatorsApi, account: str, count: int) -> list[dict[str, Any]]:
    path = f"/usage/accounts/{quote(account, safe='')}/ledger"
    found: list[dict[str, Any]] = meter.call("GET", path, query={"page_size": count})["entries"]
    return found


def _show_quotas(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    table = Table(
        words("user"),
        words("tier"),
        words(""),
        *(figures(title) for title in ("used", "reserved", "of", "%")),
        caption=_period(rows),
    )
    for row in rows:
        status = "" if row["status"] == "active" else f" ({row['status']})"
        table.add(row["agentcache_user_id"], f"{row['tier']}{status}", "storage", *_gauge(row, "storage"))
        table.add("", "", "bandwidth", *_gauge(row, "bandwidth"))
        table.add("", "", "requests", f"{row['request_count']:,}", "", "", "")
    table.print()


def _period(rows: list[dict[str, Any]]) -> str:
    ends = sorted({row["period_end"][:10] for row in rows})
    return f"Bandwidth and requests are counted anew from {', '.join(ends)} on." if ends else ""


def _gauge(row: dict[str, Any], resource: str) -> tuple[str, ...]:
    """Used, reserved, allowed, and the share that the first two take."""
    used, reserved, quota = (row[f"{resource}_{name}_bytes"] for name in ("used", "reserved", "quota"))
    return size_text(used), size_text(reserved), size_text(quota), _percent(used + reserved, quota)


def _percent(taken: int, quota: int) -> str:
    """The share in per cent, rounded down: 100.0 is shown where nothing is left."""
    if quota == 0:
        return "100.0" if taken > 0 else "0.0"
    return f"{taken * 1000 // quota / 10:.1f}"


def _show_entries(entries: list[dict[str, Any]]) -> None:
    table = Table(
        ids("when"),
        words("resource"),
        words("kind"),
        figures("used"),
        figures("reserved"),
        words("source"),
        caption="Bytes; times in UTC.",
    )
    for entry in entries:
        table.add(
            entry["occurred_at"][:16].replace("T", " "),
            entry["resource"],
            entry["kind"],
            f"{entry['used_delta_bytes']:+,}",
            f"{entry['reserved_delta_bytes']:+,}",
            _source(entry),
        )
    table.print()


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
    period = _period_query(account, from_day, to_day, by)
    with usage_meter(url, token) as meter:
        rows = list(meter.lines("GET", "/usage/report", query=period))
    if png is not None:
        plot_to_png(rows, png)
        errors.print(f"Drew {png}.", soft_wrap=True)
    if plot:
        plot_in_terminal(rows)
    if as_json:
        print_json(rows)
    elif not plot:
        _show_rows(rows, by)


def _period_query(
    account: str | None, from_day: datetime | None, to_day: datetime | None, by: Bucket
) -> dict[str, Any]:
    now = datetime.now(UTC)
    start = (
        from_day.replace(tzinfo=UTC)
        if from_day
        else now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    )
    end = to_day.replace(tzinfo=UTC) if to_day else now + timedelta(hours=1)
    if end <= start:
        raise typer.BadParameter("--to must come after --from.")
    return {"from": start.isoformat(), "to": end.isoformat(), "by": by.value, "account": account}


_PERIOD_CHARACTERS = {Bucket.HOUR: 16, Bucket.DAY: 10, Bucket.MONTH: 7}


def _show_rows(rows: list[dict[str, Any]], by: Bucket) -> None:
    """The rows of each account under its heading, and one for all of them."""
    accounts: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        accounts.setdefault(row["agentcache_user_id"], []).append(row)
    table = _report_table(by)
    for user, of_user in accounts.items():
        table.add_heading(user)
        for row in of_user:
            period = row["period_start"][: _PERIOD_CHARACTERS[by]].replace("T", " ")
            table.add(period, size_text(row["storage_bytes"]), *_totals([row]))
    table.add_heading("All")
    table.add("", "", *_totals(rows))
    table.print()


def _report_table(by: Bucket) -> Table:
    return Table(
        ids("from"),
        figures("stored"),
        figures("GB-hours"),
        figures("sent"),
        figures("requests"),
        figures("storage $", rank=1),
        figures("sent $", rank=1),
        figures("total $"),
        caption=f"By {by}, in UTC. Stored: at the {by}'s end, or now. A GB is 10^9 bytes.",
    )


def _totals(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    byte_hours = sum((Decimal(row["storage_byte_hours"]) for row in rows), Decimal(0))
    costs = (sum((Decimal(row[name]) for row in rows), Decimal(0)) for name in _COSTS)
    return (
        f"{byte_hours / GB:,.1f}",
        size_text(sum(row["bandwidth_bytes"] for row in rows)),
        f"{sum(row['request_count'] for row in rows):,}",
        *(f"{cost:,.4f}" for cost in costs),
    )


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
    chosen = kind or _format_of(file)
    period = _period_query(account, from_day, to_day, by)
    unfinished = file.with_name(f".{uuid4().hex}")
    try:
        with usage_meter(url, token) as meter:
            count = EXPORTS[chosen](meter.lines("GET", "/usage/report", query=period), unfinished)
        unfinished.replace(file)
    except OSError as error:
        raise FileUnwritable(f"{file} can't be written: {error.strerror}.") from error
    finally:
        unfinished.unlink(missing_ok=True)
    if as_json:
        print_json({"file": str(file), "rows": count, "format": chosen.value})
    else:
        print_done(f"{count:,} rows in {file}")


def _format_of(file: Path) -> Format:
    try:
        return Format(file.suffix.removeprefix(".").lower())
    except ValueError:
        raise typer.BadParameter(
            f"The name {file.name} does not say what it should be: give --format csv, json or parquet."
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
    found: list[dict[str, Any]] = []
    with usage_meter(url, token) as meter, errors.status("Comparing …") as status:
        answer = meter.lines("POST", "/usage/reconcile", body={"account": account, "fix": fix})
        for number, line in enumerate(answer, 1):
            status.update(f"{number:,} accounts compared …")
            found.append(line)
    drifting = [line for line in found if not line["is_clean"]]
    if as_json:
        print_json(found if show_all else drifting)
    else:
        _show_findings(found if show_all else drifting)
        drift_bytes = sum(line["drift_bytes"] for line in drifting)
        print_line(f"{len(found):,} accounts, {len(drifting):,} with drift, {drift_bytes:,} bytes")
    if any(line["needs_a_person"] for line in drifting):
        raise typer.Exit(2)


def _show_findings(lines: list[dict[str, Any]]) -> None:
    if not lines:
        return
    table = Table(
        words("user"),
        *(figures(title) for title in ("bucket", "assets", "ledger", "adjusted", "drift")),
        words("what"),
        caption="Drift in bytes.",
    )
    for line in lines:
        findings = line["findings"]
        counts = {
            "orphan objects": len(findings["orphans"]),
            "assets without their object": len(findings["missing"]),
            "assets the ledger has wrong": len(findings["ledger_drift"]),
            "reservations of lost events": len(findings["lost_holds"]),
            "counters that differ": len(findings["counter_drift"]),
            "last hours that differ": int(findings["hours_drift_bytes"] != 0),
        }
        what = [f"{count} {name}" for name, count in counts.items() if count]
        what += [f"mended: {done}" for done in findings["mended"]]
        what += [f"left alone: {rest}" for rest in findings["left_alone"]]
        table.add(
            findings["agentcache_user_id"] or f"account {findings['account_id']} is gone",
            *(size_text(findings[f"{name}_bytes"]) for name in ("bucket", "assets", "ledger", "adjusted")),
            f"{line['drift_bytes']:,}",
            "; ".join(what),
        )
    table.print()


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
    wanted = {
        "id": identity or str(new_id()),
        "account": account,
        "resource": resource.value,
        "bytes": size_bytes,
        "reason": reason,
        "author": author,
        "occurred_at": at.replace(tzinfo=UTC).isoformat() if at else None,
    }
    with usage_meter(url, token) as meter:
        answer = meter.call("POST", "/usage/adjustments", body=wanted)
    if as_json:
        print_json(answer)
        return
    done = "Booked" if answer["booked"] else "Booked before, nothing changed"
    print_done(f"{done}: {answer['id']}")
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
    price = _price(resource, usd_per_gb, from_month, source)
    with usage_meter(url, token) as meter:
        rows = meter.call("PUT" if price else "GET", "/usage/prices", body=price)
    if as_json:
        print_json(rows)
        return
    table = Table(words("resource"), ids("from"), figures("$ per GB"), words("source"))
    for row in rows:
        dollars = f"{Decimal(row['usd_per_gb']).normalize():f}"
        table.add(row["resource"], row["effective_from"][:10], dollars, row["source"])
    table.print()


def _price(
    resource: Resource | None, usd_per_gb: str | None, from_month: datetime | None, source: str | None
) -> dict[str, Any] | None:
    """The price to set, or None where prices are only shown."""
    if resource is None:
        return None
    if usd_per_gb is None or from_month is None or source is None:
        raise typer.BadParameter(
            "To set a price give all of: resource, dollars per GB, --from 2026-01 and --source."
        )
    return {
        "resource": resource.value,
        "usd_per_gb": usd_per_gb,
        "effective_from": from_month.date().isoformat(),
        "source": source,
    }


app.command()(rebuild)
