"""The description of all messages between services, generated from the contracts and the topology.

AsyncAPI 3.0 (https://www.asyncapi.com/docs/reference/specification/v3.0.0): a channel for each routing key,
an operation for each service that sends or receives on it.
"""

from collections.abc import Iterator
from typing import Any, TypeAlias

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from jettythunder import __version__, topology
from jettythunder.contracts import accounts, uploads
from jettythunder.contracts.envelope import CONTENT_TYPE, Payload, RawEvent
from jettythunder.contracts.replies import Denied

Document: TypeAlias = dict[str, Any]

_REF = "#/components/schemas/{model}"
_EXCHANGE_TYPES = {topology.COMMANDS: "direct"}
_REPLIES: dict[type[Payload], tuple[type[BaseModel], ...]] = {
    accounts.ProvisionAccountV1: (accounts.AccountReply, Denied),
    accounts.ChangeTierV1: (accounts.AccountReply, Denied),
    accounts.RotateCredentialsV1: (accounts.AccountReply, Denied),
    uploads.UploadChunkV1: (uploads.ChunkStored, Denied),
}


def payload_types() -> list[type[Payload]]:
    """Every versioned message there is, by its type."""
    sent = {payload for payloads in topology.SENDERS.values() for payload in payloads}
    return sorted(sent, key=lambda payload: payload.TYPE)


def build_document() -> Document:
    """The whole document, ready to be written as JSON or YAML; the same code gives the same document."""
    payloads = payload_types()
    replies = sorted({model for models in _REPLIES.values() for model in models}, key=lambda m: m.__name__)
    models: list[type[BaseModel]] = [*payloads, *replies, RawEvent]
    _, defined = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    schemas = defined["$defs"]
    schemas["CloudEvent"] = schemas.pop(RawEvent.__name__)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "JettyThunder messages",
            "version": __version__,
            "description": "Events and commands of JettyThunder and AgentCache: CloudEvents 1.0 in "
            "structured mode over AMQP 0-9-1. Facts are in the past tense and go to topic exchanges; "
            "commands are imperative and go to a direct one. Delivery is at least once; the event's id "
            "tells repetitions.",
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {
            "rabbitmq": {
                "host": "{host}:5672",
                "protocol": "amqp",
                "protocolVersion": "0.9.1",
                "variables": {"host": {"default": "localhost", "description": "RABBITMQ_URL names it"}},
            }
        },
        "channels": {
            **{payload.__name__: _channel(payload) for payload in payloads},
            "Replies": _reply_channel(replies),
        },
        "operations": dict(_operations()),
        "components": {
            "messages": {
                **{payload.__name__: _message(payload) for payload in payloads},
                **{reply.__name__: _reply(reply) for reply in replies},
            },
            "schemas": dict(sorted(schemas.items())),
        },
    }


def _channel(payload: type[Payload]) -> Document:
    exchange = topology.exchange_of(payload)
    return {
        "address": payload.TYPE,
        "messages": {payload.__name__: {"$ref": f"#/components/messages/{payload.__name__}"}},
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {
                    "name": exchange,
                    "type": _EXCHANGE_TYPES.get(exchange, "topic"),
                    "durable": True,
                    "vhost": "/",
                },
                "bindingVersion": "0.3.0",
            }
        },
    }


def _reply_channel(replies: list[type[BaseModel]]) -> Document:
    return {
        "address": None,
        "description": "The caller's private queue, which reply_to names. Replies may carry secrets and go "
        "nowhere else.",
        "messages": {
            reply.__name__: {"$ref": f"#/components/messages/{reply.__name__}"} for reply in replies
        },
    }


def _operations() -> Iterator[tuple[str, Document]]:
    for service, sent in topology.SENDERS.items():
        for payload in sent:
            yield f"{service}-sends-{payload.__name__}", _operation("send", service, payload)
    for queue in topology.CONSUMER_QUEUES:
        for payload in queue.payloads:
            name = f"{queue.name.replace('.', '-')}-receives-{payload.__name__}"
            operation = _operation("receive", queue.service, payload)
            operation["bindings"] = {"amqp": {"ack": True, "bindingVersion": "0.3.0"}}
            operation["description"] = f"Queue `{queue.name}`."
            yield name, operation


def _operation(action: str, service: str, payload: type[Payload]) -> Document:
    channel = f"#/channels/{payload.__name__}"
    operation: Document = {
        "action": action,
        "channel": {"$ref": channel},
        "summary": _summary(payload),
        "tags": [{"name": service}],
        "messages": [{"$ref": f"{channel}/messages/{payload.__name__}"}],
    }
    replies = _REPLIES.get(payload)
    if replies is not None:
        operation["reply"] = {
            "address": {"location": "$message.header#/reply_to"},
            "channel": {"$ref": "#/channels/Replies"},
            "messages": [{"$ref": f"#/channels/Replies/messages/{reply.__name__}"} for reply in replies],
        }
    return operation


def _message(payload: type[Payload]) -> Document:
    return {
        "name": payload.TYPE,
        "title": payload.__name__,
        "summary": _summary(payload),
        "contentType": CONTENT_TYPE,
        "payload": {
            "allOf": [
                {"$ref": _REF.format(model="CloudEvent")},
                {
                    "type": "object",
                    "required": ["data"],
                    "properties": {
                        "type": {"const": payload.TYPE},
                        "data": {"$ref": _REF.format(model=payload.__name__)},
                    },
                },
            ]
        },
    }


def _reply(model: type[BaseModel]) -> Document:
    return {
        "name": model.__name__,
        "title": model.__name__,
        "summary": _summary(model),
        "contentType": "application/json",
        "payload": {"$ref": _REF.format(model=model.__name__)},
    }


def _summary(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or model.__name__).split())
