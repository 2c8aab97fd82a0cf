"""The env file: what a shell sources, and where the stack keeps the secrets that it made."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from jettythunder_client.private_files import write_private

HEADER = (
    "# Made by `jettythunder stack up`. Load it into a shell with:  . {path}\n"
    "# It holds secrets of this machine's stack: keep it out of version control.\n"
)

# What a user may set for the services; everything else of the user's environment stays out of them.
PASSED_ON = (
    "AGENTCACHE_",
    "CHUNK_",
    "CHUNKS_",
    "DATABASE_POOL_",
    "DOWNLOAD_",
    "EVENT_LOG_",
    "GATEWAY_INTERNAL_URLS",
    "HOUSEKEEPING_",
    "JETTYSPEED_",
    "JETTYTHUNDER_",
    "LOG_LEVEL",
    "OTEL_",
    "PROVISION_",
    "RATE_LIMIT_",
    "RECEIVE_",
    "RETRY_",
    "SENTRY_",
    "SESSION_",
    "SHUTDOWN_",
    "SPOOL_BUDGET_",
    "STORAGE_",
    "UPLOAD_",
    "USAGE_",
)
NOT_FOR_SERVICES = ("JETTYTHUNDER_DATA_DIR", "JETTYTHUNDER_STACK", "JETTYTHUNDER_TEST_DIR")


def read_environment(path: Path) -> dict[str, str]:
    """The variables of an env file; empty where there is none."""
    if not path.exists():
        return {}
    assignments = (
        token.partition("=") for token in shlex.split(path.read_text(), comments=True) if "=" in token
    )
    return {name: value for name, _, value in assignments}


def write_environment(path: Path, shown: Path, variables: Mapping[str, str]) -> None:
    """Write an env file that sh, bash and zsh load, readable by its owner alone."""
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
    write_private(path, HEADER.format(path=shown) + "".join(lines))


def passed_on(environment: Mapping[str, str], known: Iterable[str]) -> dict[str, str]:
    """The user's own settings for the services, less those that the stack itself decides on."""
    decided = set(known)
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(PASSED_ON) and name not in decided and name not in NOT_FOR_SERVICES
    }


def new_secret() -> str:
    """384 random bits that need no quoting in a URL, a shell or a configuration file."""
    return secrets.token_urlsafe(48)
