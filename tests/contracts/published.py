"""The published messages as files: an example and the schema of every version.

`python -m tests.contracts.published` writes the files of types that have none. It never changes one: what is
published stays as it is, and a breaking change is a new version.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

from pydantic import AwareDatetime
from pydantic.fields import FieldInfo

from jettythunder.broker.asyncapi import payload_types
from jettythunder.contracts.envelope import Event, Payload

GOLDEN = Path(__file__).with_name("golden")
SCHEMAS = Path(__file__).with_name("schemas")

_MOMENT = datetime(2030, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)


def golden_file(payload: type[Payload]) -> Path:
    """The example of a version, as it travels."""
    return GOLDEN / f"{payload.TYPE}.json"


def schema_file(payload: type[Payload]) -> Path:
    """The schema of a version's data, as it was published."""
    return SCHEMAS / f"{payload.TYPE}.json"


def schema_of(payload: type[Payload]) -> dict[str, Any]:
    """The schema of a version's data, as the code has it."""
    return payload.model_json_schema()


def write_missing() -> list[Path]:
    """Write the files that are not there; which they are."""
    written = []
    for payload in payload_types():
        example = json.loads(_example(payload).encode())
        for path, content in (
            (golden_file(payload), example),
            (schema_file(payload), schema_of(payload)),
        ):
            if not path.exists():
                path.parent.mkdir(exist_ok=True)
                path.write_text(json.dumps(content, indent=2) + "\n")
                written.append(path)
    return written


def _example(payload: type[Payload]) -> Event[Payload]:
    data = payload.model_validate({name: _value(name, field) for name, field in payload.model_fields.items()})
    return Event[Payload](
        id=UUID(int=1),
        source="/example",
        type=payload.TYPE,
        subject=data.about,
        time=_MOMENT,
        correlationid="0af7651916cd43dd8448eb211c80319c",
        causationid=str(UUID(int=2)),
        data=data,
    )


def _value(name: str, field: FieldInfo) -> object:
    if field.examples:
        return field.examples[0]
    kinds = [kind for kind in (get_args(field.annotation) or (field.annotation,)) if kind is not type(None)]
    by_kind: dict[object, object] = {
        UUID: UUID(int=len(name)),
        int: 42,
        float: 1.5,
        bool: True,
        str: name,
        datetime: _MOMENT,
        AwareDatetime: _MOMENT,
    }
    return by_kind[kinds[0]]


if __name__ == "__main__":
    for path in write_missing():
        print(f"Wrote {path}.")
