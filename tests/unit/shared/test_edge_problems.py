"""What edges answer as errors, for edges that are not written in Python."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chunk_worker import errors as _chunk_worker_errors  # noqa: F401 - found among the kinds of errors
from jettythunder.errors import JettyThunderError
from storage_gateway import errors as _storage_gateway_errors  # noqa: F401 - found among the kinds of errors

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "edge_problems.json").read_text(encoding="utf-8")
)["problems"]


def kinds(of: type[JettyThunderError] = JettyThunderError) -> Iterator[type[JettyThunderError]]:
    """All errors that have a code of their own."""
    if "code" in vars(of):
        yield of
    for kind in of.__subclasses__():
        yield from kinds(kind)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["code"])
def test_the_vectors_are_the_errors_of_the_services(vector: dict[str, Any]) -> None:
    [kind] = [kind for kind in kinds() if kind.code == vector["code"]]
    assert vector == {
        "code": kind.code,
        "status": kind.status,
        "retryable": kind.retryable,
        "title": (kind.__doc__ or "").strip(),
    }
