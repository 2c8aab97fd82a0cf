"""`jettythunder ls` and `rm`: an account's assets."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from jettythunder_cli.frame.errors import confirm, print_error
from jettythunder_cli.frame.options import AsJson
from jettythunder_cli.frame.output import print_done, print_json
from jettythunder_cli.frame.table import Table, figures, ids, words
from jettythunder_cli.frame.text import age_text, count_text, size_text
from jettythunder_cli.tenant import ApiKey, ApiSecret, ApiUrl, config_from, interactive
from jettythunder_client.api import Asset
from jettythunder_client.client import AsyncClient, Client
from jettythunder_client.errors import ClientError


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

    assets = Client(interactive(config_from(api_url, api_key, api_secret))).run(found)
    if as_json:
        for asset in assets:
            print_json(asset)
        return
    named = any(asset["cache_key"] for asset in assets)
    table = Table(
        ids("id"), figures("size"), figures("age"), words("name"), *([words("cache key")] if named else [])
    )
    for asset in assets:
        table.add(
            asset["id"],
            size_text(asset["size_bytes"]),
            age_text(datetime.fromisoformat(asset["created_at"])),
            asset["filename"],
            *([asset["cache_key"] or ""] if named else []),
        )
    table.print()


def rm(
    asset_ids: Annotated[list[str], typer.Argument(help="Ids of the assets, as `ls` shows them.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    api_secret: ApiSecret = None,
    as_json: AsJson = False,
) -> None:
    """Delete assets; their storage is free again."""
    confirm(f"Delete {count_text(len(asset_ids), 'asset')}?", yes=yes or as_json, as_json=as_json)
    client = Client(interactive(config_from(api_url, api_key, api_secret)))
    failed = False
    for asset_id in asset_ids:
        try:
            client.delete(asset_id)
        except ClientError as error:
            failed = True
            print_error(error, as_json=as_json, asset_id=asset_id)
            continue
        if as_json:
            print_json({"success": True, "deleted": asset_id})
        else:
            print_done(f"Deleted {asset_id}")
    if failed:
        raise typer.Exit(1)
