"""No value of any parameter of any call makes a service fail: it is taken, or refused as documented."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.conformance.apis import APIS, Api, headers_for
from tests.support.infrastructure import Services

EXAMPLES = 150
MANY_EXAMPLES = 5_000

TIMES = [
    "0001-01-01T00:00:00+14:00",
    "0001-01-01T00:00:00Z",
    "0445-07-01T12:00:00Z",
    "1969-12-31T23:59:59Z",
    "1970-01-01T00:30:00Z",
    "9999-12-31T23:59:59.999999-14:00",
    "9999-12-31T23:59:59Z",
    "+99999-01-01T00:00:00Z",
    "2030-02-30T00:00:00Z",
    "2030-01-01",
    "2030-01-01T00:00:00+23:59",
]
INTEGERS = [-(2**63) - 1, -(2**63), -1, 0, 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, 10**40, 10**4000]
IDS = ["00000000-0000-0000-0000-000000000000", "f" * 32, "{" + "0" * 32 + "}", "urn:uuid:" + "0" * 32]
TEXTS = [
    "",
    " ",
    "\0",
    "a\0b",
    "\ud800",
    "\udfff\ud800",
    "\u202e\u200b",
    "\uffff\U0010ffff",
    "%00%ff",
    "'; --",
    "{}[]$\\",
    "..",
    "\r\n",
    "é" * 300,
    "x" * 5000,
    "null",
    "NaN",
    "-Infinity",
    "1e400",
    "true",
]


def _cursor(place: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


texts = st.sampled_from(TEXTS + TIMES + IDS) | st.text(max_size=40) | st.sampled_from(INTEGERS).map(str)
cursors = st.tuples(texts, texts).map(list).map(_cursor) | st.binary(max_size=40).map(
    lambda raw: base64.urlsafe_b64encode(raw).decode()
)
values = st.recursive(
    texts
    | st.sampled_from(INTEGERS)
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.none()
    | st.binary(max_size=20).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@dataclass(frozen=True)
class Call:
    """A call of an API, and how its parameters are described."""

    method: str
    path: str
    parameters: tuple[dict[str, Any], ...]
    body: dict[str, Any] | None
    answers: Mapping[str, Any]


@dataclass(frozen=True)
class Described:
    """An API as its document says, with what a valid request of it would name."""

    http: httpx.Client
    calls: list[Call]
    schemas: Mapping[str, Any]
    known: Mapping[str, Any]

    def resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        name = schema.get("$ref", "").rpartition("/")[2]
        found: Mapping[str, Any] = self.schemas[name] if name else schema
        return found

    def codes(self, call: Call, status: int) -> list[str]:
        """The codes that the document lists for an answer."""
        [content] = call.answers[str(status)]["content"].values()
        codes: list[str] = content["schema"]["allOf"][1]["properties"]["code"]["enum"]
        return codes


@pytest.fixture(params=APIS)
def described(
    services: Services, access: dict[str, str], request: pytest.FixtureRequest
) -> Iterator[Described]:
    name = request.param
    api = APIS[name]
    with httpx.Client(
        base_url=services.urls[api.service], headers=headers_for(name, access), timeout=60, trust_env=False
    ) as http:
        document = http.get("/openapi.json").json()
        known = {
            "upload_id": access["CHUNK_UPLOAD_ID"],
            "number": 1,
            "account": access["ACCOUNT_ID"],
            "asset_id": access["ASSET_ID"],
            "X-Operator": "test",
            "tier": "pro",
            "to": "storage-gateway.events",
            "resource": "storage",
            "wait_seconds": 0,
        }
        yield Described(http, list(_calls(document, api)), document["components"]["schemas"], known)


def _calls(document: Mapping[str, Any], api: Api) -> Iterator[Call]:
    for path, methods in document["paths"].items():
        if not api.has(path):
            continue
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            parameters = tuple(operation.get("parameters", ()))
            if parameters or "application/json" in content:
                body = content.get("application/json", {}).get("schema")
                yield Call(method.upper(), path, parameters, body, operation["responses"])


def a_usual_value(described: Described, name: str, schema: Mapping[str, Any]) -> Any:
    schema = described.resolved(schema)
    if name in described.known:
        return described.known[name]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return a_usual_value(described, name, schema["anyOf"][0])
    match schema.get("type"):
        case "integer" | "number":
            return max(1, schema.get("minimum", 1))
        case "boolean":
            return False
        case "array":
            return [a_usual_value(described, name, schema.get("items", {}))]
        case "object":
            fields = schema.get("properties", {})
            return {field: a_usual_value(described, field, of) for field, of in fields.items()}
        case _:
            return {"uuid": IDS[0], "date-time": "2026-01-01T00:00:00Z"}.get(schema.get("format", ""), "text")


def send(described: Described, call: Call, data: st.DataObject) -> httpx.Response:
    """A call with a few hostile values among usual ones."""
    path, query, headers, body = call.path, [], {}, None
    for parameter in call.parameters:
        name, place = parameter["name"], parameter["in"]
        choice = data.draw(st.sampled_from(["usual", "hostile"] + ["none"] * (place == "query")), label=name)
        if choice == "none":
            continue
        value = a_usual_value(described, name, parameter["schema"])
        if choice == "hostile":
            value = data.draw(texts | cursors if name == "cursor" else texts, label=f"{name} is")
        text = str(value)
        if place == "path":
            path = path.replace(f"{{{name}}}", _escaped(text) or "-")
        elif place == "query":
            query.append(f"{name}={_escaped(text)}")
        else:
            # What a header can't hold never leaves a client.
            printable = "".join(c for c in text if c.isprintable()).encode("latin-1", "ignore")
            headers[name] = printable.strip()
    if call.body is not None:
        body = a_usual_value(described, "", call.body)
        for name in data.draw(st.sets(st.sampled_from(sorted(body))), label="hostile fields"):
            body[name] = data.draw(values, label=name)
    # The type matters only where there is a body.
    content = None if body is None else json.dumps(body).encode()
    headers["Content-Type"] = b"application/json"
    return described.http.request(call.method, f"{path}?{'&'.join(query)}", headers=headers, content=content)


def _escaped(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


def check(described: Described, data: st.DataObject) -> None:
    call = data.draw(st.sampled_from(described.calls), label="call")
    answer = send(described, call, data)
    assert answer.status_code < 500, answer.text
    assert str(answer.status_code) in call.answers, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] in described.codes(call, answer.status_code)


@pytest.mark.timeout(600)
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_a_hostile_value_is_taken_or_refused(described: Described, data: st.DataObject) -> None:
    check(described, data)


@pytest.mark.deep
@pytest.mark.timeout(3600)
@settings(max_examples=MANY_EXAMPLES, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_hostile_value_is_taken_or_refused_however_many(described: Described, data: st.DataObject) -> None:
    check(described, data)
