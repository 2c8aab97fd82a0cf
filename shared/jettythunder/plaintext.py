"""Which hosts an address would have spoken to without encryption, and whether that is allowed."""

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from urllib.parse import parse_qs, urlsplit

_ENCRYPTED_MODES = ("require", "verify-ca", "verify-full")
_PLAIN_SCHEMES = {"http": "https", "amqp": "amqps"}
_DATABASE_SCHEMES = ("postgresql", "postgres")


class NetworkAddress:
    """Marks a setting as an address, or addresses separated by commas, that is spoken to or given out."""


class PlaintextHosts:
    """Hosts that may be spoken to without encryption: those of this machine, and those that are named.

    Args:
        named: host names, endings of host names that begin with a dot, and addresses and networks, separated
            by commas.

    Raises:
        ValueError: a network is malformed.
    """

    def __init__(self, named: str) -> None:
        entries = [entry.strip().lower() for entry in named.split(",") if entry.strip()]
        self._names = frozenset(entry for entry in entries if not entry.startswith("."))
        self._endings = tuple(entry for entry in entries if entry.startswith("."))
        self._networks = [ip_network(entry, strict=False) for entry in entries if "/" in entry]

    def allow(self, host: str) -> bool:
        """Whether a host may be spoken to."""
        if host in self._names or host.endswith(self._endings or ("\0",)):
            return True
        if host == "localhost" or host.endswith(".localhost"):
            return True
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return address.is_loopback or any(address in network for network in self._networks)


def objections(name: str, value: str, allowed: PlaintextHosts) -> Iterator[str]:
    """A sentence for each host that the setting ``name`` has spoken to in plaintext, and that may not be.

    >>> list(objections("LYVE_ENDPOINT", "https://s3.example", PlaintextHosts("")))
    []
    """
    for host, remedy in _plaintext_hosts(value):
        if not allowed.allow(host):
            yield (
                f"{name} has {host} spoken to without encryption, which a live service does not do: "
                f"{remedy}, or name the host in ALLOW_PLAINTEXT_HOSTS where its network is private."
            )


def _plaintext_hosts(value: str) -> Iterator[tuple[str, str]]:
    """Hosts that are spoken to in plaintext, each with what to do about it."""
    if urlsplit(value).scheme in _DATABASE_SCHEMES:
        yield from _database_hosts(value)
        return
    for url in value.split(","):
        parts = urlsplit(url.strip())
        encrypted = _PLAIN_SCHEMES.get(parts.scheme)
        if encrypted is not None and parts.hostname:
            yield parts.hostname, f"give it an address that begins with {encrypted}://"


def _database_hosts(url: str) -> Iterator[tuple[str, str]]:
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    if query.get("sslmode", [""])[-1] in _ENCRYPTED_MODES:
        return
    named = [*parts.netloc.rpartition("@")[2].split(","), *",".join(query.get("host", [])).split(",")]
    for each in named:
        host = urlsplit(f"//{each}").hostname if not each.startswith("/") else None
        # Without a host, or with a path, it is a socket of this machine.
        if host:
            yield host, "add sslmode=verify-full to it, or sslmode=require"
