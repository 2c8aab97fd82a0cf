"""Dead letters: look at them, try them again, mend them, or discard them with a reason.

Guarantees given here: a dead letter leaves its queue only after the consumer's queue has confirmed its copy,
or, for a discarded one, after the reason is committed to the audit. Looking takes nothing out: messages are
consumed without acknowledgement on a connection of their own, and go back to their places at its end, also
when this process dies. One look at a queue at a time, so nobody sees half of it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import uuid4

import aio_pika
import aiormq.exceptions
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from pydantic import BaseModel, ConfigDict, model_validator

from jettythunder import topology
from jettythunder.broker import consumer as headers_of
from jettythunder.broker.connection import CONNECTION_ERRORS
from jettythunder.broker.publisher import Publisher
from jettythunder.contracts.envelope import Event
from jettythunder.errors import (
    BrokerUnavailable,
    ConsumerNotFound,
    DeadLetterNotFound,
    DeadLettersBusy,
)
from jettythunder.operations.audit import Audit
from jettythunder.operations.pacing import Pace
from jettythunder.topology import ConsumerQueue

_TAKE_SECONDS = 60.0
_BUSY_ATTEMPTS = 50
_BUSY_WAIT_SECONDS = 0.1
# So many ids of discarded or retried messages are kept in the audit; the count is always exact.
_AUDITED_IDS = 1000


class DeadLetter(BaseModel):
    """A message that its consumer could not process, and why."""

    model_config = ConfigDict(frozen=True)

    consumer: str
    message_id: str
    type: str
    error_type: str
    error_code: str
    error_message: str
    fingerprint: str
    attempts: int
    first_failed_at: datetime | None
    last_failed_at: datetime | None
    body: str


class DeadLetterGroup(BaseModel):
    """Dead letters of one consumer that failed in the same way at the same place."""

    consumer: str
    error_type: str
    error_code: str
    fingerprint: str
    count: int = 0
    types: dict[str, int] = {}
    error_message: str = ""
    example_id: str = ""
    oldest_at: datetime | None = None
    newest_at: datetime | None = None


class Selection(BaseModel):
    """Which dead letters are meant: those that fulfil all that is given, or all there are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    consumer: str | None = None
    ids: tuple[str, ...] = ()
    error_type: str | None = None
    fingerprint: str | None = None
    type: str | None = None
    everything: bool = False

    @model_validator(mode="after")
    def _says_which(self) -> "Selection":
        narrowed = self.consumer or self.ids or self.error_type or self.fingerprint or self.type
        if bool(narrowed) == self.everything:
            raise ValueError("say which dead letters, by consumer, id, error, fingerprint or type; or all")
        return self

    def takes(self, letter: DeadLetter) -> bool:
        """Whether the dead letter is meant."""
        return (
            self.consumer in (None, letter.consumer)
            and (not self.ids or letter.message_id in self.ids)
            and self.error_type in (None, letter.error_type)
            and self.fingerprint in (None, letter.fingerprint)
            and self.type in (None, letter.type)
        )


Deal = Callable[[list[AbstractIncomingMessage]], Awaitable[None]]
Progress = Callable[[int], None]


