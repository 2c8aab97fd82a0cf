"""`jettythunder uploads`: accelerated uploads that are not finished."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from jettythunder_cli.frame.options import AsJson
from jettythunder_cli.frame.output import print_done, print_json, print_line
from jettythunder_cli.frame.table import Table, figures, ids, words
from jettythunder_cli.frame.text import size_text, until_text
from jettythunder_cli.tenant import ApiKey, ApiSecret, ApiUrl, config_from, interactive
from jettythunder_client.client import AsyncClient, Client
from jettythunder_client.state import StateStore

uploads = typer.Typer(help="Unfinished accelerated uploads.", no_args_is_help=True)


@uploads.command("list")
def list_uploads(
    api_url: ApiUrl = None, api_key: ApiKey = None, api_secret: ApiSecret = None, as_json: AsJson = False
) -> None:
    """List the account's open uploads, and which file of this machine each belongs to."""

    async def found(client: AsyncClient) -> list[dict[str, Any]]:
        return [upload async for upload in client.api.open_uploads()]

    config = interactive(config_from(api_url, api_key, api_secret))
    files = {unfinished.upload_id: unfinished.file.path for unfinished in StateStore(config).all()}
    opened = [{**upload, "file": files.get(upload["id"])} for upload in Client(config).run(found)]
    if as_json:
        for upload in opened:
            print_json(upload)
        return
    if not opened:
        print_line("There is no unfinished upload.")
        return
    table = Table(ids("id"), figures("size"), words("status"), figures("expires in"), words("file"))
    for upload in opened:
        table.add(
            upload["id"],
            size_text(upload["size_bytes"]),
            upload["status"],
            until_text(datetime.fromisoformat(upload["expires_at"])),
            upload["file"] or f"{upload['filename']} (of another machine)",
        )
    table.print()


@uploads.command("abort")
def abort_uploads(
    upload_ids: Annotated[list[str], typer.Argument(help="Ids, as `uploads list` shows them.")],
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    api_secret: ApiSecret = None,
    as_json: AsJson = False,
) -> None:
    """Give open uploads up: what they reserved is free again."""
    config = interactive(config_from(api_url, api_key, api_secret))
    for upload_id in upload_ids:
        Client(config).run(lambda client, wanted=upload_id: client.api.abort_upload(wanted))  # type: ignore[misc]
        StateStore(config).forget(upload_id)
        if as_json:
            print_json({"success": True, "aborted": upload_id})
        else:
            print_done(f"Aborted {upload_id}")
