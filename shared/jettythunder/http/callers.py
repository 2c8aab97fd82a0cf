"""Who calls: the address of a request, and the token that it carries."""

from ipaddress import IPv6Address, ip_address, ip_network

from fastapi.security.utils import get_authorization_scheme_param
from starlette.requests import Request

# What one customer of an access provider has of IPv6's addresses, as a rule (RFC 6177).
_IPV6_PREFIX_LENGTH = 64


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


def bearer_token(request: Request) -> str:
    """The bearer token of a request; empty where there is none."""
    scheme, token = get_authorization_scheme_param(request.headers.get("authorization"))
    return token if scheme.lower() == "bearer" else ""
