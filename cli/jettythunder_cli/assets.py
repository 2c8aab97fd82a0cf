"""`jettythunder ls` and `rm`: an account's assets."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from jettythunder.errors import JettyThunderError
from jettythunder_cli.tenant import (
    ApiKey,
    ApiSecret,
    ApiUrl,
    AsJson,
    config_from,
    hasty,
    output,
    size_text,
    tell_error,
    told_errors,
)
from jettythunder_client.api import Asset
from jettythunder_client.client import AsyncClient, Client


def ls(
    prefix: Annotated[str | None, typer.Argument(help="Start of the file name.")] = None,
    cache_key: Annotated[str | None, typer.Option("--cache-key", help="Only what this key names.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="How many at most; 0 lists all of them.")
    ] = 100,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    api_secret: ApiSecret = None,
    as_json: AsJson = False,
) -> None:
    """List the account's assets, newest first."""

    async def found(client: AsyncClient) -> list[Asset]:
        assets: list[Asset] = []
        async for asset in client.api.assets(prefix=prefix, cache_key=cache_key):
            if limit and len(assets) == limit:
                break
            assets.append(asset)
        return assets

    with told_errors(as_json=as_json):
        assets = Client(hasty(config_from(api_url, api_key, api_secret))).run(found)
        if as_json:
            for asset in assets:
                print(json.dumps(asset))
            return
        table = Table(box=None, pad_edge=False)
        for heading in ("id", "size", "created", "name", "cache key"):
            table.add_column(
                heading, justify="right" if heading == "size" else "left", no_wrap=heading == "id"
            )
        for asset in assets:
            table.add_row(
                asset["id"],
                size_text(asset["size_bytes"]),
                asset["created_at"][:19].replace("T", " "),
                escape(asset["filename"]),
                escape(asset["cache_key"] or ""),
            )
        output.print(table)


def rm(
    asset_ids: Annotated[list[str], typer.Argument(help="Ids of the assets, as `ls` shows them.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    api_secret: ApiSecret = None,
    as_json: AsJson = False,
) -> None:
    """Delete assets; their storage is free again."""
    if not yes and not as_json:
        typer.confirm(f"Delete {len(asset_ids)} asset{'s' if len(asset_ids) > 1 else ''}?", abort=True)
    failed = False
    with told_errors(as_json=as_json):
        client = Client(hasty(config_from(api_url, api_key, api_secret)))
        for asset_id in asset_ids:
            try:
                client.delete(asset_id)
            except JettyThunderError as error:
                failed = True
                tell_error(error, as_json=as_json, asset_id=asset_id, file=asset_id)
                continue
            if as_json:
                print(json.dumps({"success": True, "deleted": asset_id}))
            else:
                output.print(escape(f"[✓] Deleted {asset_id}"))
    if failed:
        raise typer.Exit(1)
