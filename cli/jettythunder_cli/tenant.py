"""What all commands of a tenant share: credentials, errors as sentences, numbers for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from jettythunder.errors import JettyThunderError
from jettythunder_client.config import Config, load_config

output = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

MEGABYTE = 1_000_000
_HASTY_SECONDS = 3.0

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
AsJson = Annotated[bool, typer.Option("--json", help="Print results for programs to read.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


@contextmanager
def told_errors(*, as_json: bool) -> Iterator[None]:
    """Turn an error into its sentence and exit code 1, an interruption into exit code 130."""
    try:
        yield
    except JettyThunderError as error:
        tell_error(error, as_json=as_json)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def tell_error(error: JettyThunderError, *, as_json: bool, **more: Any) -> None:
    """Print an error: its sentence for people, its code and sentence for programs."""
    if as_json:
        problem = {"code": error.code, "detail": error.detail, "retryable": error.retryable}
        print(json.dumps({"success": False, **more, **problem}))
        return
    about = f"{more['file']}: " if "file" in more else ""
    errors.print(f"[red]✗[/red] {escape(about + error.detail)}", soft_wrap=True)


def config_from(api_url: str | None, api_key: str | None, api_secret: str | None) -> Config:
    return load_config(api_url=api_url, api_key=api_key, api_secret=api_secret)


def hasty(config: Config) -> Config:
    """For commands that a person waits for: a service that is away is told of soon."""
    return replace(config, patience_seconds=min(config.patience_seconds, _HASTY_SECONDS))


def size_text(size_bytes: float) -> str:
    """Bytes as people write them, in decimal units."""
    for unit, divisor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= divisor:
            return f"{number_text(size_bytes / divisor)} {unit}"
    return f"{size_bytes:.0f} B"


def speed_text(bytes_per_second: float) -> str:
    return f"{number_text(bytes_per_second / MEGABYTE)} MB/s"


def number_text(value: float) -> str:
    """A number with as many decimals as it deserves: 250, 25.3, 2.53, 0.03."""
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
