"""Security events: log lines with ``"security": true`` that say who did what, from which address.

Guarantees given here: the names are those of :class:`SecurityEvent`; a line names a key by its id and never
shows it; refusals of one address are written a few times a minute, and then as one line with their count.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextvars import Context, ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from prometheus_client import Counter

from jettythunder import signing, telemetry
from jettythunder.errors import JettyThunderError, TruncatedBody, UploadTimedOut

log = telemetry.logger(__name__)

_KEY_ID_LENGTH = 8
_REFUSED = {401: "authentication_failed", 403: "access_refused", 429: "rate_limited"}

_events = Counter("jettythunder_security_events_total", "Security events", ["event", "code"])

Kind = Literal["tenant", "link", "edge_token", "edge", "agentcache", "operator"]


class SecurityEvent(StrEnum):
    """What is written. The names are part of the log's interface, described in docs/operations.md."""

    AUTHENTICATION_FAILED = "authentication_failed"
    OPERATOR_REFUSED = "operator_refused"
    ACCESS_REFUSED = "access_refused"
    RATE_LIMITED = "rate_limited"
    UPLOAD_ABORTED = "upload_aborted"
    ASSETS_DELETED = "assets_deleted"
    CREDENTIALS_ROTATED = "credentials_rotated"
    ACCOUNT_SUSPENDED = "account_suspended"
    ACCOUNT_RESUMED = "account_resumed"


class Repeats:
    """Lets the first few of equal refusals be written, and counts the others of the same minute.

    Args:
        shown: how many are written before they are counted.
        window_seconds: how long they are counted before the count is written.
        most_addresses: addresses that are told apart; those beyond are counted together.
    """

    def __init__(self, *, shown: int = 5, window_seconds: float = 60, most_addresses: int = 500) -> None:
        self._shown = shown
        self._window_seconds = window_seconds
        self._most_addresses = most_addresses
        self._seen: dict[tuple[str, str, str], int] = {}

    def write(self, event: SecurityEvent, *, code: str, network: str, fields: Mapping[str, Any]) -> None:
        """Write a refusal, or count it."""
        key = (event.value, code, network)
        if key not in self._seen and len(self._seen) >= self._most_addresses:
            key = (event.value, code, "others")
        if key not in self._seen:
            self._seen[key] = 0
            # In a context of its own: the count is of many requests, and has no correlation id of one.
            asyncio.get_running_loop().call_later(
                self._window_seconds, self._summarise, key, context=Context()
            )
        self._seen[key] += 1
        if self._seen[key] <= self._shown:
            log.warning(event.value, security=True, code=code, **fields)

    def _summarise(self, key: tuple[str, str, str]) -> None:
        event, code, network = key
        unwritten = self._seen.pop(key) - self._shown
        if unwritten > 0:
            log.warning(
                event,
                security=True,
                code=code,
                address=network,
                repeated=unwritten,
                window_seconds=self._window_seconds,
            )


@dataclass(frozen=True)
class Origin:
    """Where a request came from, and what it asked for.

    Attributes:
        network: what repeated refusals are counted by.
        path: the path's template, once a route is found.
    """

    address: str
    network: str
    method: str
    path: str | None


@dataclass
class Caller:
    """Who makes the request that is served, as far as it is known by now.

    Attributes:
        origin: computes where it came from: few requests write a line.
        api_key: is shown by its id only.
        name: what names a key that has a name.
    """

    repeats: Repeats
    origin: Callable[[], Origin]
    kind: Kind | None = None
    account_id: UUID | None = None
    api_key: str | None = None
    name: str | None = None

    def fields(self, origin: Origin) -> dict[str, Any]:
        """The fields of a line."""
        known = {
            "caller": self.kind,
            "account_id": None if self.account_id is None else str(self.account_id),
            "key_id": self.name or (key_id(self.api_key) if self.api_key else None),
            "address": origin.address,
            "method": origin.method,
            "path": origin.path,
        }
        return {name: value for name, value in known.items() if value is not None}


_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)


def serve(caller: Caller) -> None:
    """Say who makes the request that is served in this context."""
    _caller.set(caller)


def identify(
    kind: Kind, *, account_id: UUID | None = None, api_key: str | None = None, name: str | None = None
) -> None:
    """Add to what is known of the caller of the request that is served."""
    caller = _caller.get()
    if caller is None:
        return
    caller.kind = kind
    caller.account_id = account_id or caller.account_id
    caller.api_key = api_key or caller.api_key
    caller.name = name or caller.name


def account_of_caller() -> UUID | None:
    """The account that makes the request that is served, as far as it is known by now."""
    caller = _caller.get()
    return None if caller is None else caller.account_id


def key_id(api_key: str) -> str:
    """What names a key in the log: the first characters of its digest."""
    return signing.secret_digest(api_key)[:_KEY_ID_LENGTH]


def record(event: SecurityEvent, **fields: object) -> None:
    """Write what was done, and by whom where a request asked for it."""
    _events.labels(event.value, "").inc()
    caller = _caller.get()
    known = caller.fields(caller.origin()) if caller is not None else {}
    log.info(event.value, security=True, **known | fields)


def refused(error: JettyThunderError) -> None:
    """Write that the request being served was refused, where its error is one that security looks at."""
    caller = _caller.get()
    event = _event_of(error, caller)
    if event is None:
        return
    _events.labels(event.value, error.code).inc()
    if caller is not None:
        origin = caller.origin()
        caller.repeats.write(event, code=error.code, network=origin.network, fields=caller.fields(origin))


def _event_of(error: JettyThunderError, caller: Caller | None) -> SecurityEvent | None:
    if isinstance(error, TruncatedBody | UploadTimedOut):
        return SecurityEvent.UPLOAD_ABORTED
    if error.status not in _REFUSED:
        return None
    if caller is not None and caller.kind == "operator":
        return SecurityEvent.OPERATOR_REFUSED
    return SecurityEvent(_REFUSED[error.status])
