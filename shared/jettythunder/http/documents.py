"""What OpenAPI says about an application: each operation lists every problem that it may answer.

Handlers, their dependencies and checks of credentials are marked with the errors they raise; what follows
from the form of an operation, such as a body that may be malformed, is added here.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.encoders import jsonable_encoder
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from fastapi.security.base import SecurityBase

from jettythunder.errors import (
    BadRequest,
    BrokerUnavailable,
    DatabaseConflict,
    DatabaseTimedOut,
    DatabaseUnavailable,
    InvalidField,
    JettyThunderError,
    NotFound,
    PayloadTooLarge,
    UploadTimedOut,
)
from jettythunder.http.problems import PROBLEM, Problem

Kind = type[JettyThunderError]
Marked = TypeVar("Marked", bound=Callable[..., object])

# What any call may come to that needs the servers behind a service.
OF_SERVERS: Final = (BrokerUnavailable, DatabaseConflict, DatabaseTimedOut, DatabaseUnavailable)

_OF_BODIES: Final = (BadRequest, InvalidField, PayloadTooLarge, UploadTimedOut)
_MARK, _CREDENTIALS = "raises", "credentials"
_HEADERS: Final = {
    401: ("WWW-Authenticate", "How to authenticate", {"type": "string"}),
    429: ("Retry-After", "Seconds to wait", {"type": "integer", "minimum": 1}),
    503: ("Retry-After", "Seconds to wait", {"type": "integer", "minimum": 1}),
}


def raises(*kinds: Kind) -> Callable[[Marked], Marked]:
    """Mark a handler, a dependency or a check with the errors that its callers may see."""

    def mark(function: Marked) -> Marked:
        setattr(function, _MARK, kinds)
        return function

    return mark


def wants(*schemes: SecurityBase) -> Callable[[Marked], Marked]:
    """Mark a handler or a check with the credentials that it wants, all of them together.

    A dependency would say the same, and be solved for each request besides.
    """

    def mark(function: Marked) -> Marked:
        setattr(function, _CREDENTIALS, schemes)
        return function

    return mark


class DescribedAPI(FastAPI):
    """An application whose OpenAPI document lists the problems of each operation."""

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            for context in iter_route_contexts(self.routes):
                if isinstance(context.original_route, APIRoute) and context.include_in_schema:
                    for method in context.methods or ():
                        _describe(document["paths"][context.path_format][method.lower()], context)
                    for scheme in _credentials(context):
                        described = jsonable_encoder(scheme.model, by_alias=True, exclude_none=True)
                        components = document.setdefault("components", {})
                        components.setdefault("securitySchemes", {})[scheme.scheme_name] = described
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schemas["Problem"] = Problem.model_json_schema()
            # FastAPI's own, which no operation answers.
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
        assert self.openapi_schema is not None  # noqa: S101 - super().openapi() has set it
        return self.openapi_schema


def _describe(operation: dict[str, Any], context: RouteContext) -> None:
    by_status: dict[int, set[Kind]] = defaultdict(set)
    places = {parameter["in"] for parameter in operation.get("parameters", ())}
    for kind in _kinds(context, places):
        by_status[kind.status].add(kind)
    operation["responses"].pop("422", None)
    for status, kinds in sorted(by_status.items()):
        operation["responses"][str(status)] = _response(status, kinds)
    wanted: list[dict[str, Any]] = [{scheme.scheme_name: []} for scheme in _credentials(context)]
    if security := [*operation.get("security", ()), *wanted]:
        operation["security"] = _all_together(security)


def _kinds(context: RouteContext, places: set[str]) -> Iterator[Kind]:
    yield JettyThunderError
    if context.body_field is not None:
        yield from _OF_BODIES
    if places:
        yield InvalidField
    if "path" in places:
        # Of a value that can't stand in a path.
        yield NotFound
    yield from _marks(getattr(context.original_route, "check", None))
    for call in _calls(context.dependant):
        yield from _marks(call)


def _credentials(context: RouteContext) -> Iterator[SecurityBase]:
    for function in (getattr(context.original_route, "check", None), context.dependant.call):
        yield from getattr(function, _CREDENTIALS, ())


def _calls(dependant: Dependant) -> Iterator[object]:
    yield dependant.call
    for dependency in dependant.dependencies:
        yield from _calls(dependency)


def _marks(function: object) -> Iterable[Kind]:
    marked: Iterable[Kind] = getattr(function, _MARK, ())
    return marked


def _response(status: int, kinds: set[Kind]) -> dict[str, Any]:
    named = sorted(kinds, key=lambda kind: kind.code)
    response = {
        "description": "\n\n".join(f"`{kind.code}`: {(kind.__doc__ or '').strip()}" for kind in named),
        "content": {
            PROBLEM: {
                "schema": {
                    "allOf": [
                        {"$ref": "#/components/schemas/Problem"},
                        {
                            "properties": {
                                "status": {"const": status},
                                "code": {"enum": [kind.code for kind in named]},
                            }
                        },
                    ]
                }
            }
        },
    }
    if status in _HEADERS:
        name, description, schema = _HEADERS[status]
        response["headers"] = {name: {"description": description, "required": True, "schema": schema}}
    return response


def _all_together(alternatives: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One requirement of all credentials: FastAPI lists each dependency's as one that suffices alone.

    An empty alternative stays: the operation can do without.
    """
    together = {name: scopes for each in alternatives for name, scopes in each.items()}
    return [together, {}] if {} in alternatives else [together]
