"""`jettythunder db`: bring a database to the newest schema."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from jettythunder_migrations import MigrationError
from jettythunder_migrations import migrate as apply_migrations

app = typer.Typer(help="The database's schema.", no_args_is_help=True)
errors = Console(stderr=True)

DatabaseUrl = Annotated[str, typer.Option(envvar="DATABASE_URL", help="PostgreSQL, postgresql://…")]


@app.callback()
def root() -> None:
    """Keeps `migrate` a command of the group while it is the only one."""


@app.command()
def migrate(database_url: DatabaseUrl) -> None:
    """Bring a database to the newest schema. Safe to repeat; several at once take turns."""
    try:
        apply_migrations(database_url)
    except MigrationError as error:
        errors.print(f"[red]✗[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
