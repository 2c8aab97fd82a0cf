"""The client's configuration: flags before environment before file."""

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import platformdirs
import tomli_w

from jettythunder_client.errors import InvalidConfiguration, NotLoggedIn
from jettythunder_client.private_files import write_private
from jettythunder_client.rate_limit import UNLIMITED, Timetable, parse_limit

DEFAULT_API_URL = "http://localhost:3000"
DEFAULT_CDN_URL = "http://localhost:53777"
BLOCK_BYTES = 1024 * 1024
# A block being read, one being sent, and what the transport and the kernel hold.
_BYTES_PER_CONNECTION = 3 * BLOCK_BYTES
_AGENTCACHE_PATH = "/api/agentcache"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_CREDENTIALS = frozenset({"api_url", "api_key", "api_secret"})
_OFF = frozenset({"off", "none"})


@dataclass(frozen=True)
class Config:
    """Where JettyThunder is, who calls, and what a transfer may take of this machine."""

    api_url: str
    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)
    max_threads: int = 32
    chunk_size_mb: int | None = None
    """Chunk size in MB (10^6 bytes) to insist on; without it, it follows the file and the measured speed."""
    jettyspeed_enabled: bool = True
    memory_budget_bytes: int = 128 * 1024 * 1024
    """Hard bound of the bytes that a transfer holds in buffers."""
    state_dir: Path = field(default_factory=lambda: default_state_dir({}))
    retry_seconds: float = 300.0
    """How long a failing call is repeated, and a transfer goes on without any success before it gives up."""
    cdn_url: str | None = None
    """Where this machine's desktop CDN would be; downloads read through it where it runs."""
    limit: Timetable = UNLIMITED
    """How many bytes per second all transfers together may carry."""
    limit_file: Path | None = None
    """The file whose `limit_rate` holds, which may change while transfers run."""

    @property
    def max_parallel(self) -> int:
        """Connections at once: JETTYSPEED_MAX_THREADS, or fewer where the memory budget says so."""
        return max(1, min(self.max_threads, self.memory_budget_bytes // _BYTES_PER_CONNECTION))


def default_config_file(environment: Mapping[str, str]) -> Path:
    given = environment.get("JETTYTHUNDER_CONFIG")
    return Path(given) if given else platformdirs.user_config_path("jettythunder") / "config.toml"


def default_state_dir(environment: Mapping[str, str]) -> Path:
    given = environment.get("JETTYTHUNDER_STATE_DIR")
    return Path(given) if given else platformdirs.user_state_path("jettythunder")


def load_config(
    *,
    api_url: str | None = None,
    api_key: str | None = None,
    api_secret: str | None = None,
    limit_rate: str | None = None,
    environment: Mapping[str, str] = os.environ,
    config_file: Path | None = None,
) -> Config:
    """Put the configuration together: arguments, then environment variables, then the file of `login`.

    Raises:
        NotLoggedIn: there are no credentials.
        InvalidConfiguration: a value is not allowed; the sentence names it.
    """
    file = config_file or default_config_file(environment)
    stored = _read(file)
    key = api_key or environment.get("JETTYTHUNDER_API_KEY") or stored.get("api_key")
    secret = api_secret or environment.get("JETTYTHUNDER_API_SECRET") or stored.get("api_secret")
    if not key or not secret:
        raise NotLoggedIn
    given_limit = limit_rate or environment.get("JETTYSPEED_LIMIT_RATE")
    url = api_url or environment.get("JETTYTHUNDER_API_URL") or stored.get("api_url") or DEFAULT_API_URL
    return Config(
        api_url=base_url(str(url)),
        api_key=str(key),
        api_secret=str(secret),
        max_threads=whole_number(environment, "JETTYSPEED_MAX_THREADS", 32, 1, 1024),
        chunk_size_mb=_chunk_size_mb(environment),
        jettyspeed_enabled=_flag(environment, "JETTYSPEED_ENABLED"),
        memory_budget_bytes=whole_number(environment, "JETTYSPEED_MEMORY_MB", 128, 8, 1_000_000) * 1024**2,
        state_dir=default_state_dir(environment),
        retry_seconds=float(whole_number(environment, "JETTYSPEED_PATIENCE_SECONDS", 300, 1, 86_400)),
        cdn_url=local_cdn_url(environment),
        limit=parse_limit(given_limit) if given_limit else _limit_in(stored),
        limit_file=None if given_limit else file,
    )


def _limit_in(stored: Mapping[str, Any]) -> Timetable:
    given = stored.get("limit_rate")
    return UNLIMITED if given is None else parse_limit(str(given))


class LimitInFile:
    """The rate limit that a configuration file has, read again when the file has changed."""

    def __init__(self, file: Path, limit: Timetable) -> None:
        self._file = file
        self._limit = limit
        self._version = self._modified_ns()

    def __call__(self) -> Timetable:
        """What holds now; a file that can't be read, or has no valid limit, changes nothing."""
        version = self._modified_ns()
        if version != self._version:
            self._version = version
            with suppress(InvalidConfiguration):
                self._limit = _limit_in(_read(self._file))
        return self._limit

    def _modified_ns(self) -> int | None:
        try:
            return self._file.stat().st_mtime_ns
        except OSError:
            return None


def cdn_state_dir_of(state_dir: Path) -> Path:
    """The desktop CDN's folder of a state folder."""
    return state_dir / "cdn"


def cdn_state_dir(environment: Mapping[str, str]) -> Path:
    """Where the desktop CDN has its token and its state."""
    return cdn_state_dir_of(default_state_dir(environment))


def cdn_port(environment: Mapping[str, str]) -> int:
    """The port that JETTYSPEED_CDN_URL names, which must be one of this machine.

    Raises:
        InvalidConfiguration: it is none.
    """
    given = environment.get("JETTYSPEED_CDN_URL", "").strip()
    if given.lower() in _OFF:
        given = ""
    parts = urlsplit(given or DEFAULT_CDN_URL)
    try:
        port = parts.port or 80
    except ValueError:
        port = 0
    if parts.scheme != "http" or parts.hostname not in _LOOPBACK or not port:
        raise InvalidConfiguration(
            f"JETTYSPEED_CDN_URL takes an address of this machine, such as {DEFAULT_CDN_URL}, not {given!r}."
        )
    return port


def local_cdn_url(environment: Mapping[str, str]) -> str | None:
    """Where the desktop CDN would be; None where JETTYSPEED_CDN_URL is `off` or another machine's."""
    if environment.get("JETTYSPEED_CDN_URL", "").strip().lower() in _OFF:
        return None
    try:
        return f"http://localhost:{cdn_port(environment)}"
    except InvalidConfiguration:
        return None


def store_credentials(*, api_url: str, api_key: str, api_secret: str, config_file: Path) -> None:
    """Keep credentials in a file that only its owner can read; its other settings stay."""
    given = {"api_url": base_url(api_url), "api_key": api_key, "api_secret": api_secret}
    with suppress(InvalidConfiguration):
        given = {**_read(config_file), **given}
    write_private(config_file, tomli_w.dumps(given))


def forget_credentials(config_file: Path) -> None:
    """Remove the credentials from the file, and the file where it has nothing else."""
    others: dict[str, Any] = {}
    with suppress(InvalidConfiguration):
        others = {name: value for name, value in _read(config_file).items() if name not in _CREDENTIALS}
    if others:
        write_private(config_file, tomli_w.dumps(others))
    else:
        config_file.unlink(missing_ok=True)


def base_url(url: str) -> str:
    """The gateway's address; JETTYTHUNDER_API_URL comes with its AgentCache path.

    Raises:
        InvalidConfiguration: it is no http(s) URL with a host.
    """
    plain = url.strip().rstrip("/").removesuffix(_AGENTCACHE_PATH)
    if not plain.startswith(("http://", "https://")):
        raise InvalidConfiguration(
            f"The API's URL must begin with http:// or https://, which {url!r} does not."
        )
    try:
        parts = urlsplit(plain)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        named = False
    if not named:
        raise InvalidConfiguration(
            f"The API's URL names no host and port: {url!r}. An address of IPv6 stands in brackets."
        )
    return plain


def is_cleartext(url: str) -> bool:
    """Whether others on the network could read what is sent: http, to a host that is not this one."""
    parts = urlsplit(url)
    if parts.scheme != "http":
        return False
    host = parts.hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidConfiguration(
            f"{file} can't be read ({error}). Write it anew with `jettythunder login`."
        ) from None


def whole_number(environment: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    """A whole number by the environment.

    Raises:
        InvalidConfiguration: it is none, or outside its bounds.
    """
    given = environment.get(name, "").strip()
    if not given:
        return default
    if not (given.isascii() and given.isdigit() and least <= int(given) <= most):
        raise InvalidConfiguration(f"{name} takes a whole number from {least} to {most}, not {given!r}.")
    return int(given)


def _chunk_size_mb(environment: Mapping[str, str]) -> int | None:
    if not environment.get("JETTYSPEED_CHUNK_SIZE_MB", "").strip():
        return None
    return whole_number(environment, "JETTYSPEED_CHUNK_SIZE_MB", 10, 6, 5000)


def _flag(environment: Mapping[str, str], name: str) -> bool:
    given = environment.get(name, "").strip().lower()
    if given in ("", "1", "true", "yes", "on"):
        return True
    if given in ("0", "false", "no", "off"):
        return False
    raise InvalidConfiguration(f"{name} takes true or false, not {given!r}.")
