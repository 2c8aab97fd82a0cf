"""`jettythunder usage rebuild`: usage computed anew from the event log, beside the ledger."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer
from pydantic import TypeAdapter

from jettythunder_cli.frame.options import AsJson
from jettythunder_cli.frame.output import print_done, print_json, print_line
from jettythunder_cli.frame.table import Table, figures, words
from jettythunder_cli.frame.text import size_text
from jettythunder_operators.usage.access import DEFAULT_URL, Token, Url, usage_meter
from usage_meter.rebuilding.model import Rebuilt


def rebuild(
    account: Annotated[UUID | None, typer.Option("--account", help="One account's id.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="All accounts.")] = False,
    from_log: Annotated[bool, typer.Option("--from-log", help="From the event log, the only source.")] = True,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Compute used bytes from the event log and show where the ledger says otherwise. Changes nothing.

    Exits with 2 where there is a difference.
    """
    if (account is None) == (not everyone):
        raise typer.BadParameter("Give --account ID, or --all.")
    if not from_log:
        raise typer.BadParameter("The event log is the only source: leave --no-from-log out.")
    with usage_meter(url, token) as meter:
        answer = meter.call("GET", "/usage/rebuilt", query={"account": account})
    rebuilt = TypeAdapter(Rebuilt).validate_python(answer)
    if as_json:
        print_json(answer, indent=2)
    else:
        _show(rebuilt)
    if rebuilt.differing:
        raise typer.Exit(2)


def _show(rebuilt: Rebuilt) -> None:
    compared = sum(account.is_comparable for account in rebuilt.accounts)
    print_line(
        f"{rebuilt.events} events of {len(rebuilt.accounts)} accounts, "
        f"{rebuilt.pending_events} of them not booked yet."
    )
    if older := len(rebuilt.accounts) - compared:
        print_line(f"Older than the log, so not compared: {older} of these accounts.")
    if not rebuilt.differing:
        print_done(f"No difference in {compared} accounts.")
        return
    table = Table(
        words("account"),
        words("what"),
        figures("log"),
        figures("ledger"),
        figures("difference"),
        caption="Difference: bytes that the ledger has more.",
    )
    for account in rebuilt.differing:
        found = [("storage", account.log_storage_bytes, account.ledger_storage_bytes)]
        found += [(f"sent {m.month:%Y-%m}", m.log_bytes, m.ledger_bytes) for m in account.months]
        for what, in_log, in_ledger in found:
            if in_log != in_ledger:
                table.add(
                    account.account_id,
                    what,
                    size_text(in_log),
                    size_text(in_ledger),
                    f"{in_ledger - in_log:+,}",
                )
    table.print()
