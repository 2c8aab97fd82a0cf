"""Exchanges, queues, bindings and dead letters: what they are called and how they are declared.

A service describes its own messages in its module ``messages``, as :class:`ServiceMessages`; the entry points
of the group ``jettythunder.services`` name those that are installed.

Guarantees given here: consumers' queues are quorum queues, so a confirmed message survives the loss of a
node; a message that is dropped for any reason arrives in its queue's dead-letter queue (at-least-once
dead-lettering); the event log keeps everything both event exchanges carry, for replay.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import entry_points

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel

from jettythunder.contracts.envelope import Payload
from jettythunder.settings import BrokerSettings

AGENTCACHE_EVENTS = "agentcache.events"
EVENTS = "jettythunder.events"
COMMANDS = "jettythunder.commands"
DEAD_LETTERS = "jettythunder.dead-letters"
EVENT_LOG = "event-log"
# Leads to the event log and nowhere else: for the messages that prove it is writable, and mark its end.
LOG_PROBES = "jettythunder.log-probes"

EXCHANGE_TYPES = {
    AGENTCACHE_EVENTS: ExchangeType.TOPIC,
    EVENTS: ExchangeType.TOPIC,
    COMMANDS: ExchangeType.DIRECT,
    DEAD_LETTERS: ExchangeType.DIRECT,
    LOG_PROBES: ExchangeType.FANOUT,
}

# The queues that a reply may be sent to: RabbitMQ's direct reply-to, and AgentCache's own.
REPLY_QUEUE_PREFIXES = ("amq.rabbitmq.reply-to", "agentcache.replies.")

# The type of the empty message that proves the event log is writable; readers of the log pass it over.
LOG_PROBE = "jettythunder.log.probe"

# The type of the empty message that marks the end of a look at the dead letters; whoever meets one drops it.
DEAD_LETTER_FENCE = "jettythunder.dead-letters.fence"

# On a message that is delivered anew: the replay that took it from the log, or its queue of dead letters.
REPLAY_HEADER = "x-jt-replay"

# Broker restarts and consumer deaths count as deliveries too, so this is far above our own retry counts.
DELIVERY_LIMIT = 20

# Looking at dead letters delivers them, and nothing may drop one for having been looked at often:
# RabbitMQ 4 limits deliveries to 20 where a queue sets no limit of its own.
DEAD_LETTER_DELIVERY_LIMIT = 2**31 - 1

SERVICES = "jettythunder.services"

_RETRY_PREFIX = "retry."


@dataclass(frozen=True, kw_only=True)
class ConsumerQueue:
    """A consumer's queue and the messages it is bound to."""

    name: str
    exchange: str
    payloads: Sequence[type[Payload]] = field(default=())

    @property
    def dead_letter_queue(self) -> str:
        return f"{self.name}.dead-letters"

    @property
    def replay_exchange(self) -> str:
        return f"replay.{self.name}"

    @cached_property
    def payload_of(self) -> Mapping[str, type[Payload]]:
        """The messages that it is bound to, by their type."""
        return {payload.TYPE: payload for payload in self.payloads}


@dataclass(frozen=True, kw_only=True)
class ServiceMessages:
    """What a service receives and sends.

    Attributes:
        sent_before: what instances of the version before send, and its receivers still take: an upgrade goes
            service by service.
        external: messages of senders that are no service of ours, by sender.
        answers: whether its handlers reply.
        reads_log: whether it reads the event log.
        mends: whether it works on dead letters, and replays the event log.
    """

    service: str
    queues: Sequence[ConsumerQueue] = ()
    sends: Sequence[type[Payload]] = ()
    sent_before: Sequence[type[Payload]] = ()
    external: Mapping[str, Sequence[type[Payload]]] = field(default_factory=dict)
    answers: bool = False
    reads_log: bool = False
    mends: bool = False

    @property
    def sent(self) -> Mapping[str, Sequence[type[Payload]]]:
        """Everything that is sent, by its sender."""
        return {self.service: (*self.sends, *self.sent_before), **self.external}


@cache
def installed_services() -> tuple[ServiceMessages, ...]:
    """The messages of every installed service, by its name."""
    found: list[ServiceMessages] = [point.load() for point in entry_points(group=SERVICES)]
    return tuple(sorted(found, key=lambda messages: messages.service))


def consumer_queues() -> tuple[ConsumerQueue, ...]:
    """The queues of every installed service."""
    return tuple(queue for messages in installed_services() for queue in messages.queues)


