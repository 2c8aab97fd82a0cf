"""Every exchange, queue, binding and dead letter: the only module that holds such a name.

Guarantees given here: consumers' queues are quorum queues, so a confirmed message survives the loss of a
node; a message that is dropped for any reason arrives in its queue's dead-letter queue (at-least-once
dead-lettering); the event log keeps everything both event exchanges carry, for replay.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel

from jettythunder.contracts import accounts, agentcache, assets, quota, uploads
from jettythunder.contracts.envelope import Payload

AGENTCACHE_EVENTS = "agentcache.events"
EVENTS = "jettythunder.events"
COMMANDS = "jettythunder.commands"
DEAD_LETTERS = "jettythunder.dead-letters"
EVENT_LOG = "event-log"

# The type of the empty message that proves the event log is writable; readers of the log pass it over.
LOG_PROBE = "jettythunder.log.probe"

# The type of the empty message that marks the end of a look at the dead letters; whoever meets one drops it.
DEAD_LETTER_FENCE = "jettythunder.dead-letters.fence"

# On a message that comes from the event log: which replay it belongs to.
REPLAY_HEADER = "x-jt-replay"

# Broker restarts and consumer deaths count as deliveries too, so this is far above our own retry counts.
DELIVERY_LIMIT = 20

# Looking at dead letters delivers them, and nothing may drop one for having been looked at often:
# RabbitMQ 4 limits deliveries to 20 where a queue sets no limit of its own.
DEAD_LETTER_DELIVERY_LIMIT = 2**31 - 1

_RETRY_PREFIX = "retry."


@dataclass(frozen=True, kw_only=True)
class ConsumerQueue:
    """A consumer's queue and the messages it is bound to."""

    name: str
    exchange: str
    payloads: Sequence[type[Payload]] = field(default=())

    @property
    def service(self) -> str:
        """The service that consumes it."""
        return self.name.partition(".")[0]

    @property
    def dead_letter_queue(self) -> str:
        return f"{self.name}.dead-letters"

    @property
    def replay_exchange(self) -> str:
        return f"replay.{self.name}"


PROVISIONING_EVENTS = ConsumerQueue(
    name="provisioning.agentcache-events",
    exchange=AGENTCACHE_EVENTS,
    payloads=(
        agentcache.UserSignedUpV1,
        agentcache.UserTierChangedV1,
        agentcache.MultimodalCacheEnabledV1,
    ),
)
PROVISIONING_COMMANDS = ConsumerQueue(
    name="provisioning.commands",
    exchange=COMMANDS,
    payloads=(accounts.ProvisionAccountV1, accounts.ChangeTierV1, accounts.RotateCredentialsV1),
)
STORAGE_GATEWAY_EVENTS = ConsumerQueue(
    name="storage-gateway.events", exchange=EVENTS, payloads=(assets.AssetObjectMissingV1,)
)
CHUNK_WORKER_COMMANDS = ConsumerQueue(
    name="chunk-worker.commands", exchange=COMMANDS, payloads=(uploads.UploadChunkV1,)
)
USAGE_METER_EVENTS = ConsumerQueue(
    name="usage-meter.events",
    exchange=EVENTS,
    payloads=(
        uploads.UploadCompletedV1,
        uploads.UploadAbortedV1,
        assets.AssetDownloadedV1,
        assets.AssetStreamedV1,
        assets.AssetDeletedV1,
        accounts.AccountProvisionedV1,
        accounts.AccountTierChangedV1,
    ),
)
USAGE_METER_WEBHOOKS = ConsumerQueue(
    name="usage-meter.webhooks",
    exchange=EVENTS,
    payloads=(quota.QuotaThresholdCrossedV1, quota.QuotaExceededV1, quota.QuotaRestoredV1),
)

CONSUMER_QUEUES = (
    PROVISIONING_EVENTS,
    PROVISIONING_COMMANDS,
    STORAGE_GATEWAY_EVENTS,
    CHUNK_WORKER_COMMANDS,
    USAGE_METER_EVENTS,
    USAGE_METER_WEBHOOKS,
)

