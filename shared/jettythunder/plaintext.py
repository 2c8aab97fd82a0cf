"""Which hosts an address would have spoken to without encryption, and whether that is allowed."""

from collections.abc import Iterator
from urllib.parse import parse_qs, unquote, urlsplit

from jettythunder.hosts import HostList, is_this_machine

_ENCRYPTED_MODES = ("require", "verify-ca", "verify-full")
_PLAIN_SCHEMES = {"http": "https", "amqp": "amqps"}
_DATABASE_SCHEMES = ("postgresql", "postgres")


class NetworkAddress:
    """Marks a setting as an address, or addresses separated by commas, that is spoken to or given out."""


def objections(name: str, value: str, allowed: HostList) -> Iterator[str]:
    """A sentence for each host that the setting ``name`` has spoken to in plaintext, and that may not be.

    >>> list(objections("LYVE_ENDPOINT", "https://s3.example", HostList("")))
    []
    """
    for host, remedy in _plaintext_hosts(value):
        if host not in allowed and not is_this_machine(host):
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
        host = urlsplit(f"//{each}").hostname if not unquote(each).startswith("/") else None
        # Without a host, or with a path, it is a socket of this machine.
        if host:
            yield host, "add sslmode=verify-full to it, or sslmode=require"
