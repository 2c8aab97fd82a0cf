"""What DATABASE_URL names: one server, or several of which one is the primary."""

from urllib.parse import parse_qs, urlsplit

from jettythunder.errors import ConfigurationError

_WRITABLE = ("read-write", "primary")


def one_for_each_host(url: str) -> tuple[str, ...]:
    """The URL once for each host that it names, in its order.

    Raises:
        ConfigurationError: it names several hosts, and does not ask for the one that takes writes.

    >>> one_for_each_host("postgresql://u:p@a,b:5433/name?target_session_attrs=read-write")[1]
    'postgresql://u:p@b:5433/name?target_session_attrs=read-write'
    """
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    named = hosts.split(",")
    if len(named) > 1 and parse_qs(parts.query).get("target_session_attrs", [""])[-1] not in _WRITABLE:
        raise ConfigurationError(
            "DATABASE_URL names several hosts and would take a standby too: add "
            "target_session_attrs=read-write to it, then start again."
        )
    return tuple(parts._replace(netloc=f"{user}{at}{host}").geturl() for host in named)
