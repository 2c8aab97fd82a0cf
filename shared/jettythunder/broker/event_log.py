"""Reading the event log: the stream queue that keeps what both event exchanges carry.

Guarantees given here: a bounded read ends at a fence that this reader wrote itself, so it has seen everything
that was in the log when it began; reading takes nothing out of the log and is invisible to consumers.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, TypeAlias, cast
from uuid import uuid4

import aio_pika
from aio_pika.abc import AbstractChannel
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jettythunder.broker import topology
from jettythunder.broker.connection import CONNECTION_ERRORS, connected
from jettythunder.contracts.envelope import RawEvent
from jettythunder.errors import BrokerUnavailable
from jettythunder.ids import time_of
from jettythunder.inputs import Moment

# Where to begin: the log's first event, the last chunk of events, the next to come, an offset, or a moment.
Offset: TypeAlias = str | int | datetime

_PREFETCH = 1000
# A stream with nothing for us sends nothing; a bounded read always gets its fence, so silence is a failure.
_SILENCE_SECONDS = 30.0
# Events are logged after they happened, but the clocks of publishers and broker may differ.
_CLOCK_MARGIN = timedelta(hours=1)
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


class EventFilter(BaseModel):
    """Which events are wanted; what is not set takes any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    types: tuple[str, ...] = Field(default=(), description="Types, or patterns such as `*.upload.*`")
    account: str | None = Field(default=None, description="The account's id, in the event's data")
    subject: str | None = None
    correlation_id: str | None = None
    ids: tuple[str, ...] = ()
    since: Moment | None = Field(default=None, description="The event's own time, inclusive")
    until: Moment | None = Field(default=None, description="The event's own time, exclusive")

    def takes(self, event: RawEvent) -> bool:
        """Whether the event is wanted."""
        return (
            (not self.types or any(fnmatchcase(event.type, pattern) for pattern in self.types))
            and (self.account is None or self.account in _accounts(event))
            and self.subject in (None, event.subject)
            and self.correlation_id in (None, event.correlation)
            and (not self.ids or str(event.id) in self.ids)
            and (self.since is None or event.time >= self.since)
            and (self.until is None or event.time < self.until)
        )

    def takes_logged(self, logged: "LoggedEvent") -> bool:
        """As :meth:`takes`; what can't be decoded is wanted only where everything is."""
        return self == EventFilter() if logged.event is None else self.takes(logged.event)

    @property
    def begin(self) -> Offset:
        """The latest place in the log that lies before everything wanted.

        An account has no events from before the time in its id.
        """
        account_made_at = time_of(self.account) if self.account is not None else None
        moments = [moment for moment in (self.since, account_made_at) if moment is not None]
        return place_before(max(moments)) if moments else "first"


@dataclass(frozen=True)
class LoggedEvent:
    """A message of the log, as it was published."""

    offset: int
    exchange: str
    routing_key: str
    message_id: str
    content_type: str
    body: bytes

    @cached_property
    def event(self) -> RawEvent | None:
        """The event in it, decoded when it is asked for; None where it can't be decoded."""
        try:
            return RawEvent.model_validate_json(self.body)
        except ValidationError:
            return None


def place_before(moment: datetime) -> Offset:
    """A place in the log that lies before the events of a moment, by their own time."""
    # AMQP has no times before 1970.
    return moment - _CLOCK_MARGIN if moment > _EARLIEST + _CLOCK_MARGIN else "first"