class DeadLetters:
    """Works on the dead-letter queues."""

    def __init__(self, url: str, publisher: Publisher, audit: Audit) -> None:
        self._url = url
        self._publisher = publisher
        self._audit = audit

    async def groups(self, consumer: str | None = None) -> list[DeadLetterGroup]:
        """The dead letters by consumer, exception and fingerprint; the largest groups first."""
        groups: dict[tuple[str, str, str], DeadLetterGroup] = {}
        for letter in await self.all(consumer):
            _count(groups, letter)
        return sorted(groups.values(), key=lambda group: (-group.count, group.consumer, group.fingerprint))

    async def all(self, consumer: str | None = None) -> list[DeadLetter]:
        """All dead letters there are, in each queue's order.

        Raises:
            ConsumerNotFound: there is no consumer of that name.
            DeadLettersBusy: somebody else works on one of the queues.
        """
        letters: list[DeadLetter] = []
        for queue in _queues(consumer):
            async with self._look(queue) as messages:
                letters += [_read(queue, message) for message in messages]
        return letters

    async def fetch(self, message_id: str, *, consumer: str | None = None) -> DeadLetter:
        """One dead letter.

        Raises:
            DeadLetterNotFound: there is none of that id.
        """
        for queue in _queues(consumer):
            async with self._look(queue) as messages:
                for message in messages:
                    if message.message_id == message_id:
                        return _read(queue, message)
        raise DeadLetterNotFound

    async def retry(
        self,
        selection: Selection,
        *,
        who: str,
        rate: float | None = None,
        on_progress: Progress = lambda _: None,
    ) -> int:
        """Give dead letters back to their consumer, with a clean slate; how many were.

        Raises:
            DeadLettersBusy: somebody else works on one of the queues.
        """
        return await self._settle_all(
            "retry", selection, self._give_back, who=who, rate=rate, on_progress=on_progress
        )

    async def discard(self, selection: Selection, *, why: str, who: str) -> int:
        """Take dead letters away for good; how many were.

        Raises:
            DeadLettersBusy: somebody else works on one of the queues.
        """
        return await self._settle_all("discard", selection, None, who=who, why=why)

    async def edit_and_retry(
        self, message_id: str, body: str, *, who: str, consumer: str | None = None
    ) -> DeadLetter:
        """Give a dead letter back to its consumer with another body; what it was before.

        Raises:
            MalformedEvent: the new body is not an event that the consumer takes; nothing was changed.
            DeadLetterNotFound: there is none of that id.
        """
        for queue in _queues(consumer):
            async with self._look(queue) as messages:
                for message in messages:
                    if message.message_id == message_id:
                        await self._give_back_edited(queue, message, body, who=who)
                        return _read(queue, message)
        raise DeadLetterNotFound

    async def _give_back_edited(
        self, queue: ConsumerQueue, message: AbstractIncomingMessage, body: str, *, who: str
    ) -> None:
        edited = decode_for(queue, body)
        before = message.body.decode(errors="replace")
        wanted = {"consumer": queue.name, "id": message.message_id, "before": before, "after": body}
        async with self._audit.entry(who=who, action="dead-letters edit-and-retry", wanted=wanted) as result:
            await self._publish(
                queue, message, body=body.encode(), event_type=edited.type, message_id=str(edited.id)
            )
            await message.ack()
            result["retried"] = 1

    async def _settle_all(
        self,
        action: str,
        selection: Selection,
        deal: Callable[[ConsumerQueue, AbstractIncomingMessage], Awaitable[None]] | None,
        *,
        who: str,
        rate: float | None = None,
        why: str | None = None,
        on_progress: Progress = lambda _: None,
    ) -> int:
        wanted = selection.model_dump(mode="json", exclude_defaults=True)
        if why is not None:
            wanted["why"] = why
        pace = Pace(rate)
        ids: list[str] = []
        async with self._audit.entry(who=who, action=f"dead-letters {action}", wanted=wanted) as result:
            for queue in _queues(selection.consumer):
                async with self._look(queue) as messages:
                    meant = [message for message in messages if selection.takes(_read(queue, message))]
                    for begin in range(0, len(meant), pace.batch_size):
                        batch = meant[begin : begin + pace.batch_size]
                        if deal is not None:
                            await asyncio.gather(*(deal(queue, message) for message in batch))
                        for message in batch:
                            await message.ack()
                        ids += [message.message_id or "" for message in batch]
                        result.update({"count": len(ids), "ids": ids[:_AUDITED_IDS]})
                        on_progress(len(ids))
                        await pace.did(len(batch))
            result.update({"count": len(ids), "ids": ids[:_AUDITED_IDS]})
        return len(ids)

    async def _give_back(self, queue: ConsumerQueue, message: AbstractIncomingMessage) -> None:
        await self._publish(
            queue,
            message,
            body=message.body,
            event_type=message.type or "",
            message_id=message.message_id or "",
        )

    async def _publish(
        self,
        queue: ConsumerQueue,
        message: AbstractIncomingMessage,
        *,
        body: bytes,
        event_type: str,
        message_id: str,
    ) -> None:
        await self._publisher.publish(
            body,
            exchange=queue.replay_exchange,
            routing_key=event_type,
            event_type=event_type,
            message_id=message_id,
            headers=_clean(message.headers),
            reply_to=message.reply_to,
            correlation_id=message.correlation_id,
            content_type=message.content_type or "",
        )

    @contextlib.asynccontextmanager
    async def _look(self, queue: ConsumerQueue) -> AsyncIterator[list[AbstractIncomingMessage]]:
        """All dead letters of a consumer, in their order; what is not acknowledged inside goes back."""
        async with _open_alone(self._url, queue) as channel:
            try:
                async with asyncio.timeout(_TAKE_SECONDS):
                    taken = await _take_all(channel, queue)
            except CONNECTION_ERRORS as error:
                raise BrokerUnavailable from error
            try:
                yield taken
            finally:
                with contextlib.suppress(*CONNECTION_ERRORS):
                    await _put_back(channel)


@contextlib.asynccontextmanager
async def _open_alone(url: str, queue: ConsumerQueue) -> AsyncIterator[AbstractChannel]:
    """A channel while nobody else looks at this queue: an exclusive queue of the connection is the lock.

    Quorum queues let any number of consumers in, also those that ask to be alone.

    Raises:
        DeadLettersBusy: somebody else looks.
        BrokerUnavailable: the broker can't be reached.
    """
    try:
        async with asyncio.timeout(5):
            connection = await aio_pika.connect(url, client_properties={"connection_name": "dead letters"})
    except CONNECTION_ERRORS as error:
        raise BrokerUnavailable from error
    async with connection:
        for _ in range(_BUSY_ATTEMPTS):
            channel = await connection.channel(publisher_confirms=True)
            try:
                await channel.declare_queue(
                    f"{queue.dead_letter_queue}.lock", exclusive=True, auto_delete=True
                )
            except aiormq.exceptions.ChannelLockedResource:
                await asyncio.sleep(_BUSY_WAIT_SECONDS)
            else:
                yield channel
                return
    raise DeadLettersBusy


