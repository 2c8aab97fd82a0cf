"""The account that this machine is signed in with, read from the file of `jettythunder login`."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from jettythunder_cdn.model import Credential
from jettythunder_client.cdn import account_digest
from jettythunder_client.config import (
    DEFAULT_API_URL,
    Config,
    base_url,
    default_config_file,
    forget_credentials,
    load_config,
    store_credentials,
)
from jettythunder_client.errors import NotLoggedIn

# Uploads share the process with the cache, whose memory is bounded.
_MEMORY_BYTES = 24 * 1024 * 1024


class Account:
    """The account by the login's file, noticed when that changes."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self.config_file = default_config_file(environment)
        self._read_at: tuple[int, int] | None = None
        self._config: Config | None = None

    @property
    def config(self) -> Config:
        """The configuration of the client library.

        Raises:
            NotLoggedIn: nobody is signed in.
        """
        version = _version(self.config_file)
        if self._config is None or version != self._read_at:
            found = load_config(environment=self._environment, config_file=self.config_file)
            memory_bytes = min(found.memory_budget_bytes, _MEMORY_BYTES)
            self._config, self._read_at = (
                replace(found, memory_budget_bytes=memory_bytes, cdn_url=None),
                version,
            )
        return self._config

    @property
    def signed_in(self) -> Config | None:
        """The configuration; None where nobody is signed in."""
        try:
            return self.config
        except NotLoggedIn:
            self._config = None
            return None

    @property
    def api_url(self) -> str:
        """The one gateway that is read from."""
        if (config := self.signed_in) is not None:
            return config.api_url
        return base_url(self._environment.get("JETTYTHUNDER_API_URL") or DEFAULT_API_URL)

    @property
    def credential(self) -> Credential:
        """The account's own right to its assets.

        Raises:
            NotLoggedIn: nobody is signed in.
        """
        config = self.config
        headers = {"Authorization": f"Bearer {config.api_key}", "X-API-Secret": config.api_secret}
        secret = hashlib.sha256(config.api_secret.encode()).hexdigest()
        return Credential(f"account:{account_digest(config)}:{secret[:16]}", headers)

    def keep(self, *, api_url: str, api_key: str, api_secret: str) -> None:
        """Keep credentials, in the file that `jettythunder login` writes."""
        store_credentials(
            api_url=api_url, api_key=api_key, api_secret=api_secret, config_file=self.config_file
        )
        self._config = None

    def forget(self) -> None:
        """Remove the credentials from this machine."""
        forget_credentials(self.config_file)
        self._config = None


def _version(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
