"""Rate limits: by account for tenants, by address for what has no account."""

import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Protocol

from starlette.requests import Request

from jettythunder.http.headers import note_headers
from storage_gateway.access.model import Taken
from storage_gateway.errors import RateLimited

ACCOUNT_WINDOW_SECONDS = 60
_MOST_REMEMBERED = 10_000

# What one customer of an access provider has of IPv6's addresses, as a rule (RFC 6177).
_IPV6_PREFIX_LENGTH = 64


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


def address_of(request: Request) -> str:
    """Where a request comes from: an IPv4 address, or the network that one IPv6 customer has."""
    host = request.client.host if request.client else "unknown"
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((int(address), _IPV6_PREFIX_LENGTH), strict=False))


def note(request: Request, taken: Taken, *, limit: int, window_seconds: float) -> None:
    """Note the RateLimit headers for the answer.

    Raises:
        RateLimited: the request is over the limit.
    """
    headers = (
        (b"ratelimit-limit", b"%d" % limit),
        (b"ratelimit-remaining", b"%d" % taken.remaining),
        (b"ratelimit-reset", b"%d" % max(1, round(taken.reset_seconds))),
        (b"ratelimit-policy", b"%d;w=%d" % (limit, round(window_seconds))),
    )
    note_headers(request.scope, headers)
    if not taken.allowed:
        raise RateLimited(retry_after_seconds=taken.reset_seconds)
