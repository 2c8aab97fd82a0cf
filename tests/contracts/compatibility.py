"""What in a new schema of a published message would break those who know the old one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

# Said about a field, not of its values.
_WORDS = frozenset({"title", "description", "default", "examples"})


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """One sentence for each change that a publisher or a consumer of the old version does not expect."""
    return [*_of_fields(old, new), *_of_definitions(old, new)]


def _of_fields(old: Schema, new: Schema) -> Iterator[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    was_required, is_required = set(old.get("required", ())), set(new.get("required", ()))
    for name in before:
        if name not in after:
            yield f"{name} was removed or renamed"
        elif _values(before[name]) != _values(after[name]):
            yield f"{name} takes other values: {_values(before[name])} became {_values(after[name])}"
    for name in sorted(is_required - was_required):
        yield f"{name} is required now, and older publishers don't send it"
    for name in sorted((was_required - is_required) & set(after)):
        yield f"{name} may be missing now, and older consumers need it"


def _of_definitions(old: Schema, new: Schema) -> Iterator[str]:
    for name, definition in old.get("$defs", {}).items():
        for change in breaking_changes(definition, new.get("$defs", {}).get(name, {})):
            yield f"{name}: {change}"


def _values(field: Schema) -> Schema:
    return {key: value for key, value in field.items() if key not in _WORDS}


def changes_of_document(published: dict[str, Schema], document: Schema) -> list[str]:
    """What in an AsyncAPI document would break those who know the published data of each type."""
    schemas = document["components"]["schemas"]
    channels = document["channels"].values()
    channels = document["channels"].values()
    sent = {channel["address"] for channel in channels if "exchange" in _amqp_binding(channel)}
    data_of = {
        schema["properties"]["type"]["const"]: schemas[_name(schema["properties"]["data"]["$ref"])]
        for schema in schemas.values()
        if "const" in schema.get("properties", {}).get("type", {})
    }
    changes = []
    for event_type, known in published.items():
        if event_type not in sent or event_type not in data_of:
            changes.append(f"{event_type} was withdrawn")
        else:
            changes += [f"{event_type}: {change}" for change in breaking_changes(known, data_of[event_type])]
    return changes


def _amqp_binding(channel: Schema) -> Schema:
    binding: Schema = channel.get("bindings", {}).get("amqp", {})
    return binding


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]
