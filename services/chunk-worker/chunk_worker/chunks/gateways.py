"""Where chunks may be fetched from."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

_PREFIX_LENGTH = re.compile(r"/\d{1,3}")


class GatewayAddresses:
    """The addresses of gateways, as GATEWAY_INTERNAL_URLS names them.

    >>> "http://10.244.3.7:8001/internal/chunks" in GatewayAddresses("http://10.244.0.0/16")
    True

    Args:
        named: entries separated by commas: prefixes of URLs, or networks after a scheme, which stand for each
            of their addresses with any port. Empty is anywhere.

    Raises:
        ValueError: a network is malformed.
    """

    def __init__(self, named: str) -> None:
        self._prefixes: list[str] = []
        self._networks: list[tuple[str, IPv4Network | IPv6Network]] = []
        for url in (entry.strip().rstrip("/") for entry in named.split(",")):
            parts = urlsplit(url)
            if parts.hostname and _PREFIX_LENGTH.fullmatch(parts.path) and _is_address(parts.hostname):
                self._networks.append((parts.scheme, ip_network(parts.hostname + parts.path, strict=False)))
            elif url:
                # With the slash no host is the beginning of another.
                self._prefixes.append(f"{url}/")

    def __contains__(self, url: str) -> bool:
        if not self._prefixes and not self._networks:
            return True
        if url.startswith(tuple(self._prefixes)):
            return True
        parts = urlsplit(url)
        if not parts.hostname or not _is_address(parts.hostname):
            return False
        address = ip_address(parts.hostname)
        return any(parts.scheme == scheme and address in network for scheme, network in self._networks)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
