"""`jettythunder keys`: the keys of the services, new ones, and the rotation of the master key."""

from __future__ import annotations

import secrets
import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer
from pydantic import Field, PostgresDsn, TypeAdapter
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from jettythunder.contracts.accounts import DEFAULT_GRACE_SECONDS, LONGEST_GRACE_SECONDS
from jettythunder.database import Database
from jettythunder.lifecycle import role_of
from jettythunder.settings import EnvironmentSettings
from jettythunder.signatures import SigningKeys, new_signing_key
from jettythunder_cli.frame.errors import confirm
from jettythunder_cli.frame.options import AsJson
from jettythunder_cli.frame.output import print_done, print_json, print_line, print_note, progress
from jettythunder_cli.frame.table import Table, figures, words
from jettythunder_cli.frame.text import age_text, count_text
from jettythunder_operators.api import OperatorsApi, reachable
from jettythunder_operators.operating import read_settings, run
from provisioning.accounts.master_keys import RingEntry
from provisioning.accounts.model import MasterKeyUse
from provisioning.accounts.store import Store

URL_VARIABLE = "JETTYTHUNDER_PROVISIONING_URL"
DEFAULT_URL = "http://127.0.0.1:3010"
_PAGE_SIZE = 100

Url = Annotated[str, typer.Option("--url", envvar=URL_VARIABLE, help="Where provisioning listens.")]

app = typer.Typer(
    help="The services' keys: which master keys are in use, new keys, and the rotation of the master key.",
    no_args_is_help=True,
)

_entries = TypeAdapter(list[RingEntry])
_uses = TypeAdapter(list[MasterKeyUse])


class Kind(StrEnum):
    """What a key is for."""

    MASTER = "master"
    SIGNING = "signing"


class Servers(EnvironmentSettings):
    """The server that keys are counted on."""

    database_url: PostgresDsn = Field(description="PostgreSQL, postgresql://user:password@host:port/name")


@app.command("list")
def list_keys(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List the master keys by their ids, with the accounts whose credentials were derived from each.

    Where provisioning can't be reached it works on DATABASE_URL, and can't say what is in the ring.
    """
    with reachable(lambda: _provisioning(url), service="Provisioning", instead="DATABASE_URL") as api:
        if api is not None:
            entries = _fetch(api)
            uses: list[MasterKeyUse] = [*entries]
            ring = {entry.id: _place(entry) for entry in entries}
            shown = _entries.dump_python(entries, mode="json")
        else:
            uses, ring = run(_count_directly), {}
            shown = _uses.dump_python(uses, mode="json")
    if as_json:
        print_json(shown, indent=2)
        return
    table = Table(words("id"), words("ring"), figures("accounts"), figures("in grace"), figures("known"))
    for use in uses:
        counts = (f"{use.accounts:,}", f"{use.in_grace:,}")
        table.add(use.id, ring.get(use.id, "?"), *counts, age_text(use.known_since))
    table.print()


@app.command()
def new(kind: Annotated[Kind, typer.Argument(help="What the key is for.")], as_json: AsJson = False) -> None:
    """Print a new key with an id, to put into a ring. It is kept nowhere else."""
    made = _new_master_key() if kind is Kind.MASTER else _new_signing_key()
    if as_json:
        print_json(made)
        return
    for name, value in made.items():
        print_line(f"{name}={value}")


@app.command()
def rotate(
    grace_seconds: Annotated[
        int,
        typer.Option(
            "--grace-seconds",
            min=0,
            max=LONGEST_GRACE_SECONDS,
            help="How long the pairs before stay valid; 0 where a key has leaked.",
        ),
    ] = DEFAULT_GRACE_SECONDS,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Accounts to move at most.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how many it would move.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Move accounts from older master keys to the newest: each gets a new pair of credentials.

    Accounts whose pair before is still valid are left for later, but not with --grace-seconds 0. It can be
    interrupted and repeated at any time. Provisioning does the work, and must run: it alone has the keys.
    """
    with _provisioning(url) as api:
        before = _fetch(api)
        movable = sum(entry.accounts - (entry.in_grace if grace_seconds else 0) for entry in _older(before))
        wanted = min(movable, limit or sys.maxsize)
        newest = next(entry.id for entry in before if entry.is_newest)
        moved = 0
        if wanted and not dry_run:
            question = f"Give {count_text(wanted, 'account')} new credentials, of the master key {newest}?"
            confirm(question, yes=yes, as_json=as_json)
            moved = _move(api, wanted, grace_seconds, hidden=as_json)
        older = _older(_fetch(api))
    left, in_grace = sum(entry.accounts for entry in older), sum(entry.in_grace for entry in older)
    if as_json:
        counts = {"movable": wanted, "moved": moved, "left": left, "left_in_grace": in_grace}
        print_json({"newest": newest, "dry_run": dry_run, **counts}, indent=2)
        return
    if dry_run:
        print_line(f"{count_text(wanted, 'account')} would get credentials of the master key {newest}.")
    else:
        print_done(f"{count_text(moved, 'account')} moved to the master key {newest}.")
    if in_grace:
        print_note(
            f"{count_text(in_grace, 'account')} of older keys had a rotation whose grace time is not over: "
            "rotate again when it is."
        )
    if not left:
        print_line("No account needs an older master key: they can be taken out of the ring.")


def _provisioning(url: str) -> OperatorsApi:
    return OperatorsApi(url, url_variable=URL_VARIABLE)


def _fetch(api: OperatorsApi) -> list[RingEntry]:
    return _entries.validate_python(api.call("GET", "/keys"))


def _older(entries: list[RingEntry]) -> list[RingEntry]:
    return [entry for entry in entries if not entry.is_newest]


def _place(entry: RingEntry) -> str:
    if entry.is_newest:
        return "newest"
    return "older" if entry.is_in_ring else "retired"


def _move(api: OperatorsApi, wanted: int, grace_seconds: int, *, hidden: bool) -> int:
    """Have accounts moved page by page; how many."""
    columns = (TextColumn("Rotating"), BarColumn(), TextColumn("{task.completed:,}"), TimeRemainingColumn())
    moved, is_last = 0, False
    with progress(*columns, hidden=hidden) as bar:
        task = bar.add_task("Rotating", total=wanted)
        while moved < wanted and not is_last:
            page = {"limit": min(_PAGE_SIZE, wanted - moved), "grace_seconds": grace_seconds}
            answer = api.call("POST", "/keys/rotate", body=page)
            moved, is_last = moved + int(answer["moved"]), bool(answer["is_last"])
            bar.update(task, completed=moved)
    return moved


async def _count_directly() -> list[MasterKeyUse]:
    servers = read_settings(Servers)
    database = Database(
        str(servers.database_url), name="jettythunder keys list", role=role_of("provisioning"), size=1
    )
    await database.open()
    try:
        return await Store(database).master_key_uses()
    finally:
        await database.close()


def _new_master_key() -> dict[str, str]:
    return {"key": f"{_new_id()}:{secrets.token_urlsafe(32)}"}


def _new_signing_key() -> dict[str, str]:
    key = new_signing_key(_new_id())
    return {"key": key, "public_key": str(SigningKeys.parse(key).verifying)}


def _new_id() -> str:
    """An id that says on which day the key was made."""
    return f"{datetime.now(UTC):%Y%m%d}-{secrets.token_hex(2)}"
