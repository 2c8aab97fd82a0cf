"""The desktop CDN of this machine, found by a token in a file that only its owner can read.

The token is sent to no other program that happens to listen on the port: first the desktop CDN proves that
it has the token, and that it is signed in with the same account.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import aiohttp

from jettythunder_client.config import Config, cdn_state_dir_of
from jettythunder_client.problems import NETWORK_ERRORS

PROBE_SECONDS = 0.3


@dataclass(frozen=True)
class LocalCdn:
    """A desktop CDN that runs, and has proved to be this account's."""

    url: str
    token: str = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """What every request to it is sent with."""
        return {"Authorization": f"Bearer {self.token}"}

    def asset_url(self, asset_id: str) -> str:
        """Where it gives an asset's bytes."""
        return f"{self.url}/v1/assets/{quote(asset_id, safe='')}"


def read_token(state_dir: Path) -> str | None:
    """The token of this machine's desktop CDN; None where there never was one."""
    try:
        return (state_dir / "token").read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def account_digest(config: Config) -> str:
    """Tells accounts apart without naming them."""
    return hashlib.sha256(f"{config.api_url}\n{config.api_key}".encode()).hexdigest()


def proof(token: str, *, challenge: str, account: str) -> str:
    """What shows that a desktop CDN has the token, and is signed in with the account."""
    return hmac.new(token.encode(), f"{challenge}\n{account}".encode(), hashlib.sha256).hexdigest()


async def find_cdn(http: aiohttp.ClientSession, config: Config) -> LocalCdn | None:
    """This account's desktop CDN, if it runs here and answers within 0.3 s."""
    token = read_token(cdn_state_dir_of(config.state_dir))
    if config.cdn_url is None or token is None:
        return None
    challenge = secrets.token_hex(16)
    try:
        async with http.get(
            f"{config.cdn_url}/healthz",
            params={"challenge": challenge},
            timeout=aiohttp.ClientTimeout(total=PROBE_SECONDS),
            allow_redirects=False,
            middlewares=(),  # no proxy: it is on this machine
        ) as response:
            answer = await response.json(content_type=None)
    except (*NETWORK_ERRORS, ValueError):
        return None
    expected = proof(token, challenge=challenge, account=account_digest(config))
    given = answer.get("proof") if isinstance(answer, dict) else None
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), expected.encode()):
        return None
    return LocalCdn(config.cdn_url, token)
