"""The description of all messages: FastStream's AsyncAPI 3 document of every installed service.

FastStream describes the handlers from their annotations. What it does not carry is declared to it for the
description alone: messages that the outbox relay publishes, and queues that are consumed in batches. What it
can't say is added afterwards: replies, the server's address as a variable, and an order that stays.
"""

import json
import re
from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points
from typing import Any, TypeAlias, get_type_hints

from faststream.rabbit import RabbitBroker, RabbitRouter
from faststream.rabbit.subscriber import RabbitSubscriber
from faststream.specification import AsyncAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from jettythunder import __version__
from jettythunder.broker import topology
from jettythunder.broker.subscribers import consumes, described_exchange, of_type
from jettythunder.broker.topology import ConsumerQueue, ServiceMessages
from jettythunder.contracts.envelope import CONTENT_TYPE, Event, Payload
from jettythunder.contracts.replies import Denied

Document: TypeAlias = dict[str, Any]

HANDLERS = "jettythunder.handlers"

_DESCRIPTION = (
    "Events and commands of JettyThunder and AgentCache: CloudEvents 1.0 in structured mode over AMQP 0-9-1. "
    "Facts are in the past tense and go to topic exchanges; commands are imperative and go to a direct one. "
    "Delivery is at least once; the event's id tells repetitions."
)
_REPLIES = "replies"


def payload_types() -> list[type[Payload]]:
    """Every versioned message there is, by its type."""
    services = topology.installed_services()
    sent = {payload for service in services for payloads in service.sent.values() for payload in payloads}
    return sorted(sent, key=lambda payload: payload.TYPE)


def installed_routers() -> list[RabbitRouter]:
    """The routers with the handlers of every installed service."""
    return [router for point in entry_points(group=HANDLERS) for router in point.load()]


def build_document() -> Document:
    """The document of all installed services; the same code gives the same document."""
    return describe(topology.installed_services(), installed_routers())


def describe(services: Sequence[ServiceMessages], routers: Sequence[RabbitRouter]) -> Document:
    """The document of these services, ready to be written as JSON or YAML."""
    broker = RabbitBroker(routers=routers)
    handled = {subscriber.queue.name for subscriber in _subscribers(broker)}
    for service in services:
        for queue in service.queues:
            if queue.name not in handled:
                _describe_batches(broker, queue)
        for sender, payloads in service.sent.items():
            for payload in payloads:
                _describe_sending(broker, sender, payload, services)
    document = AsyncAPI(
        broker, title="JettyThunder messages", version=__version__, description=_DESCRIPTION
    ).to_specification()
    return _completed(_with_allowed_keys(document.to_jsonable()), dict(_replies(broker)))


def _subscribers(broker: RabbitBroker) -> list[RabbitSubscriber]:
    return [subscriber for subscriber in broker.subscribers if isinstance(subscriber, RabbitSubscriber)]


def _describe_batches(broker: RabbitBroker, queue: ConsumerQueue) -> None:
    subscriber = broker.subscriber(**consumes(queue, prefetch=1))
    for payload in queue.payloads:
        subscriber(_described_handler(payload), filter=of_type(payload))


def _described_handler(payload: type[Payload]) -> Any:
    envelope = Event[payload]  # type: ignore[valid-type]

    async def handler(event: envelope) -> None: ...

    handler.__name__, handler.__doc__ = payload.__name__, payload.__doc__
    return handler


def _describe_sending(
    broker: RabbitBroker, sender: str, payload: type[Payload], services: Sequence[ServiceMessages]
) -> None:
    broker.publisher(
        exchange=described_exchange(topology.exchange_of(payload, services)),
        routing_key=payload.TYPE,
        persist=True,
        title=f"{sender}.{payload.TYPE}",
        description=" ".join((payload.__doc__ or "").split()),
        schema=Event[payload],  # type: ignore[valid-type]
    )


def _replies(broker: RabbitBroker) -> Iterator[tuple[str, list[type[BaseModel]]]]:
    """What each queue's handlers answer with; a command is answered with its failure, too."""
    for subscriber in _subscribers(broker):
        returned = {
            get_type_hints(call.dependant.call).get("return") for call in subscriber.calls if call.dependant
        }
        models = [model for model in returned if isinstance(model, type) and issubclass(model, BaseModel)]
        if models and subscriber.exchange.name == topology.COMMANDS:
            models.append(Denied)
        if models:
            yield subscriber.queue.name, sorted(models, key=lambda model: model.__name__)


def _with_allowed_keys(document: Document) -> Document:
    # FastStream joins names with colons, which AsyncAPI does not allow in keys of components.
    renamed: Document = json.loads(re.sub(r":(\w*Message)\b", r".\1", json.dumps(document)))
    return renamed


def _completed(document: Document, replies: dict[str, list[type[BaseModel]]]) -> Document:
    document["defaultContentType"] = CONTENT_TYPE
    document["servers"] = {
        "rabbitmq": {
            "host": "{host}:5672",
            "protocol": "amqp",
            "protocolVersion": "0.9.1",
            "variables": {"host": {"default": "localhost", "description": "RABBITMQ_URL names it"}},
        }
    }
    for channel in document["channels"].values():
        channel["servers"] = [{"$ref": "#/servers/rabbitmq"}]
    models = sorted({model for answers in replies.values() for model in answers}, key=lambda m: m.__name__)
    _add_replies(document, models)
    for name, answers in replies.items():
        document["operations"][name]["reply"] = {
            "address": {"location": "$message.header#/reply_to"},
            "channel": {"$ref": f"#/channels/{_REPLIES}"},
            "messages": [{"$ref": f"#/channels/{_REPLIES}/messages/{model.__name__}"} for model in answers],
        }
    for part in (document["channels"], document["operations"], *document["components"].values()):
        items = sorted(part.items())
        part.clear()
        part.update(items)
    return document


def _add_replies(document: Document, models: Sequence[type[BaseModel]]) -> None:
    _, defined = models_json_schema(
        [(model, "serialization") for model in models], ref_template="#/components/schemas/{model}"
    )
    document["components"]["schemas"].update(defined.get("$defs", {}))
    for model in models:
        document["components"]["messages"][model.__name__] = {
            "name": model.__name__,
            "summary": " ".join((model.__doc__ or "").split()),
            "contentType": "application/json",
            "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
        }
    document["channels"][_REPLIES] = {
        "address": None,
        "description": "The caller's private queue, which reply_to names: RabbitMQ's direct reply-to, or one "
        "that begins with `agentcache.replies.`. Replies may carry secrets and go nowhere else.",
        "messages": {model.__name__: {"$ref": f"#/components/messages/{model.__name__}"} for model in models},
    }
