"""`jettythunder login` and `logout`: credentials in a file that only its owner can read."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from jettythunder_cli.frame.output import print_done, print_line
from jettythunder_cli.tenant import ApiKey, ApiSecret, ApiUrl, config_from, interactive
from jettythunder_client.client import Client
from jettythunder_client.config import (
    DEFAULT_API_URL,
    base_url,
    default_config_file,
    forget_credentials,
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
    url = base_url(api_url or os.environ.get("JETTYTHUNDER_API_URL") or DEFAULT_API_URL)
    key = api_key or typer.prompt("API key (jt_…)")
    secret = api_secret or typer.prompt("API secret (jts_…)", hide_input=True)
    config = config_from(url, key.strip(), secret.strip())
    tier = ""
    if check:
        tier = f", tier {Client(interactive(config)).quota()['tier']}"
    target = default_config_file(os.environ)
    store_credentials(
        api_url=config.api_url, api_key=config.api_key, api_secret=config.api_secret, config_file=target
    )
    print_done(f"Logged in to {config.api_url}{tier}")
    print_line(f"Kept in {target}, readable by you alone.", style="dim")


def logout() -> None:
    """Remove the credentials that `login` kept."""
    forget_credentials(default_config_file(os.environ))
    print_done("Logged out")
