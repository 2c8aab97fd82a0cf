"""`jettythunder login` and `logout`: credentials in a file that only its owner can read."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from rich.markup import escape

from jettythunder_cli.tenant import ApiKey, ApiSecret, ApiUrl, hasty, output, told_errors
from jettythunder_client.client import Client
from jettythunder_client.config import (
    DEFAULT_API_URL,
    base_url,
    default_config_file,
    load_config,
    store_credentials,
)


def login(
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    api_secret: ApiSecret = None,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Ask JettyThunder whether they are right.")
    ] = True,
) -> None:
    """Keep an account's credentials for later commands; what is not given is asked for."""
    with told_errors(as_json=False):
        given = api_url or os.environ.get("JETTYTHUNDER_API_URL") or DEFAULT_API_URL
        url = base_url(given)
        key = api_key or typer.prompt("API key (jt_…)")
        secret = api_secret or typer.prompt("API secret (jts_…)", hide_input=True)
        config = load_config(api_url=url, api_key=key.strip(), api_secret=secret.strip())
        tier = ""
        if check:
            quota = Client(hasty(config)).quota()
            tier = f", tier {quota['tier']}"
        target = default_config_file(os.environ)
        store_credentials(
            api_url=config.api_url,
            api_key=config.api_key,
            api_secret=config.api_secret,
            config_file=target,
        )
        output.print(escape(f"[✓] Logged in to {config.api_url}{tier}"), soft_wrap=True)
        output.print(f"Kept in {escape(str(target))}, readable by you alone.", style="dim", soft_wrap=True)


def logout() -> None:
    """Forget the credentials that `login` kept."""
    default_config_file(os.environ).unlink(missing_ok=True)
    output.print(escape("[✓] Logged out"))
