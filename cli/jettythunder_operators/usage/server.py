"""The usage-meter, as the commands call it."""

from __future__ import annotations

from typing import Annotated

import typer

from jettythunder_operators.api import OperatorsApi

URL_VARIABLE = "JETTYTHUNDER_USAGE_METER_URL"
DEFAULT_URL = "http://127.0.0.1:3020"

Url = Annotated[
    str,
    typer.Option("--url", envvar=URL_VARIABLE, help="Where the usage-meter listens."),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="JETTYTHUNDER_OPS_TOKEN",
        help="The ops token.",
        show_default=False,
        show_envvar=True,
    ),
]


def usage_meter(url: str, token: str | None) -> OperatorsApi:
    """The usage-meter's API for operators."""
    return OperatorsApi(url, token, url_variable=URL_VARIABLE)
