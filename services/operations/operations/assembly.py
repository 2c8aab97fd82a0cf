"""The use-cases on their servers: for the service, and for the command line where that can't be reached."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from jettythunder.broker import topology
from jettythunder.broker.connection import BrokerLink
from jettythunder.broker.dead_letter_queue import (
    WINDOW_SIZE,
    DeadLetterQueue,
    DeadMessage,
    give_back,
    open_dead_letters,
)
from jettythunder.broker.event_log import LoggedEvent, Offset, open_event_log
from jettythunder.broker.publisher import Publisher, Unroutable
from jettythunder.broker.topology import ConsumerQueue
from jettythunder.database import Database
from jettythunder.errors import BrokerUnavailable
from jettythunder.settings import BrokerSettings
from operations.audit import Audit
from operations.audit.store import AuditStore
from operations.consumers import Consumers
from operations.dead_letters import DeadLetters
from operations.events import Events, Retention
from operations.events.store import InboxStore
from operations.replays import Replays
from operations.replays.store import ReplayStore

ROLE = "jettythunder_operations"


@dataclass(frozen=True)
class Operations:
    """Everything that operators can do."""

    events: Events
    retention: Retention
    replays: Replays
    dead_letters: DeadLetters
    audit: Audit


class BrokerLog:
    """The event log over a connection of its own for each use, so it works after the broker was restarted."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def end(self) -> int:
        """The offset right after the newest event."""
        async with open_event_log(self._url) as log:
            return await log.end()

    async def read(
        self, *, start: Offset = "first", end_offset: int | None = None
    ) -> AsyncGenerator[LoggedEvent, None]:
        """The events from a place to another, by default to the log's end as of now."""
        async with (
            open_event_log(self._url) as log,
            contextlib.aclosing(log.read(start=start, end_offset=end_offset)) as events,
        ):
            async for logged in events:
                yield logged

    async def follow(self, *, start: Offset = "next") -> AsyncGenerator[LoggedEvent, None]:
        """The events from a place on, and those to come."""
        async with (
            open_event_log(self._url) as log,
            contextlib.aclosing(log.follow(start=start)) as events,
        ):
            async for logged in events:
                yield logged


class BrokerDeadLetters:
    """The dead-letter queues over a connection of its own for each use."""

    def __init__(self, url: str, publisher: Publisher) -> None:
        self._url = url
        self._publisher = publisher

    def open(
        self, queue: ConsumerQueue, *, window_size: int = WINDOW_SIZE
    ) -> AbstractAsyncContextManager[DeadLetterQueue | None]:
        """Work on one, if there is one."""
        return open_dead_letters(self._url, queue, window_size=window_size)

    async def give_back(
        self,
        queue: ConsumerQueue,
        message: DeadMessage,
        *,
        body: bytes | None = None,
        event_type: str | None = None,
        message_id: str | None = None,
    ) -> None:
        """Publish a copy to the consumer.

        Raises:
            BrokerUnavailable: the consumer's queue has not confirmed it.
        """
        try:
            await give_back(
                self._publisher, queue, message, body=body, event_type=event_type, message_id=message_id
            )
        except Unroutable as error:
            raise BrokerUnavailable(
                f"The queue {queue.name} is not declared, so nothing can be given back to it: start its "
                "service, then try again."
            ) from error


def assemble(database: Database, link: BrokerLink, broker: BrokerSettings) -> Operations:
    """The use-cases on open servers.

    Args:
        database: its role reads inboxes, and writes audit and replays.
        link: for publishing.
        broker: the same broker, for reading, and the event log's bounds.
    """
    rabbitmq_url = broker.rabbitmq_url.get_secret_value()
    consumers = Consumers(topology.consumer_queues())
    publisher, log, inboxes = Publisher(link), BrokerLog(rabbitmq_url), InboxStore(database)
    audit = Audit(AuditStore(database))
    return Operations(
        events=Events(log, inboxes),
        retention=Retention(log, broker),
        replays=Replays(
            consumers=consumers,
            log=log,
            inboxes=inboxes,
            kept=ReplayStore(database),
            publisher=publisher,
            audit=audit,
        ),
        dead_letters=DeadLetters(
            consumers=consumers, queues=BrokerDeadLetters(rabbitmq_url, publisher), audit=audit
        ),
        audit=audit,
    )


@contextlib.asynccontextmanager
async def open_operations(database_url: str, broker: BrokerSettings) -> AsyncIterator[Operations]:
    """Connect to the servers, and disconnect at the end. The broker is connected to when it is needed.

    Raises:
        DatabaseUnavailable: the database can't be reached.
        ConfigurationError: its user may not take the role of operations.
    """
    database = Database(database_url, name="operations", role=ROLE, size=3)
    await database.open()
    link = BrokerLink(broker.rabbitmq_url.get_secret_value(), name="operations publisher")
    try:
        yield assemble(database, link, broker)
    finally:
        await link.close()
        await database.close()
