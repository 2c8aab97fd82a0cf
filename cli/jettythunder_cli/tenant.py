"""What a tenant's commands share: their options, and the configuration that these make."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from jettythunder_cli.frame.output import print_warning
from jettythunder_client.config import Config, is_cleartext, load_config

_INTERACTIVE_SECONDS = 3.0

ApiUrl = Annotated[
    str | None,
    typer.Option("--api-url", help="Where JettyThunder is.", show_default="JETTYTHUNDER_API_URL or login"),
]
ApiKey = Annotated[
    str | None,
    typer.Option("--api-key", help="The account's key.", show_default="JETTYTHUNDER_API_KEY or login"),
]
ApiSecret = Annotated[
    str | None,
    typer.Option(
        "--api-secret",
        help="The account's secret; others on this machine can see flags, so rather use the environment.",
        show_default="JETTYTHUNDER_API_SECRET or login",
    ),
]
LimitRate = Annotated[
    str | None,
    typer.Option(
        "--limit-rate",
        help="Bytes per second of all connections together: 500k, 2M, off, or a timetable such as "
        "'08:00,512k 19:00,off'. k, M and G are multiples of 1024.",
        show_default="as configured",
    ),
]


def config_from(
    api_url: str | None, api_key: str | None, api_secret: str | None, limit_rate: str | None = None
) -> Config:
    """The configuration by flags, environment and `login`; warns where secrets would go unencrypted."""
    config = load_config(api_url=api_url, api_key=api_key, api_secret=api_secret, limit_rate=limit_rate)
    if is_cleartext(config.api_url):
        print_warning(
            f"{config.api_url} is not encrypted: others on the network can read the API secret. Use https://."
        )
    return config


def interactive(config: Config) -> Config:
    """For commands that a person waits for: retries end after three seconds."""
    return replace(config, retry_seconds=min(config.retry_seconds, _INTERACTIVE_SECONDS))
