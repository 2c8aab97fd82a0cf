"""Schemas of the kinds that manifests use. They refuse wrong types and fields that the kind does not have."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema_rs

from jettythunder_dev.layout import REPOSITORY
from jettythunder_dev.manifests.documents import Document, named

FILE = REPOSITORY / "deploy/kubernetes/schemas.json"


def violations(document: Document) -> Iterator[str]:
    """A sentence for each place where an object is not as its kind's schema says."""
    kind = kind_of(document)
    if kind not in _schemas()["kinds"]:
        yield f"{named(document)}: there is no schema for {kind}: add it to vendoring.py, and run it."
        return
    for error in _validator(kind).iter_errors(document):
        place = ".".join(map(str, error.instance_path)) or "the object"
        yield f"{named(document)}: {place}: {error.message}"


def kind_of(document: Document) -> str:
    """What the schemas' file calls an object's kind."""
    return f"{document.get('apiVersion')} {document.get('kind')}"


@cache
def _schemas() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return read


@cache
def _validator(kind: str) -> jsonschema_rs.Draft7Validator:
    schemas = _schemas()
    return jsonschema_rs.Draft7Validator(
        {"allOf": [schemas["kinds"][kind]], "definitions": schemas["definitions"]}
    )
