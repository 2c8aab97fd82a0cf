"""Who calls: the address and the token of a request, and what security events say of its caller."""

from functools import partial
from ipaddress import IPv6Address, ip_address, ip_network

from fastapi.security.utils import get_authorization_scheme_param
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from jettythunder import security_log

# What one customer of an access provider has of IPv6's addresses, as a rule (RFC 6177).
_IPV6_PREFIX_LENGTH = 64


def address_of(request: Request) -> str:
    """Where a request comes from: an IPv4 address, or the network that one IPv6 customer has."""
    host = _host_of(request)
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((int(address), _IPV6_PREFIX_LENGTH), strict=False))


def bearer_token(request: Request) -> str:
    """The bearer token of a request; empty where there is none."""
    scheme, token = get_authorization_scheme_param(request.headers.get("authorization"))
    return token if scheme.lower() == "bearer" else ""


def template_of(scope: Scope) -> str | None:
    """The template of a request's path, such as ``/admin/events/{event_id}``, once a route is found."""
    # A route of a router in a router knows a part of its path; FastAPI keeps the whole one beside it.
    found = scope.get("fastapi", {}).get("effective_route_context") or scope.get("route")
    return getattr(found, "path", None)


class Callers:
    """Middleware that notes who makes a request, for the security events that come of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._repeats = security_log.Repeats()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            security_log.serve(security_log.Caller(self._repeats, partial(_origin, scope)))
        await self._app(scope, receive, send)


def _origin(scope: Scope) -> security_log.Origin:
    request = Request(scope)
    return security_log.Origin(
        address=_host_of(request),
        network=address_of(request),
        method=request.method,
        path=template_of(scope),
    )


def _host_of(request: Request) -> str:
    return request.client.host if request.client else "unknown"
