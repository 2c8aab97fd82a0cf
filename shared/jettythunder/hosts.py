"""Lists of hosts, as settings name them."""

from ipaddress import ip_address, ip_network


class HostList:
    """Hosts by name, by the ending of their name, by address and by network.

    >>> "broker.svc" in HostList(".svc, 10.0.0.0/8")
    True

    Args:
        named: entries separated by commas; one that begins with a dot is the ending of a name.

    Raises:
        ValueError: a network is malformed.
    """

    def __init__(self, named: str) -> None:
        entries = [entry.strip().lower() for entry in named.split(",") if entry.strip()]
        self._names = frozenset(entry for entry in entries if not entry.startswith("."))
        self._endings = tuple(entry for entry in entries if entry.startswith("."))
        self._networks = [ip_network(entry, strict=False) for entry in entries if "/" in entry]

    def __bool__(self) -> bool:
        return bool(self._names or self._endings)

    def __contains__(self, host: str) -> bool:
        if host in self._names or any(host.endswith(ending) for ending in self._endings):
            return True
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def is_this_machine(host: str) -> bool:
    """Whether what is sent to a host stays on this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
