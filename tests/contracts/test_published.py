"""What is published stays: old messages are still read, and new code still writes what old code reads."""

from __future__ import annotations

import json

import pytest
from tests.contracts.compatibility import breaking_changes
from tests.contracts.published import GOLDEN, SCHEMAS, golden_file, schema_file, schema_of

from jettythunder.broker.asyncapi import payload_types
from jettythunder.contracts.envelope import Event, Payload

PAYLOADS = payload_types()
WRITE = "write it with `python -m tests.contracts.published`"


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: payload.TYPE)
def test_a_published_message_is_read_and_written_as_ever(payload: type[Payload]) -> None:
    path = golden_file(payload)
    assert path.exists(), f"{path.name} is missing: {WRITE}"
    published = json.loads(path.read_text())
    event = Event[payload].model_validate(published)  # type: ignore[valid-type]
    assert json.loads(event.encode()) == published


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: payload.TYPE)
def test_a_published_version_has_no_breaking_change(payload: type[Payload]) -> None:
    path = schema_file(payload)
    assert path.exists(), f"{path.name} is missing: {WRITE}"
    changes = breaking_changes(json.loads(path.read_text()), schema_of(payload))
    assert changes == [], f"{payload.TYPE} is published: make a new version instead"


def test_no_published_version_was_withdrawn() -> None:
    known = {payload.TYPE for payload in PAYLOADS}
    assert {path.stem for folder in (GOLDEN, SCHEMAS) for path in folder.glob("*.json")} == known
