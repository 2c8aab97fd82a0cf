"""Operators' tokens: what they are good for, how they are written, and what wrong ones lead to."""

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel, ValidationError

from jettythunder.http import CurrentOperator, OperatorRoute, ReadingRoute
from jettythunder.http.operators import MetricsRoute, OperatorAccess
from jettythunder.http.problems import answer_problems
from jettythunder.operators import UNNAMED, OperatorToken, OperatorTokens, Scope

GIVEN = (
    "prometheus:metrics:read:scrape, alice:ops:read+ops:write:first, alice:ops:read+ops:write:second, "
    "eve:ops:read:look"
)


class Given(BaseModel):
    """A setting with tokens."""

    jettythunder_environment: str = "test"
    tokens: OperatorTokens


def tokens(given: str) -> tuple[OperatorToken, ...]:
    return Given.model_validate({"tokens": given}).tokens


class Service:
    """A service with calls of all kinds, and a clock that is set."""

    def __init__(self) -> None:
        self.now = 0.0
        self.app = FastAPI()
        self.app.state.operator_access = OperatorAccess(tokens(GIVEN), clock=lambda: self.now)
        answer_problems(self.app)
        for path, route in (("", OperatorRoute), ("/looks", ReadingRoute), ("/metrics", MetricsRoute)):
            router = APIRouter(route_class=route)
            router.add_api_route(path or "/work", self.name_of, methods=["GET", "POST"])
            self.app.include_router(router)

    async def name_of(self, operator: CurrentOperator) -> str:
        return operator.name

    async def call(self, call: str, token: str | None, *, address: str = "192.0.2.1") -> httpx.Response:
        method, path = call.split()
        transport = httpx.ASGITransport(self.app, client=(address, 5))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            return await client.request(method, path, headers=headers)


@pytest.mark.parametrize(
    ("token", "admitted"),
    [
        ("scrape", {"GET /metrics"}),
        ("look", {"GET /work", "GET /looks", "POST /looks"}),
        ("first", {"GET /work", "POST /work", "GET /looks", "POST /looks"}),
        ("second", {"GET /work", "POST /work", "GET /looks", "POST /looks"}),
    ],
)
async def test_a_token_is_good_for_its_scopes(token: str, admitted: set[str]) -> None:
    service = Service()
    calls = ("GET /work", "POST /work", "GET /looks", "POST /looks", "GET /metrics")
    answers = {call: await service.call(call, token) for call in calls}
    assert {call for call, answer in answers.items() if answer.status_code == 200} == admitted
    refused = [answer for answer in answers.values() if answer.status_code != 200]
    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {
        (403, "insufficient_scope")
    }


async def test_a_refusal_names_the_scope_that_is_missing() -> None:
    answer = await Service().call("POST /work", "look")
    assert answer.json()["detail"] == "The token eve lacks the scope ops:write, which this call needs."
    assert answer.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="ops:write"'


async def test_a_handler_knows_whose_token_it_is() -> None:
    service = Service()
    assert [(await service.call("GET /work", token)).json() for token in ("first", "second", "look")] == [
        "alice",
        "alice",
        "eve",
    ]


async def test_a_missing_or_wrong_token_is_refused() -> None:
    service = Service()
    assert [(await service.call("GET /work", token)).status_code for token in (None, "wrong")] == [401, 401]


async def guess(service: Service, times: int) -> list[int]:
    return [(await service.call("GET /work", f"guess-{n}")).status_code for n in range(times)]


async def test_guesses_of_an_address_are_limited_for_a_minute() -> None:
    service = Service()
    assert await guess(service, 21) == [401] * 20 + [429]
    refused = await service.call("GET /work", "look")
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert refused.headers["retry-after"] == "60"
    assert (await service.call("GET /work", "look", address="192.0.2.2")).status_code == 200
    service.now = 61
    assert (await service.call("GET /work", "look")).status_code == 200


async def test_a_token_that_came_from_an_address_before_is_admitted_whatever_comes_from_there() -> None:
    service = Service()
    assert (await service.call("GET /metrics", "scrape")).status_code == 200
    await guess(service, 30)
    assert (await service.call("GET /metrics", "scrape")).status_code == 200
    assert (await service.call("GET /work", "look")).status_code == 429


async def test_calls_without_a_token_are_no_guesses() -> None:
    service = Service()
    for _ in range(30):
        assert (await service.call("GET /work", None)).status_code == 401
    assert (await service.call("GET /work", "look")).status_code == 200


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("hunter2", "name:scope"),
        ("alice:hunter2", "name:scope"),
        ("al ice:ops:read:hunter2", "name:scope"),
        ("alice:ops:admin:hunter2", "scopes of alice must be of metrics:read, ops:read, ops:write"),
        ("alice:ops:read:hunter2,bob:ops:read:hunter2", "the same token occurs twice"),
        (",".join(f"alice:ops:read:hunter2{n}" for n in range(3)), "alice has more than two tokens"),
    ],
)
def test_tokens_of_another_form_are_refused_and_not_shown(given: str, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence) as refused:
        tokens(given)
    assert not any("hunter2" in str(problem["msg"]) for problem in refused.value.errors())


def test_the_token_without_a_name_is_good_for_everything() -> None:
    assert UNNAMED.scopes == set(Scope)


def test_a_note_stands_beside_the_token_s_name() -> None:
    assert (UNNAMED.signed(None), UNNAMED.signed("bob@host")) == ("operator", "operator (bob@host)")
