"""`jettythunder quota`: what an account has used and what is left."""

from __future__ import annotations

import json
from typing import Any

from rich.markup import escape
from rich.table import Table

from jettythunder_cli.tenant import (
    ApiKey,
    ApiSecret,
    ApiUrl,
    AsJson,
    config_from,
    hasty,
    output,
    size_text,
    told_errors,
)
from jettythunder_client.client import Client

BADGE = "[bold black on cyan] JettySpeed Enabled [/]"


def quota(
    api_url: ApiUrl = None, api_key: ApiKey = None, api_secret: ApiSecret = None, as_json: AsJson = False
) -> None:
    """Show storage and bandwidth: used, reserved, left, and the tier."""
    with told_errors(as_json=as_json):
        answer = Client(hasty(config_from(api_url, api_key, api_secret))).quota()
        if as_json:
            print(json.dumps(answer))
            return
        badge = f"  {BADGE}" if answer["jetty_speed_enabled"] else ""
        output.print(f"Tier [bold]{escape(answer['tier'])}[/bold]{badge}")
        output.print(_table(answer))
        for warning in answer["warnings"]:
            output.print(f"[yellow]! {escape(warning['message'])}[/yellow]")


def _table(answer: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "used", "reserved", "of", "left", "%"):
        table.add_column(heading, justify="left" if heading == "" else "right")
    for resource in ("storage", "bandwidth"):
        figures = answer[resource]
        table.add_row(
            resource,
            *(size_text(figures[f"{what}_bytes"]) for what in ("used", "reserved", "quota", "available")),
            f"{figures['percent']:g}",
        )
    return table