async def _take_all(channel: AbstractChannel, queue: ConsumerQueue) -> list[AbstractIncomingMessage]:
    arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
    dead = await channel.declare_queue(queue.dead_letter_queue, passive=True)
    # Written when nobody else holds messages back, the fence comes after everything there is.
    fence = aio_pika.Message(b"", type=topology.DEAD_LETTER_FENCE, message_id=uuid4().hex)
    await channel.default_exchange.publish(fence, queue.dead_letter_queue)
    await dead.consume(arrived.put)
    taken: list[AbstractIncomingMessage] = []
    while True:
        message = await arrived.get()
        if message.type != topology.DEAD_LETTER_FENCE:
            taken.append(message)
            continue
        await message.ack()
        # One with another id is what a look that died has left.
        if message.message_id == fence.message_id:
            return taken


async def _put_back(channel: AbstractChannel) -> None:
    # Said rather than left to the closing channel, so that the next to look finds everything in its place.
    underlay = await channel.get_underlay_channel()
    await underlay.basic_nack(0, multiple=True, requeue=True)
    await channel.close()


def decode_for(queue: ConsumerQueue, body: str) -> Event[Any]:
    """The event in a body, as the consumer would decode it.

    Raises:
        MalformedEvent: it is none that the consumer takes.
    """
    routes = headers_of.Routes[None](queue)
    for payload in queue.payloads:
        routes.add(payload, lambda _: None)
    event, _ = routes.decode(body.encode())
    return event


def _queues(consumer: str | None) -> tuple[ConsumerQueue, ...]:
    if consumer is None:
        return topology.CONSUMER_QUEUES
    queue = topology.consumer_queue(consumer)
    if queue is None:
        known = ", ".join(queue.name for queue in topology.CONSUMER_QUEUES)
        raise ConsumerNotFound(f"There is no consumer {consumer[:100]!r}. The consumers are: {known}.")
    return (queue,)


def _read(queue: ConsumerQueue, message: AbstractIncomingMessage) -> DeadLetter:
    given: dict[str, Any] = dict(message.headers)
    by_broker = _dropped_by_broker(given)
    kind = str(given.get(headers_of.ERROR_TYPE) or f"broker.{by_broker.get('reason', 'unknown')}")
    return DeadLetter(
        consumer=queue.name,
        message_id=message.message_id or "",
        type=message.type or "",
        error_type=kind,
        error_code=str(given.get(headers_of.ERROR_CODE) or by_broker.get("reason", "unknown")),
        error_message=str(given.get(headers_of.ERROR_MESSAGE) or "The broker gave the message up."),
        fingerprint=str(given.get(headers_of.FINGERPRINT) or kind),
        attempts=int(str(given.get(headers_of.ATTEMPTS) or 0)),
        first_failed_at=_moment(given.get(headers_of.FIRST_FAILED_AT) or by_broker.get("time")),
        last_failed_at=_moment(given.get(headers_of.LAST_FAILED_AT) or by_broker.get("time")),
        body=message.body.decode(errors="replace"),
    )


def _dropped_by_broker(headers: dict[str, Any]) -> dict[str, Any]:
    """What the broker noted where it gave the message up itself, after too many deliveries for instance."""
    deaths = headers.get("x-death")
    return deaths[0] if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict) else {}


def _moment(given: object) -> datetime | None:
    if isinstance(given, datetime):
        return given
    try:
        return datetime.fromisoformat(str(given)) if given else None
    except ValueError:
        return None


def _clean(headers: dict[str, Any]) -> dict[str, Any]:
    """The headers as the publisher gave them, so that attempts are counted from the beginning."""
    return {name: value for name, value in headers.items() if not name.startswith(_ADDED)}


_ADDED = ("x-jt-attempts", "x-jt-first-failed-at", "x-jt-last-failed-at", "x-jt-error-", "x-jt-fingerprint",
          "x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count")  # fmt: skip


def _count(groups: dict[tuple[str, str, str], DeadLetterGroup], letter: DeadLetter) -> None:
    key = letter.consumer, letter.error_type, letter.fingerprint
    group = groups.setdefault(
        key,
        DeadLetterGroup(
            consumer=letter.consumer,
            error_type=letter.error_type,
            error_code=letter.error_code,
            fingerprint=letter.fingerprint,
            error_message=letter.error_message,
            example_id=letter.message_id,
        ),
    )
    group.count += 1
    group.types[letter.type] = group.types.get(letter.type, 0) + 1
    if letter.first_failed_at is not None:
        group.oldest_at = min(group.oldest_at or letter.first_failed_at, letter.first_failed_at)
    if letter.last_failed_at is not None:
        group.newest_at = max(group.newest_at or letter.last_failed_at, letter.last_failed_at)
