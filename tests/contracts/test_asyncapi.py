"""The AsyncAPI document is whole, current, and says what the services really do."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from jettythunder.broker import topology
from jettythunder.broker.asyncapi import build_document, payload_types

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = build_document()


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
    assert set(queue.payloads) <= {payload for sent in topology.SENDERS.values() for payload in sent}


@pytest.mark.parametrize("service", ["provisioning", "storage-gateway", "chunk-worker", "usage-meter"])
def test_a_service_sends_what_it_is_said_to_send(service: str) -> None:
    said = {payload.__name__ for payload in topology.SENDERS[service]}
    assert payloads_made_in(REPOSITORY / "services" / service) == said


def test_the_committed_document_is_current() -> None:
    committed = yaml.safe_load((REPOSITORY / "docs" / "asyncapi.yaml").read_text())
    assert committed == DOCUMENT, "write it anew with `make asyncapi`"
