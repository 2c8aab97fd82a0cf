"""Which proxy a request goes through: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in either case.

Where none is set, the settings of macOS and Windows hold.
"""

import ipaddress
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp import hdrs
from yarl import URL

from jettythunder_client.errors import InvalidConfiguration

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Proxies:
    """The proxies of this machine, by the scheme of what is asked for.

    ``found`` is what `urllib.request.getproxies` gives: proxies by scheme, with `all` for every one, and
    `no`. ``bypasses`` says whether the system's own settings exempt a host.
    """

    def __init__(
        self, found: Mapping[str, str], *, bypasses: Callable[[str], bool] = lambda _: False
    ) -> None:
        self._found = found
        self._bypasses = bypasses
        self._exempt = [entry for entry in found.get("no", "").replace(",", " ").split() if entry]

    @classmethod
    def of_machine(cls) -> "Proxies":
        """Those of the environment, else of the system."""
        return cls(getproxies(), bypasses=lambda host: bool(proxy_bypass(host)))

    def proxy_for(self, url: URL) -> tuple[URL, str | None] | None:
        """The proxy for an address, without its credentials, and what these are as a header's value.

        None where it is asked directly.

        Raises:
            InvalidConfiguration: it is a proxy of a kind that is not supported, or its address is malformed.
        """
        given = self._found.get(url.scheme) or self._found.get("all")
        if not given or url.host is None or self._is_exempt(url.host, url.port):
            return None
        try:
            proxy = URL(given if "://" in given else f"http://{given}")
            credentials = aiohttp.encode_basic_auth(proxy.user, proxy.password or "") if proxy.user else None
            proxy = proxy.with_user(None)
            usable = proxy.scheme in ("http", "https") and proxy.host is not None
        except ValueError:
            usable = False
        if not usable:
            # Its address may have a password in it, so only its kind is shown.
            kind = f" ({given.partition('://')[0]}://)" if "://" in given else ""
            raise InvalidConfiguration(
                f"The proxy for {url.scheme}:// can't be used{kind}: give an address such as http://proxy:3128."
            )
        return proxy, credentials

    def _is_exempt(self, host: str, port: int | None) -> bool:
        name = host.rstrip(".").lower()
        if any(_exempts(entry.lower(), name, port) for entry in self._exempt):
            return True
        return not self._exempt and self._bypasses(host)


def _exempts(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of NO_PROXY is for a host: `*`, a host with the hosts below it, an address, a network.

    An entry may end with a port; addresses of IPv6 stand in brackets then.
    """
    if entry == "*":
        return True
    address = _address(host)
    if "/" in entry:
        return address is not None and _contains(entry, address)
    name, wanted_port = _split(entry)
    if wanted_port is not None and wanted_port != port:
        return False
    if address is not None:
        return _address(name) == address
    name = name.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _split(entry: str) -> tuple[str, int | None]:
    if _address(entry) is not None:
        return entry, None
    try:
        parts = urlsplit(f"//{entry}")
        return (parts.hostname or "").strip(), parts.port
    except ValueError:
        return entry, None


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None


def _contains(network: str, address: Address) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def through(proxies: Proxies) -> aiohttp.ClientMiddlewareType:
    """What sends each request of a session, redirected ones too, through its proxy."""

    async def send(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if (found := proxies.proxy_for(request.url)) is not None:
            proxy, credentials = found
            headers = {hdrs.PROXY_AUTHORIZATION: credentials} if credentials else {}
            request.update_proxy(proxy, None, headers)
            if not request.is_ssl():
                request.headers.update(headers)
        return await handler(request)

    return send
