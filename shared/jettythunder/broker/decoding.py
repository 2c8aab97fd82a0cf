"""From a message to the event in it, or to the reason why there is none."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from jettythunder.broker.properties import UNDECODABLE
from jettythunder.broker.topology import ConsumerQueue
from jettythunder.contracts.envelope import AnyPayload, Event
from jettythunder.errors import MalformedEvent, UnknownEventType


def decode(queue: ConsumerQueue, body: bytes, *, routing_key: str, headers: Mapping[str, Any]) -> Event[Any]:
    """The event in a message that this queue delivered.

    Raises:
        MalformedEvent: it has none, or one that was published under another type.
        UnknownEventType: the queue is bound to its type, and this version of the service does not know it.
    """
    if UNDECODABLE in headers:
        raise MalformedEvent(f"Properties that are not valid AMQP: {str(headers[UNDECODABLE])[:100]}")
    payload = queue.payload_of.get(routing_key)
    if payload is not None:
        # What was published as such is read at once, without looking for its type first.
        try:
            event = _event_of(payload).model_validate_json(body)
        except ValidationError:
            event = None
        if event is not None and event.type == routing_key:
            return event
    raw = _envelope(body)
    event_type: str = raw["type"]
    payload = queue.payload_of.get(event_type)
    # What comes back from a wait queue, or by hand, is addressed to the queue itself.
    is_published_as_such = routing_key in (event_type, queue.name)
    if payload is not None and is_published_as_such:
        return _parse(payload, raw)
    if payload is not None:
        raise MalformedEvent(f"Its type {event_type[:100]!r} is not its routing key.")
    told = f"{queue.name} takes no messages of type {event_type[:100]!r}."
    raise UnknownEventType(told) if is_published_as_such else MalformedEvent(told)


def decode_by_hand(queue: ConsumerQueue, body: str) -> Event[Any]:
    """The event in a body that somebody wrote for this queue's consumer.

    Raises:
        MalformedEvent: it is none that the consumer takes.
    """
    try:
        return decode(queue, body.encode(), routing_key=queue.name, headers={})
    except UnknownEventType as error:
        raise MalformedEvent(error.detail) from None


def places(error: ValidationError) -> str:
    """Where values are wrong and how. The values are left out: a malformed message may hold anything."""
    return ", ".join(".".join(map(str, each["loc"])) + ": " + each["type"] for each in error.errors()[:5])


def _envelope(body: bytes) -> dict[str, Any]:
    try:
        raw = from_json(body)
    except ValueError:
        raise MalformedEvent("Not a CloudEvent: no JSON") from None
    if not isinstance(raw, dict) or not isinstance(raw.get("type"), str):
        raise MalformedEvent("Not a CloudEvent: it has no type")
    return raw


@cache
def _event_of(payload: type[AnyPayload]) -> type[Event[AnyPayload]]:
    return Event[payload]  # type: ignore[valid-type]


def _parse(payload: type[AnyPayload], raw: dict[str, Any]) -> Event[AnyPayload]:
    try:
        return _event_of(payload).model_validate(raw)
    except ValidationError as error:
        raise MalformedEvent(f"Not a CloudEvent of a known type and version: {places(error)}") from None