# Those that hear events: what they took is in the log and can be replayed to them.
EVENT_QUEUES = tuple(queue for queue in CONSUMER_QUEUES if queue.exchange != COMMANDS)


# Who sends what. What receives it is bound above; an event that nobody takes is still in the log.
SENDERS: Mapping[str, Sequence[type[Payload]]] = {
    "agentcache": (
        agentcache.UserSignedUpV1,
        agentcache.UserTierChangedV1,
        agentcache.MultimodalCacheEnabledV1,
    ),
    "provisioning": (
        accounts.AccountProvisionedV1,
        accounts.AccountTierChangedV1,
        accounts.AccountCredentialsRotatedV1,
    ),
    "storage-gateway": (
        accounts.ProvisionAccountV1,
        accounts.ChangeTierV1,
        uploads.UploadChunkV1,
        uploads.UploadCreatedV1,
        uploads.UploadCompletedV1,
        uploads.UploadAbortedV1,
        assets.AssetStoredV1,
        assets.AssetDownloadedV1,
        assets.AssetStreamedV1,
        assets.AssetDeletedV1,
    ),
    "chunk-worker": (uploads.ChunkUploadedV1, uploads.ChunkFailedV1),
    "usage-meter": (
        quota.QuotaThresholdCrossedV1,
        quota.QuotaExceededV1,
        quota.QuotaRestoredV1,
        quota.UsageRecordedV1,
        assets.AssetObjectMissingV1,
    ),
    # For whoever operates the system; no service of ours asks for it.
    "operations": (accounts.RotateCredentialsV1,),
}


def exchange_of(payload: type[Payload]) -> str:
    """The exchange that messages of this type go to."""
    if payload.TYPE.startswith("agentcache."):
        return AGENTCACHE_EVENTS
    commands = {taken for queue in CONSUMER_QUEUES if queue.exchange == COMMANDS for taken in queue.payloads}
    return COMMANDS if payload in commands else EVENTS


def consumer_queue(name: str) -> ConsumerQueue | None:
    """The consumer's queue of that name."""
    return next((queue for queue in CONSUMER_QUEUES if queue.name == name), None)


def retry_queue(delay_ms: int) -> str:
    """The name of the wait queue, and of the fanout exchange in front of it, for one delay."""
    return f"{_RETRY_PREFIX}{delay_ms}"


_OWN_QUEUES = frozenset(
    {EVENT_LOG, *(name for queue in CONSUMER_QUEUES for name in (queue.name, queue.dead_letter_queue))}
)


def is_own_queue(name: str) -> bool:
    """Whether the queue is one of ours, which are kept and read, and not a caller's."""
    return name in _OWN_QUEUES or name.startswith(_RETRY_PREFIX)


async def declare(
    channel: AbstractChannel, *, log_max_age: str, log_max_bytes: int, retry_delays_ms: Sequence[int]
) -> None:
    """Declare everything; safe to repeat, by every service at each start.

    Args:
        log_max_age: how long the event log keeps events, as RabbitMQ writes it (``30D``).
        log_max_bytes: how many bytes the event log keeps at most.
        retry_delays_ms: the waits before delayed attempts; each has one wait queue that all consumers share.
    """
    for name in (AGENTCACHE_EVENTS, EVENTS):
        await channel.declare_exchange(name, ExchangeType.TOPIC, durable=True)
    for name in (COMMANDS, DEAD_LETTERS):
        await channel.declare_exchange(name, ExchangeType.DIRECT, durable=True)
    for queue in CONSUMER_QUEUES:
        await _declare_consumer_queue(channel, queue)
    for delay_ms in retry_delays_ms:
        await _declare_retry_queue(channel, delay_ms)
    log = await channel.declare_queue(
        EVENT_LOG,
        durable=True,
        arguments={
            "x-queue-type": "stream",
            "x-max-age": log_max_age,
            "x-max-length-bytes": log_max_bytes,
            # Retention acts when a segment is full, so segments are small.
            "x-stream-max-segment-size-bytes": 50_000_000,
        },
    )
    for name in (AGENTCACHE_EVENTS, EVENTS):
        await log.bind(name, "#")


async def _declare_consumer_queue(channel: AbstractChannel, queue: ConsumerQueue) -> None:
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
