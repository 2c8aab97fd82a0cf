"""What edges answer as errors, for edges that are not written in Python."""

import json
from pathlib import Path
from typing import Any

import pytest

from jettythunder.errors import restored

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "edge_problems.json").read_text(encoding="utf-8")
)["problems"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["code"])
def test_the_vectors_are_the_errors_of_the_services(vector: dict[str, Any]) -> None:
    import storage_gateway.errors  # noqa: F401 - their errors are found by their codes

    error = restored(vector["code"], "", status=0, retryable=False)
    title = (type(error).__doc__ or "").strip()
    assert vector == {
        "code": error.code,
        "status": error.status,
        "retryable": error.retryable,
        "title": title,
    }
