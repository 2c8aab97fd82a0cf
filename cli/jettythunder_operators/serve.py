"""`jettythunder serve`: run a service."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from jettythunder.applications import applications


def serve(
    service: Annotated[str, typer.Argument(help="storage-gateway, provisioning, chunk-worker …")],
    host: Annotated[str, typer.Option(help="The address that it listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port that it listens on.")] = 8000,
) -> None:
    """Run a service until it is told to end (SIGTERM); what it has begun is finished first.

    Its settings are environment variables, and files of their names in JETTYTHUNDER_SECRETS_DIR.
    """
    found = applications()
    if service not in found:
        raise typer.BadParameter(f"There is no service {service!r}; there are {', '.join(found)}.")
    # The service takes the place of this command, whose modules it does not need.
    module = "jettythunder.http.serve"
    os.execv(  # noqa: S606 - no shell
        sys.executable,
        [sys.executable, "-m", module, found[service], "--host", host, "--port", str(port)],
    )