def event_queues() -> tuple[ConsumerQueue, ...]:
    """The queues that receive events: what they took is in the log and can be replayed to them."""
    return tuple(queue for queue in consumer_queues() if queue.exchange != COMMANDS)


def consumer_queue(name: str) -> ConsumerQueue | None:
    """The consumer's queue of that name."""
    return next((queue for queue in consumer_queues() if queue.name == name), None)


def exchange_of(payload: type[Payload], services: Iterable[ServiceMessages]) -> str:
    """The exchange that messages of this type go to: a command is what a queue of commands takes."""
    if payload.TYPE.startswith("agentcache."):
        return AGENTCACHE_EVENTS
    queues = (queue for messages in services for queue in messages.queues)
    is_command = any(queue.exchange == COMMANDS and payload in queue.payloads for queue in queues)
    return COMMANDS if is_command else EVENTS


def retry_queue(delay_ms: int) -> str:
    """The name of the wait queue, and of the fanout exchange in front of it, for one delay."""
    return f"{_RETRY_PREFIX}{delay_ms}"


def may_receive_replies(queue_name: str) -> bool:
    """Whether a reply, which may carry secrets, may be sent to this queue."""
    return queue_name.startswith(REPLY_QUEUE_PREFIXES)


async def declare(
    channel: AbstractChannel, settings: BrokerSettings, queues: Iterable[ConsumerQueue]
) -> None:
    """Declare the shared part, and these queues; safe to repeat at each start."""
    await declare_shared(channel, settings)
    for queue in queues:
        await declare_queue(channel, queue)


async def check_declared(channel: AbstractChannel, queues: Iterable[ConsumerQueue]) -> None:
    """Ask for what :func:`declare` declares, without the right to declare it; what is missing is an error."""
    for name in EXCHANGE_TYPES:
        await channel.get_exchange(name)
    for name in (EVENT_LOG, *(queue.name for queue in queues)):
        await channel.declare_queue(name, passive=True)


async def declare_shared(channel: AbstractChannel, settings: BrokerSettings) -> None:
    """Declare what all services use: the exchanges, the wait queues and the event log."""
    for name, kind in EXCHANGE_TYPES.items():
        await channel.declare_exchange(name, kind, durable=True)
    for delay_ms in settings.retry_delays_ms:
        await _declare_retry_queue(channel, delay_ms)
    log = await channel.declare_queue(
        EVENT_LOG,
        durable=True,
        arguments={
            "x-queue-type": "stream",
            "x-max-age": settings.event_log_max_age,
            "x-max-length-bytes": settings.event_log_max_bytes,
            # Retention acts when a segment is full, so segments are small.
            "x-stream-max-segment-size-bytes": 50_000_000,
        },
    )
    for name in (AGENTCACHE_EVENTS, EVENTS):
        await log.bind(name, "#")
    await log.bind(LOG_PROBES)


async def declare_queue(channel: AbstractChannel, queue: ConsumerQueue) -> None:
    """Declare a consumer's queue with its bindings, dead letters and replay exchange."""
    dead = await channel.declare_queue(
        queue.dead_letter_queue,
        durable=True,
        arguments={"x-queue-type": "quorum", "x-delivery-limit": DEAD_LETTER_DELIVERY_LIMIT},
    )
    await dead.bind(DEAD_LETTERS, queue.name)
    declared = await channel.declare_queue(
        queue.name,
        durable=True,
        arguments={
            "x-queue-type": "quorum",
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-overflow": "reject-publish",
            "x-dead-letter-exchange": DEAD_LETTERS,
            "x-dead-letter-routing-key": queue.name,
            "x-dead-letter-strategy": "at-least-once",
        },
    )
    for payload in queue.payloads:
        await declared.bind(queue.exchange, payload.TYPE)
    replay = await channel.declare_exchange(queue.replay_exchange, ExchangeType.FANOUT, durable=True)
    await declared.bind(replay)


async def _declare_retry_queue(channel: AbstractChannel, delay_ms: int) -> None:
    # The routing key is the consumer's queue, which the default exchange delivers to when the wait is over.
    exchange = await channel.declare_exchange(retry_queue(delay_ms), ExchangeType.FANOUT, durable=True)
    waiting = await channel.declare_queue(
        retry_queue(delay_ms),
        durable=True,
        arguments={
            "x-queue-type": "quorum",
            "x-message-ttl": delay_ms,
            "x-overflow": "reject-publish",
            "x-dead-letter-exchange": "",
            "x-dead-letter-strategy": "at-least-once",
        },
    )
    await waiting.bind(exchange)
