"""A refusal that this machine's clock explains says so."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from email.utils import formatdate

import aiohttp
import pytest
from aiohttp import web

from jettythunder_client.budget import Budget
from jettythunder_client.clock import span_text
from jettythunder_client.engine import Engine
from jettythunder_client.errors import ApiError, ClientError, ClockSkewed
from jettythunder_client.problems import raise_problem
from jettythunder_client.rate_limit import RateLimit
from jettythunder_client.scheduler import Attempt, Limits

TOO_SKEWED = "<Error><Code>RequestTimeTooSkewed</Code><Message>too large</Message></Error>"
EXPIRED = "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
LINK_EXPIRED = '{"code": "link_expired", "detail": "The link has expired."}'
WRONG_SECRET = '{"code": "unauthenticated", "detail": "No."}'


@pytest.fixture
async def answered() -> AsyncIterator[Callable[..., object]]:
    """The error that an answer is raised as, of a server whose clock is behind by so many seconds."""

    async def answer(request: web.Request) -> web.Response:
        date = {"Date": formatdate(time.time() - float(request.query["behind"]), usegmt=True)}
        return web.Response(text=request.query["text"], status=int(request.query["status"]), headers=date)

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]

    async def error_of(text: str, *, behind: float, status: int = 403) -> ClientError:
        query = {"text": text, "behind": str(behind), "status": str(status)}
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}", params=query) as got:
            with pytest.raises(ClientError) as refused:
                await raise_problem(got)
        return refused.value

    yield error_of
    await runner.cleanup()


@pytest.mark.parametrize("text", [TOO_SKEWED, EXPIRED, LINK_EXPIRED])
@pytest.mark.parametrize(("behind", "words"), [(432, "7 min 1"), (-7300, "2 h 1 min behind")])
async def test_how_far_the_clock_is_off_is_said(answered, text: str, behind: float, words: str) -> None:  # type: ignore[no-untyped-def]
    error = await answered(text, behind=behind)
    assert (error.code, error.retryable) == ("clock_skewed", False)
    assert words in error.detail
    assert "NTP" in error.detail
    assert error.extra["clock_ahead_seconds"] == pytest.approx(behind, abs=3)


@pytest.mark.parametrize(
    ("text", "behind", "status"),
    [(LINK_EXPIRED, 60, 403), (WRONG_SECRET, 9000, 401), (EXPIRED, 10, 403), (LINK_EXPIRED, 9000, 503)],
)
async def test_other_refusals_stay_what_they_are(answered, text: str, behind: float, status: int) -> None:  # type: ignore[no-untyped-def]
    assert isinstance(await answered(text, behind=behind, status=status), ApiError)


async def test_what_the_storage_says_for_certain_needs_no_date(answered) -> None:  # type: ignore[no-untyped-def]
    assert (await answered(TOO_SKEWED, behind=0)).code == "clock_skewed"


@pytest.mark.parametrize(
    ("seconds", "text"), [(125, "2 min 5 s"), (7200, "2 h"), (93_784, "1 d 2 h"), (0.2, "")]
)
def test_spans_have_two_units(seconds: float, text: str) -> None:
    assert span_text(seconds) == text


def engine_of(refusals: int) -> Engine:
    left = [ClockSkewed("off")] * refusals

    async def transfer(_: Attempt, moved: Callable[[int], None]) -> None:
        if left:
            raise left.pop()
        moved(10)

    return Engine(
        transfer,
        chunks={1: 10},
        latencies={"edge": 0.001},
        regions={},
        limits=Limits(max_parallel=1),
        budget=Budget(1, RateLimit()),
        total_bytes=10,
        stall_seconds=30,
        observe=lambda _: None,
    )


async def test_a_token_that_was_believed_too_long_is_asked_for_again() -> None:
    assert (await engine_of(2).run()).transferred_bytes == 10


async def test_an_upload_that_the_clock_prevents_ends_with_that_error() -> None:
    with pytest.raises(ClockSkewed):
        await engine_of(1000).run()
