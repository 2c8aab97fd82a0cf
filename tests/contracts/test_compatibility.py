"""The check for breaking changes knows one when it sees one."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, Field, create_model
from tests.contracts.compatibility import breaking_changes


class Published(BaseModel):
    """The version that others know."""

    size_bytes: int = Field(description="in bytes")
    name: str | None = None


def changed(**fields: object) -> type[BaseModel]:
    """The same with other fields."""
    return create_model("Published", **fields)  # type: ignore[call-overload, no-any-return]


NAME = (str | None, None)


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (changed(name=NAME), "size_bytes was removed"),
        (changed(length_bytes=(int, ...), name=NAME), "size_bytes was removed"),
        (changed(size_bytes=(str, ...), name=NAME), "size_bytes takes other values"),
        (changed(size_bytes=(int, Field(ge=1)), name=NAME), "size_bytes takes other values"),
        (changed(size_bytes=(int, ...), name=(str | None, ...)), "name is required now"),
        (changed(size_bytes=(int, ...), name=NAME, tier=(str, ...)), "tier is required now"),
        (changed(size_bytes=(int, 0), name=NAME), "size_bytes may be missing now"),
    ],
    ids=["removed", "renamed", "retyped", "narrowed", "made required", "added required", "made optional"],
)
def test_a_breaking_change_is_found(new: type[BaseModel], expected: str) -> None:
    changes = breaking_changes(Published.model_json_schema(), new.model_json_schema())
    assert any(change.startswith(expected) for change in changes), changes


@pytest.mark.parametrize(
    "new",
    [
        changed(size_bytes=(int, ...), name=NAME, tier=(str | None, None)),
        changed(size_bytes=(int, Field(description="how large")), name=NAME),
    ],
    ids=["optional field added", "described otherwise"],
)
def test_a_harmless_change_passes(new: type[BaseModel]) -> None:
    assert breaking_changes(Published.model_json_schema(), new.model_json_schema()) == []
