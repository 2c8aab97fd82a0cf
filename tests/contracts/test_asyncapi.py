"""The AsyncAPI document is whole, current, and says what the services really do."""

from __future__ import annotations

import ast
import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.contracts.compatibility import changes_of_document
from tests.contracts.published import SCHEMAS

from jettythunder.broker import topology
from jettythunder.broker.asyncapi import build_document, describe, installed_routers, payload_types
from jettythunder.contracts.assets import AssetStoredV1

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = build_document()
PUBLISHED = {path.stem: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}


def references(node: Any) -> Iterator[str]:
    """Every $ref below a node."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def resolve(reference: str) -> Any:
    """What a reference points to; KeyError where it is nothing."""
    node: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        node = node[step]
    return node


def payloads_made_in(folder: Path) -> set[str]:
    """The names of contracts that a service's code makes instances of."""
    names = {payload.__name__ for payload in payload_types()}
    calls = (
        node.func
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    )
    return {call.id for call in calls if isinstance(call, ast.Name) and call.id in names}


def test_every_reference_leads_somewhere() -> None:
    found = set(references(DOCUMENT))
    assert found
    for reference in found:
        assert resolve(reference) is not None


def test_the_document_has_what_asyncapi_3_requires() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= DOCUMENT["info"].keys()
    for channel in DOCUMENT["channels"].values():
        assert "address" in channel
        assert channel["messages"]
    for name, operation in DOCUMENT["operations"].items():
        assert operation["action"] in ("send", "receive"), name
        # An operation's messages are references into its own channel.
        for message in operation["messages"]:
            assert message["$ref"].startswith(f"{operation['channel']['$ref']}/messages/"), name


@pytest.mark.parametrize("queue", topology.consumer_queues(), ids=lambda queue: queue.name)
def test_whatever_is_received_is_sent_by_somebody(queue: topology.ConsumerQueue) -> None:
    sent = {
        payload
        for service in topology.installed_services()
        for payloads in service.sent.values()
        for payload in payloads
    }
    assert set(queue.payloads) <= sent


@pytest.mark.parametrize("queue", topology.consumer_queues(), ids=lambda queue: queue.name)
def test_every_message_of_a_queue_has_a_handler(queue: topology.ConsumerQueue) -> None:
    [message] = DOCUMENT["channels"][queue.name]["messages"].values()
    payload = resolve(message["$ref"])["payload"]
    handled = {reference.rpartition("/")[2] for reference in references(payload)}
    assert handled == {f"{payload.__name__}Envelope" for payload in queue.payloads}


@pytest.mark.parametrize("service", topology.installed_services(), ids=lambda messages: messages.service)
def test_a_service_sends_what_it_is_said_to_send(service: topology.ServiceMessages) -> None:
    said = {payload.__name__ for payload in service.sends}
    assert payloads_made_in(REPOSITORY / "services" / service.service) == said


def test_a_command_is_answered_on_the_queue_that_its_caller_names() -> None:
    reply = DOCUMENT["operations"]["provisioning.commands"]["reply"]
    assert reply["address"] == {"location": "$message.header#/reply_to"}
    answers = {reference["$ref"].rpartition("/")[2] for reference in reply["messages"]}
    assert answers == {"AccountReply", "Denied"}


def test_an_envelope_names_its_type() -> None:
    envelope = DOCUMENT["components"]["schemas"]["UserSignedUpV1Envelope"]
    assert envelope["properties"]["type"]["const"] == "agentcache.user.signed_up.v1"


def test_the_committed_document_is_current() -> None:
    committed = yaml.safe_load((REPOSITORY / "docs" / "asyncapi.yaml").read_text())
    assert committed == DOCUMENT, "write it anew with `make asyncapi`"


def test_the_document_breaks_nobody() -> None:
    assert changes_of_document(PUBLISHED, DOCUMENT) == []


def test_a_field_that_is_taken_away_is_found() -> None:
    changed = copy.deepcopy(DOCUMENT)
    del changed["components"]["schemas"]["AssetDeletedV1"]["properties"]["reason"]
    assert changes_of_document(PUBLISHED, changed) == [
        "jettythunder.asset.deleted.v1: reason was removed or renamed"
    ]


def test_a_message_that_nobody_sends_any_more_is_found() -> None:
    services = topology.installed_services()
    fewer = [
        replace(service, sends=[payload for payload in service.sends if payload is not AssetStoredV1])
        for service in services
    ]
    assert changes_of_document(PUBLISHED, describe(fewer, installed_routers())) == [
        "jettythunder.asset.stored.v1 was withdrawn"
    ]
