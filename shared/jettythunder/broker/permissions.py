"""What each service's user may do on the broker: as little as its messages need.

RabbitMQ compares the names of queues and exchanges with three regular expressions: of those that a user may
configure (declare and delete), write (publish to, bind to) and read (consume, bind from). It calls the
default exchange, which leads to any queue by its name, ``amq.default``
(https://www.rabbitmq.com/docs/access-control#authorisation).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from jettythunder.broker import topology
from jettythunder.broker.topology import ServiceMessages

_DEFAULT_EXCHANGE = "amq.default"
_ANY_RETRY = r"retry\.[0-9]+"
_ANY_REPLAY = r"replay\..+"
_ANY_DEAD_LETTERS = r".+\.dead-letters"
_ANY_LOCK = r".+\.dead-letters\.lock"
_REPLIES_TO_US = r"amq\.rabbitmq\.reply-to.*"
_REPLIES_TO_AGENTCACHE = r"agentcache\.replies\..+"


@dataclass(frozen=True)
class Permissions:
    """What a user may do, as regular expressions over names."""

    user: str
    configure: str
    write: str
    read: str


def user_of(service: str) -> str:
    """The name of a service's user."""
    return f"jettythunder-{service}"


def permissions(services: Sequence[ServiceMessages]) -> list[Permissions]:
    """The permissions of each service's user, and of the users of senders that are no service of ours."""
    found = [
        Permissions(
            user_of(messages.service),
            configure=_pattern([_ANY_LOCK] if messages.mends else []),
            write=_pattern(_written(messages, services)),
            read=_pattern(_read(messages, services)),
        )
        for messages in services
    ]
    senders = {
        sender: {topology.exchange_of(payload, services) for payload in payloads}
        for messages in services
        for sender, payloads in messages.external.items()
    }
    for sender, exchanges in senders.items():
        # Such a sender waits for its answers in queues that it makes.
        own = _pattern([_REPLIES_TO_AGENTCACHE])
        found.append(Permissions(sender, own, _pattern(map(_exactly, sorted(exchanges))), own))
    return found


def _written(messages: ServiceMessages, services: Sequence[ServiceMessages]) -> Iterator[str]:
    yield _exactly(topology.LOG_PROBES)
    if messages.queues or messages.sends:
        # Any relay publishes what any service has committed.
        yield _exactly(topology.EVENTS)
    if messages.queues:
        yield _exactly(topology.DEAD_LETTERS)
        yield _ANY_RETRY
    if _sends_commands(messages, services):
        yield _exactly(topology.COMMANDS)
    if messages.mends:
        yield _ANY_REPLAY
    if messages.answers or messages.mends:
        yield _exactly(_DEFAULT_EXCHANGE)


def _read(messages: ServiceMessages, services: Sequence[ServiceMessages]) -> Iterator[str]:
    yield from (_exactly(queue.name) for queue in messages.queues)
    if _sends_commands(messages, services):
        yield _REPLIES_TO_US
    if messages.reads_log:
        yield _exactly(topology.EVENT_LOG)
    if messages.mends:
        yield _ANY_DEAD_LETTERS


def _sends_commands(messages: ServiceMessages, services: Sequence[ServiceMessages]) -> bool:
    return any(topology.exchange_of(payload, services) == topology.COMMANDS for payload in messages.sends)


def _exactly(name: str) -> str:
    return name.replace(".", r"\.")


def _pattern(names: Iterable[str]) -> str:
    """One expression that takes these names and no others; without any it takes none."""
    return f"^({joined})$" if (joined := "|".join(names)) else "^$"
