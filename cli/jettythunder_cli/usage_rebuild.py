"""`jettythunder usage rebuild`: usage computed anew from the event log, beside the ledger."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer
from rich.table import Table

from jettythunder.operations.rebuilding import Rebuilt, rebuild_usage
from jettythunder_cli.operating import AsJson, operating, output, run


def rebuild(
    account: Annotated[UUID | None, typer.Option("--account", help="One account's id.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="All accounts.")] = False,
    from_log: Annotated[bool, typer.Option("--from-log", help="From the event log, the only source.")] = True,
    as_json: AsJson = False,
) -> None:
    """Compute used bytes from the event log and show where the ledger says otherwise. Changes nothing.

    Exits with 2 where there is a difference. Needs DATABASE_URL and RABBITMQ_URL.
    """
    if (account is None) == (not everyone):
        raise typer.BadParameter("Give --account ID, or --all.")
    if not from_log:
        raise typer.BadParameter("The event log is the only source: leave --no-from-log out.")

    async def work() -> Rebuilt:
        async with operating() as operations:
            return await rebuild_usage(operations.pool, operations.log, account_id=account)

    rebuilt = run(work, as_json=as_json)
    if as_json:
        print(rebuilt.model_dump_json(indent=2))
    else:
        _show(rebuilt)
    if rebuilt.differing:
        raise typer.Exit(2)


def _show(rebuilt: Rebuilt) -> None:
    compared = sum(account.is_comparable for account in rebuilt.accounts)
    output.print(
        f"{rebuilt.events} events of {len(rebuilt.accounts)} accounts, "
        f"{rebuilt.pending_events} of them not booked yet.",
        highlight=False,
    )
    if older := len(rebuilt.accounts) - compared:
        output.print(f"Older than the log, so not compared: {older} of these accounts.", highlight=False)
    if not rebuilt.differing:
        output.print(f"[green]✓[/green] No difference in {compared} accounts.", highlight=False)
        return
    table = Table(box=None, pad_edge=False)
    for title in ("account", "what", "log", "ledger", "difference"):
        table.add_column(title, justify="left" if title in ("account", "what") else "right")
    for account in rebuilt.differing:
        figures = [("storage", account.log_storage_bytes, account.ledger_storage_bytes)]
        figures += [(f"sent {m.month:%Y-%m}", m.log_bytes, m.ledger_bytes) for m in account.months]
        for what, in_log, in_ledger in figures:
            if in_log != in_ledger:
                table.add_row(
                    str(account.account_id), what, f"{in_log:,}", f"{in_ledger:,}", f"{in_ledger - in_log:+,}"
                )
    output.print(table)
