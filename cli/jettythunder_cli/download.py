"""`jettythunder download`: an asset by parallel ranges, checked, and resumable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jettythunder_cli.frame.options import AsJson, Quiet
from jettythunder_cli.frame.output import print_json
from jettythunder_cli.frame.text import number_text, speed_text
from jettythunder_cli.tenant import ApiKey, ApiSecret, ApiUrl, LimitRate, config_from
from jettythunder_cli.transfer_view import TransferView
from jettythunder_client.client import Client


def download(
    asset_id: Annotated[str | None, typer.Argument(help="The asset's id, as `ls` shows it.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="Its object key instead.")] = None,
    cache_key: Annotated[str | None, typer.Option("--cache-key", help="Its cache key instead.")] = None,
    target: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A file or folder.", show_default="its own name, here"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if there is one.")] = False,
    limit_rate: LimitRate = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    api_secret: ApiSecret = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Download an asset; the same command goes on with an interrupted download."""
    if sum(given is not None for given in (asset_id, key, cache_key)) != 1:
        raise typer.BadParameter("Give one of: an asset's id, --key, --cache-key.")
    config = config_from(api_url, api_key, api_secret, limit_rate)
    with TransferView("Downloading", quiet=quiet or as_json) as view:
        result = Client(config, observe=view.observe).download(
            asset_id=asset_id, key=key, cache_key=cache_key, target=target, overwrite=force
        )
    if as_json:
        figures = {
            "size_bytes": result.size_bytes,
            "received_bytes": result.received_bytes,
            "seconds": round(result.seconds, 3),
            "bytes_per_second": round(result.bytes_per_second),
        }
        print_json({"success": True, "path": str(result.path), **figures, "asset": result.asset})
        return
    view.done(f"Download speed: {speed_text(result.bytes_per_second)}")
    view.done(f"Complete in {number_text(result.seconds)} seconds: {result.path}")
