"""`jettythunder usage rebuild`: usage computed anew from the event log, beside the ledger."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer
from pydantic import Field, PostgresDsn, SecretStr, TypeAdapter

from jettythunder.database import Database
from jettythunder.lifecycle import role_of
from jettythunder.settings import EnvironmentSettings
from jettythunder_cli.frame.options import AsJson
from jettythunder_cli.frame.output import print_done, print_json, print_line
from jettythunder_cli.frame.table import Table, figures, words
from jettythunder_cli.frame.text import size_text
from jettythunder_operators.api import reachable
from jettythunder_operators.operating import read_settings, run
from jettythunder_operators.usage.server import DEFAULT_URL, Token, Url, usage_meter
from usage_meter.messages import SERVICE
from usage_meter.rebuilding.model import Rebuilt
from usage_meter.rebuilding.rebuild import Rebuilding
from usage_meter.rebuilding.store import RebuildingStore

_rebuilt = TypeAdapter(Rebuilt)


class Servers(EnvironmentSettings):
    """The servers that usage is computed from."""

    database_url: PostgresDsn = Field(description="PostgreSQL, postgresql://user:password@host:port/name")
    rabbitmq_url: SecretStr = Field(description="RabbitMQ, amqp://user:password@host:port/vhost")


def rebuild(
    account: Annotated[UUID | None, typer.Option("--account", help="One account's id.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="All accounts.")] = False,
    from_log: Annotated[bool, typer.Option("--from-log", help="From the event log, the only source.")] = True,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Compute used bytes from the event log and show where the ledger says otherwise. Changes nothing.

    Exits with 2 where there is a difference. Where the usage-meter can't be reached it works on DATABASE_URL
    and RABBITMQ_URL.
    """
    if (account is None) == (not everyone):
        raise typer.BadParameter("Give --account ID, or --all.")
    if not from_log:
        raise typer.BadParameter("The event log is the only source: leave --no-from-log out.")
    with reachable(
        lambda: usage_meter(url, token),
        service="The usage-meter",
        instead="DATABASE_URL and RABBITMQ_URL",
    ) as meter:
        if meter is not None:
            answer = meter.call("GET", "/usage/rebuilt", query={"account": account})
            rebuilt = _rebuilt.validate_python(answer)
        else:
            rebuilt = run(lambda: _rebuild_directly(read_settings(Servers), account))
    if as_json:
        print_json(_rebuilt.dump_python(rebuilt, mode="json"), indent=2)
    else:
        _show(rebuilt)
    if rebuilt.differing:
        raise typer.Exit(2)


async def _rebuild_directly(servers: Servers, account_id: UUID | None) -> Rebuilt:
    database = Database(
        str(servers.database_url), name="jettythunder usage rebuild", role=role_of(SERVICE), size=1
    )
    await database.open()
    try:
        rebuilding = Rebuilding(
            database, RebuildingStore(), rabbitmq_url=servers.rabbitmq_url.get_secret_value()
        )
        return await rebuilding.rebuild(account_id)
    finally:
        await database.close()


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
