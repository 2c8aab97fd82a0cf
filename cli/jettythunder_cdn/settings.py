"""What the desktop CDN is told by its environment."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from jettythunder_client.config import cdn_port, cdn_state_dir, whole_number

MEBIBYTE = 1024 * 1024
GRANT_SECONDS = 60.0
_MOST_BYTES = 10_000_000_000
_SHARE_OF_FREE = 10
_ORIGINS = "https://agentcache.ai https://www.agentcache.ai https://app.agentcache.ai"

# What a service needs of the environment it was installed from. No secrets: those are in the login's file.
SERVICE_VARIABLES = (
    "JETTYSPEED_CDN_URL",
    "JETTYTHUNDER_API_URL",
    "JETTYTHUNDER_CONFIG",
    "JETTYTHUNDER_STATE_DIR",
    "JETTYTHUNDER_CDN_DIR",
    "JETTYTHUNDER_CDN_MAX_MB",
    "JETTYTHUNDER_CDN_MIN_FREE_MB",
    "JETTYTHUNDER_CDN_OFFLINE_HOURS",
    "JETTYTHUNDER_CDN_CACHE_KEY_SECONDS",
    "JETTYTHUNDER_CDN_CACHE_KEY_OFFLINE",
    "JETTYTHUNDER_CDN_ORIGINS",
)


@dataclass(frozen=True)
class Settings:
    """Where the desktop CDN keeps what, and within which bounds."""

    folder: Path
    """Blocks and their index: may be deleted at any time while it does not run."""
    state_dir: Path
    """Its token, its lock, and uploads that are not finished."""
    port: int
    budget_bytes: int
    """Bytes that blocks may take of the disk."""
    min_free_bytes: int
    """Bytes that stay free on the disk."""
    offline_seconds: float
    """How long after the last authorisation verified assets are given while the gateway can't be reached."""
    cache_key_seconds: float
    """How long a cache key is believed to name the same asset."""
    cache_key_offline: bool
    """Whether a cache key still names the asset of before while the gateway can't be reached."""
    origins: frozenset[str]
    """Origins whose pages may read by signed links."""


def load_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings by the environment.

    Raises:
        InvalidConfiguration: a value is not allowed; the sentence names it.
    """
    given = environment.get("JETTYTHUNDER_CDN_DIR")
    folder = Path(given) if given else platformdirs.user_cache_path("jettythunder") / "cdn"
    origins = environment.get("JETTYTHUNDER_CDN_ORIGINS", _ORIGINS)

    def whole(name: str, default: int, least: int, most: int) -> int:
        return whole_number(environment, name, default, least, most)

    return Settings(
        folder=folder,
        state_dir=cdn_state_dir(environment),
        port=cdn_port(environment),
        budget_bytes=whole("JETTYTHUNDER_CDN_MAX_MB", _default_megabytes(folder), 1, 100_000_000) * 1_000_000,
        min_free_bytes=whole("JETTYTHUNDER_CDN_MIN_FREE_MB", 1000, 0, 100_000_000) * 1_000_000,
        offline_seconds=whole("JETTYTHUNDER_CDN_OFFLINE_HOURS", 24, 0, 24 * 365) * 3600.0,
        cache_key_seconds=float(whole("JETTYTHUNDER_CDN_CACHE_KEY_SECONDS", 0, 0, 86_400)),
        cache_key_offline=bool(whole("JETTYTHUNDER_CDN_CACHE_KEY_OFFLINE", 0, 0, 1)),
        origins=frozenset(origin.rstrip("/").lower() for origin in origins.replace(",", " ").split()),
    )


def _default_megabytes(folder: Path) -> int:
    """10 GB, or a tenth of what is free on the disk (and of what the cache has already) if that is less."""
    there = next((place for place in (folder, *folder.parents) if place.exists()), Path("/"))
    return max(1, min(_MOST_BYTES, shutil.disk_usage(there).free // _SHARE_OF_FREE) // 1_000_000)
