"""The caller of operators' APIs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from tests.unit.operators.conftest import Service

from jettythunder_client.errors import ApiError, Unreachable
from jettythunder_operators.api import NoOperatorsToken, OperatorsApi


async def called(url: str, work: Callable[[OperatorsApi], Any]) -> Any:
    """Do something with the API, in a thread: it is not asynchronous, and the service runs in this loop."""

    def in_thread() -> Any:
        with OperatorsApi(url, "secret", url_variable="SERVICE_URL") as api:
            return work(api)

    return await asyncio.to_thread(in_thread)


async def test_a_call_has_query_and_body_and_exact_figures(service: Service) -> None:
    service.answer("POST /prices", {"usd": 1.5})
    answer = await called(
        service.url, lambda api: api.call("POST", "/prices", query={"a": 1, "b": None}, body={"c": [2]})
    )
    assert answer == {"usd": Decimal("1.5")}
    assert service.asked == [("POST /prices", {"a": "1"}, {"c": [2]})]


async def test_pages_are_read_to_the_last(service: Service) -> None:
    service.answer("GET /accounts", {"accounts": [{"id": 3}], "next_cursor": None})
    service.answer(
        "GET /accounts?page_size=500&tier=pro", {"accounts": [{"id": 1}, {"id": 2}], "next_cursor": "x"}
    )
    found = await called(
        service.url, lambda api: list(api.pages("/accounts", "accounts", query={"tier": "pro"}))
    )
    assert [row["id"] for row in found] == [1, 2, 3]
    assert [query.get("cursor") for _, query, _ in service.asked] == [None, "x"]


async def test_lines_are_read_one_by_one(service: Service) -> None:
    service.answer_lines("GET /report", {"n": 1}, {"n": 2, "long": "x" * 1_000_000}, {"n": 3})
    found = await called(service.url, lambda api: [line["n"] for line in api.lines("GET", "/report")])
    assert found == [1, 2, 3]


async def test_lines_may_be_left_unread(service: Service) -> None:
    service.answer_lines("GET /report", *({"n": n} for n in range(1000)))
    assert await called(service.url, lambda api: next(api.lines("GET", "/report"))) == {"n": 0}


async def test_a_problem_is_the_frame_s_error(service: Service) -> None:
    problem = {"code": "account_not_found", "detail": "No such account.", "retryable": False, "status": 404}
    service.answer("GET /a", problem, status=404)
    for work in (lambda api: api.call("GET", "/a"), lambda api: list(api.lines("GET", "/a"))):
        with pytest.raises(ApiError, match="No such account") as refused:
            await called(service.url, work)
        assert (refused.value.code, refused.value.status) == ("account_not_found", 404)


async def test_the_token_follows_no_redirect(service: Service) -> None:
    service.answer("GET /a", None, status=307, Location="http://127.0.0.1:9/a")
    with pytest.raises(ApiError, match="redirects to"):
        await called(service.url, lambda api: api.call("GET", "/a"))


async def test_a_service_that_does_not_answer_is_named_with_its_variable() -> None:
    with pytest.raises(Unreachable, match=r"Nothing answers at http://127\.0\.0\.1:9 .* SERVICE_URL"):
        await called("http://127.0.0.1:9", lambda api: api.call("GET", "/a"))


async def test_an_answer_that_is_no_json_is_not_ours(service: Service) -> None:
    service.answer_lines("GET /a", {"a": 1}, {"b": 2})
    with pytest.raises(Unreachable, match="did not answer as JettyThunder does"):
        await called(service.url, lambda api: api.call("GET", "/a"))


def test_without_a_token_nothing_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JETTYTHUNDER_OPS_TOKEN", raising=False)
    with pytest.raises(NoOperatorsToken, match="JETTYTHUNDER_OPS_TOKEN"):
        OperatorsApi("http://127.0.0.1:9", url_variable="SERVICE_URL")
