"""Rate limits: by account for tenants, by address for what has no account."""

import time
from collections.abc import Callable, MutableMapping
from typing import Any, Protocol

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jettythunder.errors import RateLimited
from jettythunder.http.callers import address_of
from storage_gateway.access.model import Taken

_NOTED = "rate_limit_headers"
ACCOUNT_WINDOW_SECONDS = 60
_MOST_REMEMBERED = 10_000


class Counters(Protocol):
    """Counts requests of subjects, across all gateways together."""

    async def take_request(self, *, subject: str, request_limit: int, window_seconds: float) -> Taken: ...

    async def forget_counters(self, *, older_than_seconds: float) -> None: ...


class Limits:
    """Counts requests, notes the RateLimit headers of their answers, and refuses those over the limit.

    Args:
        window_seconds, max_requests: the limit of an address.
        clock: in seconds.
    """

    def __init__(
        self,
        counters: Counters,
        *,
        window_seconds: float,
        max_requests: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counters = counters
        self._window_seconds = window_seconds
        self._max_requests = max_requests
        self._clock = clock
        self._refused_until: dict[str, float] = {}

    def check_address(self, request: Request) -> None:
        """Refuse an address that was over its limit a moment ago: it costs the database nothing.

        Raises:
            RateLimited: the address has used up its requests.
        """
        left_seconds = self._refused_until.get(address_of(request), 0.0) - self._clock()
        if left_seconds > 0:
            self._note(request, Taken(False, 0, left_seconds))

    async def count_address(self, request: Request) -> None:
        """Count a request of whoever calls from this address.

        Raises:
            RateLimited: the address has used up its requests.
        """
        self.check_address(request)
        address = address_of(request)
        taken = await self._counters.take_request(
            subject=f"address:{address}",
            request_limit=self._max_requests,
            window_seconds=self._window_seconds,
        )
        if not taken.allowed:
            self._remember(address, taken.reset_seconds)
        self._note(request, taken)

    async def forget_old(self) -> None:
        """Remove the counters of windows that are over."""
        # A count weighs on for the window after its own.
        longest = max(self._window_seconds, ACCOUNT_WINDOW_SECONDS)
        await self._counters.forget_counters(older_than_seconds=2 * longest)

    def _note(self, request: Request, taken: Taken) -> None:
        note(request, taken, limit=self._max_requests, window_seconds=self._window_seconds)

    def _remember(self, address: str, seconds: float) -> None:
        if len(self._refused_until) >= _MOST_REMEMBERED:
            now = self._clock()
            self._refused_until = {
                known: until for known, until in self._refused_until.items() if until > now
            }
        if len(self._refused_until) < _MOST_REMEMBERED:
            self._refused_until[address] = self._clock() + seconds

    async def count_account(self, request: Request, account_id: object, *, limit: int) -> None:
        """Count a request of an account that did not come with its credentials.

        Raises:
            RateLimited: the account has used up its requests of this minute.
        """
        taken = await self._counters.take_request(
            subject=f"account:{account_id}", request_limit=limit, window_seconds=ACCOUNT_WINDOW_SECONDS
        )
        note(request, taken, limit=limit, window_seconds=ACCOUNT_WINDOW_SECONDS)


def note(request: Request, taken: Taken, *, limit: int, window_seconds: float) -> None:
    """Note the RateLimit headers for the answer.

    Raises:
        RateLimited: the request is over the limit.
    """
    state: MutableMapping[str, Any] = request.scope.setdefault("state", {})
    state[_NOTED] = [
        (b"ratelimit-limit", str(limit).encode()),
        (b"ratelimit-remaining", str(taken.remaining).encode()),
        (b"ratelimit-reset", str(max(1, round(taken.reset_seconds))).encode()),
        (b"ratelimit-policy", f"{limit};w={round(window_seconds)}".encode()),
    ]
    if not taken.allowed:
        raise RateLimited(retry_after_seconds=taken.reset_seconds)


class RateLimitHeaders:
    """Middleware that adds the RateLimit headers noted for a request to its answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_limited(message: Message) -> None:
            if message["type"] == "http.response.start":
                noted = scope.get("state", {}).get(_NOTED, [])
                message["headers"] = [*message.get("headers", []), *noted]
            await send(message)

        await self._app(scope, receive, send_limited)
