"""Who may talk to the desktop CDN: a web page of anywhere can send requests to localhost.

The Host header is looked at first, since a page whose name was rebound to 127.0.0.1 is same-origin with
itself. An Origin that is not allowed is refused. No Origin proves nothing, so that every request needs a
token of this machine or a signed link as well.
"""

import hashlib
import hmac
import json
import secrets
import time
from pathlib import Path

from jettythunder_cdn.errors import HostRefused, OriginRefused
from jettythunder_client.private_files import write_private

_NAMES = ("localhost", "127.0.0.1", "[::1]")
_SESSION_SECONDS = 30 * 86_400.0
_SESSIONS = 20


class Guard:
    """The rules for Host and Origin.

    Args:
        origins: those whose pages may read by signed links.
    """

    def __init__(self, *, port: int, origins: frozenset[str]) -> None:
        self._hosts = {f"{name}:{port}" for name in _NAMES} | ({*_NAMES} if port == 80 else set())
        self._own = {f"http://{host}" for host in self._hosts}
        self._origins = origins - {"null", "*"}

    def check_host(self, host: str | None) -> None:
        """Check the name by which the desktop CDN was reached.

        Raises:
            HostRefused: it is none of this machine's own.
        """
        if (host or "").lower() not in self._hosts:
            raise HostRefused

    def check_origin(self, origin: str | None, *, own_only: bool) -> str | None:
        """The foreign origin to which the answer is opened, if there is one.

        Args:
            own_only: for what only the desktop CDN's own page may use.

        Raises:
            OriginRefused: pages of that origin may not.
        """
        if origin is None or origin.lower() in self._own:
            return None
        if own_only or origin.lower() not in self._origins:
            raise OriginRefused
        return origin


class Tokens:
    """This machine's token, in a file that only its owner can read, and the page's sessions."""

    def __init__(self, state_dir: Path) -> None:
        self._sessions_file = state_dir / "sessions.json"
        token_file = state_dir / "token"
        if not token_file.exists():
            write_private(token_file, f"jtc_{secrets.token_urlsafe(32)}\n")
        token_file.chmod(0o600)
        self.machine = token_file.read_text(encoding="ascii").strip()

    def is_machine(self, authorization: str | None) -> bool:
        """Whether an Authorization header has this machine's token."""
        return _equal(_bearer(authorization), self.machine)

    def is_session(self, authorization: str | None) -> bool:
        """Whether an Authorization header has the token of a session that goes on."""
        began_at = self._sessions().get(_digest(_bearer(authorization)))
        return began_at is not None and 0 <= time.time() - began_at < _SESSION_SECONDS

    def begin_session(self) -> str:
        """The token of a new session, of which only a digest is kept."""
        token = f"jtp_{secrets.token_urlsafe(32)}"
        sessions = {**self._sessions(), _digest(token): time.time()}
        newest = sorted(sessions.items(), key=lambda session: session[1])[-_SESSIONS:]
        write_private(self._sessions_file, json.dumps(dict(newest)))
        return token

    def end_sessions(self) -> None:
        """Sign the page out, in every browser."""
        self._sessions_file.unlink(missing_ok=True)

    def _sessions(self) -> dict[str, float]:
        try:
            found = json.loads(self._sessions_file.read_text(encoding="utf-8"))
            return {str(digest): float(at) for digest, at in found.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}


def _bearer(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())