class EventLog:
    """An open connection to the log. Make one with :func:`open_event_log`."""

    def __init__(self, connection: aio_pika.abc.AbstractConnection) -> None:
        self._connection = connection

    async def end(self) -> int:
        """The offset right after the newest event.

        Found by writing a fence and reading it back: the count that the broker declares lags for seconds.

        Raises:
            BrokerUnavailable: the log does not answer.
        """
        fence = uuid4().hex
        async with (
            self._channel() as channel,
            _messages(channel, "next", silence_seconds=_SILENCE_SECONDS) as messages,
        ):
            # Written when the reader is in its place: one that came later could miss it for newer events.
            await _write_fence(channel, fence)
            async for message in messages:
                if message.header.properties.message_id == fence:
                    return _offset(message)
        raise BrokerUnavailable

    async def read(
        self, *, start: Offset = "first", end_offset: int | None = None
    ) -> AsyncGenerator[LoggedEvent, None]:
        """The events from ``start`` to ``end_offset`` (exclusive), by default to the log's end as of now.

        Raises:
            BrokerUnavailable: the broker was lost.
        """
        end = await self.end() if end_offset is None else end_offset
        if isinstance(start, int) and start >= end:
            return
        if isinstance(start, datetime) and start > datetime.now(UTC):
            return
        async with self._channel() as channel:
            # Where the end was found earlier, newer events prove that it was passed; where there are none,
            # this fence does.
            await _write_fence(channel, uuid4().hex)
            async with _messages(channel, start, silence_seconds=_SILENCE_SECONDS) as messages:
                async for message in messages:
                    offset = _offset(message)
                    if offset >= end:
                        return
                    if message.header.properties.message_type != topology.LOG_PROBE:
                        yield _logged(message, offset)

    async def follow(self, *, start: Offset = "next") -> AsyncGenerator[LoggedEvent, None]:
        """The events from ``start`` on, and then those to come, for as long as the caller listens.

        Raises:
            BrokerUnavailable: the broker was lost.
        """
        async with (
            self._channel() as channel,
            _messages(channel, start, silence_seconds=None) as messages,
        ):
            async for message in messages:
                if message.header.properties.message_type != topology.LOG_PROBE:
                    yield _logged(message, _offset(message))

    @contextlib.asynccontextmanager
    async def _channel(self) -> AsyncIterator[AbstractChannel]:
        try:
            async with await self._connection.channel(publisher_confirms=True) as channel:
                yield channel
        except CONNECTION_ERRORS as error:
            raise BrokerUnavailable from error


@contextlib.asynccontextmanager
async def open_event_log(url: str) -> AsyncIterator[EventLog]:
    """Connect to the log, and disconnect at the end.

    Raises:
        BrokerUnavailable: the broker can't be reached within five seconds.
    """
    async with connected(url, name="event log") as connection:
        yield EventLog(connection)


async def _write_fence(channel: AbstractChannel, fence: str) -> None:
    probes = await channel.get_exchange(topology.LOG_PROBES, ensure=False)
    await probes.publish(aio_pika.Message(b"", type=topology.LOG_PROBE, message_id=fence), "", timeout=5)


@contextlib.asynccontextmanager
async def _messages(
    channel: AbstractChannel, start: Offset, *, silence_seconds: float | None
) -> AsyncIterator[AsyncIterator[DeliveredMessage]]:
    """What the stream delivers. A log is read by the million, so the AMQP client is spoken to directly."""
    underlay = cast("Channel", await channel.get_underlay_channel())
    await underlay.basic_qos(prefetch_count=_PREFETCH)
    arriving = _Arriving(underlay)
    channel.close_callbacks.add(lambda *_: arriving.end())
    arguments: dict[str, Any] = {"x-stream-offset": start}
    consuming = await underlay.basic_consume(topology.EVENT_LOG, arriving.take, arguments=arguments)
    try:
        yield arriving.messages(silence_seconds=silence_seconds)
    finally:
        with contextlib.suppress(*CONNECTION_ERRORS):
            await underlay.basic_cancel(str(consuming.consumer_tag), timeout=5)


class _Arriving:
    """Messages between the stream's consumer and who reads them."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._arrived: list[DeliveredMessage] = []
        self._changed = asyncio.Event()
        self._ended = False

    async def take(self, message: DeliveredMessage) -> None:
        """One has arrived."""
        self._arrived.append(message)
        self._changed.set()

    def end(self) -> None:
        """None will come any more."""
        self._ended = True
        self._changed.set()

    async def messages(self, *, silence_seconds: float | None) -> AsyncIterator[DeliveredMessage]:
        """The messages in their order.

        Raises:
            BrokerUnavailable: the channel was closed.
            TimeoutError: none came for so long.
        """
        unacknowledged = 0
        while True:
            async with asyncio.timeout(silence_seconds):
                await self._changed.wait()
            arrived, self._arrived = self._arrived, []
            self._changed.clear()
            for message in arrived:
                yield message
                # Acknowledging is only the stream's way to ask for more, so half a window at a time will do.
                unacknowledged += 1
                if unacknowledged >= _PREFETCH // 2:
                    await self._channel.basic_ack(message.delivery_tag or 0, multiple=True)
                    unacknowledged = 0
            if self._ended:
                raise BrokerUnavailable


def _offset(message: DeliveredMessage) -> int:
    return int(str((message.header.properties.headers or {})["x-stream-offset"]))


def _logged(message: DeliveredMessage, offset: int) -> LoggedEvent:
    properties = message.header.properties
    return LoggedEvent(
        offset=offset,
        exchange=message.exchange or "",
        routing_key=message.routing_key or "",
        message_id=properties.message_id or "",
        content_type=properties.content_type or "",
        body=message.body,
    )


def _accounts(event: RawEvent) -> set[str | None]:
    data = event.data if isinstance(event.data, dict) else {}
    return {event.subject, str(data.get("account_id"))}
