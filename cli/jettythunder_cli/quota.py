"""`jettythunder quota`: what an account has used and what is left."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from jettythunder_cli.frame.options import AsJson
from jettythunder_cli.frame.output import print_json, print_line, print_note, styled
from jettythunder_cli.frame.table import Table, figures, words
from jettythunder_cli.frame.text import size_text
from jettythunder_cli.tenant import ApiKey, ApiSecret, ApiUrl, config_from, interactive
from jettythunder_client.client import Client

BADGE = Text(" JettySpeed Enabled ", "bold black on cyan")


def quota(
    api_url: ApiUrl = None, api_key: ApiKey = None, api_secret: ApiSecret = None, as_json: AsJson = False
) -> None:
    """Show storage and bandwidth: used, reserved, left, and the tier."""
    answer = Client(interactive(config_from(api_url, api_key, api_secret))).quota()
    if as_json:
        print_json(answer)
        return
    badge = ("  ", BADGE) if answer["jetty_speed_enabled"] else ()
    print_line("Tier ", styled(answer["tier"], "bold"), *badge)
    _table(answer).print()
    for warning in answer["warnings"]:
        print_note(warning["message"])


def _table(answer: dict[str, Any]) -> Table:
    table = Table(words(""), *(figures(title) for title in ("used", "reserved", "of", "left", "%")))
    for resource in ("storage", "bandwidth"):
        found = answer[resource]
        table.add(
            resource,
            *(size_text(found[f"{what}_bytes"]) for what in ("used", "reserved", "quota", "available")),
            f"{found['percent']:g}",
        )
    return table
