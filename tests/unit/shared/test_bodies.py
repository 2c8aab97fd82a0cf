"""Bodies of requests: their limit, and answers that come before their end."""

import asyncio
import gc
import tracemalloc
from collections.abc import Iterable

import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tests.support.virtual_time import now, run_virtually

from jettythunder.errors import PayloadTooLarge
from jettythunder.http.bodies import BodyLimit, EarlyAnswers
from jettythunder.http.problems import answer_problems

MEGABYTE = 1_000_000


class Client:
    """A client that sends these blocks, and then hangs or has ended its body.

    What happens is kept in order: ``read`` for each block that is read, and the parts of the answer.
    """

    def __init__(
        self,
        blocks: Iterable[bytes] = (),
        *,
        hangs: bool = False,
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        self.blocks = list(blocks)
        self.hangs = hangs
        self.headers = list(headers)
        self.happened: list[str] = []
        self.answer: list[Message] = []

    @property
    def scope(self) -> Scope:
        return {
            "type": "http",
            "method": "POST",
            "path": "/small",
            "raw_path": b"/small",
            "root_path": "",
            "scheme": "http",
            "query_string": b"",
            "http_version": "1.1",
            "headers": self.headers,
            "state": {},
        }

    async def receive(self) -> Message:
        if not self.blocks:
            if self.hangs:
                await asyncio.Event().wait()
            return {"type": "http.disconnect"}
        self.happened.append("read")
        block = self.blocks.pop(0)
        return {"type": "http.request", "body": block, "more_body": bool(self.blocks) or self.hangs}

    async def send(self, message: Message) -> None:
        self.answer.append(message)
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        self.happened.append("end" if is_last else message["type"].removeprefix("http.response."))

    @property
    def status(self) -> int:
        return int(self.answer[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.answer)


def announced(size_bytes: int) -> list[tuple[bytes, bytes]]:
    return [(b"content-length", str(size_bytes).encode())]


CHUNKED = [(b"transfer-encoding", b"chunked")]


async def answer(send: Send) -> None:
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": b"early"})


async def reads_all(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body", False):
        pass
    await answer(send)


async def reads_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send)


def limited(app: ASGIApp) -> BodyLimit:
    return BodyLimit(app, max_bytes=10, streamed_paths=("/streamed/",))


async def test_a_body_of_the_largest_size_is_taken() -> None:
    client = Client([b"x" * 10], headers=announced(10))
    await limited(reads_all)(client.scope, client.receive, client.send)
    assert client.status == 418


async def test_a_body_that_announces_too_much_is_refused_unread() -> None:
    client = Client([b"x" * 11], headers=announced(11))
    await limited(reads_all)(client.scope, client.receive, client.send)
    assert client.status == 413
    assert b'"payload_too_large"' in client.body
    assert "read" not in client.happened


@pytest.mark.parametrize("headers", [CHUNKED, announced(3)])
async def test_a_body_that_becomes_too_long_is_refused_where_it_does(
    headers: list[tuple[bytes, bytes]],
) -> None:
    client = Client([b"x" * 6] * 4, headers=headers)
    with pytest.raises(PayloadTooLarge, match="10 bytes"):
        await limited(reads_all)(client.scope, client.receive, client.send)
    assert client.happened == ["read", "read"]


async def test_handlers_of_streamed_paths_limit_their_bodies_themselves() -> None:
    client = Client([b"x" * 100], headers=announced(100))
    await limited(reads_all)({**client.scope, "path": "/streamed/more"}, client.receive, client.send)
    assert client.status == 418


class Small(BaseModel):
    text: str


@pytest.mark.parametrize("headers", [CHUNKED, announced(1000)])
async def test_a_body_that_is_too_long_is_a_413_for_callers(headers: list[tuple[bytes, bytes]]) -> None:
    app = FastAPI()
    answer_problems(app)
    app.add_middleware(BodyLimit, max_bytes=10)

    @app.post("/small")
    async def small(body: Small) -> str:
        return body.text

    client = Client(
        [b'{"text":', b'"' + b"x" * 20 + b'"}'], headers=[(b"content-type", b"application/json"), *headers]
    )
    await app(client.scope, client.receive, client.send)
    assert (client.status, b'"payload_too_large"' in client.body) == (413, True)


async def test_what_came_of_a_body_that_is_refused_stays_nowhere() -> None:
    app = FastAPI()
    answer_problems(app)
    app.add_middleware(BodyLimit, max_bytes=10 * MEGABYTE)

    @app.post("/small")
    async def small(body: Small) -> str:
        return body.text

    async def refused() -> None:
        client = Client(headers=[(b"content-type", b"application/json"), *CHUNKED])
        client.blocks = [bytes(MEGABYTE) for _ in range(11)]
        await app(client.scope, client.receive, client.send)
        assert client.status == 413

    await refused()
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        await refused()
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert kept_bytes < MEGABYTE


async def test_an_answer_after_the_whole_body_is_passed_on_as_it_is() -> None:
    client = Client([b"a", b"b"], headers=announced(2))
    await EarlyAnswers(reads_all)(client.scope, client.receive, client.send)
    assert client.happened == ["read", "read", "start", "end"]


async def test_an_early_answer_is_sent_and_ends_when_the_body_has() -> None:
    client = Client([b"a", b"b", b"c"], headers=announced(3))
    await EarlyAnswers(reads_nothing)(client.scope, client.receive, client.send)
    assert client.happened == ["start", "body", "read", "read", "read", "end"]
    assert client.body == b"early"


async def test_a_request_without_a_body_is_not_read() -> None:
    client = Client()
    await EarlyAnswers(reads_nothing)(client.scope, client.receive, client.send)
    assert client.happened == ["start", "end"]


async def test_a_body_that_waits_to_be_asked_for_is_not_read() -> None:
    client = Client([b"a"], headers=[*announced(1), (b"expect", b"100-Continue")])
    await EarlyAnswers(reads_nothing)(client.scope, client.receive, client.send)
    assert client.happened == ["start", "end"]


async def test_a_client_that_is_gone_is_not_waited_for() -> None:
    client = Client(headers=announced(3))
    await EarlyAnswers(reads_nothing)(client.scope, client.receive, client.send)
    assert client.happened == ["start", "body", "end"]


def test_no_more_than_64_mebibytes_are_read_after_an_early_answer_and_none_faster_than_16_a_second() -> None:
    client = Client([bytes(MEGABYTE)] * 100, headers=announced(100 * MEGABYTE))

    async def run() -> float:
        await EarlyAnswers(reads_nothing)(client.scope, client.receive, client.send)
        return now()

    assert run_virtually(run()) >= 4
    assert client.happened.count("read") == 68
    assert client.happened[-1] == "end"


def test_fifty_bodies_of_ten_megabytes_that_nobody_wants_are_read_to_their_ends() -> None:
    clients = [Client([bytes(MEGABYTE // 4)] * 40, headers=announced(10 * MEGABYTE)) for _ in range(50)]
    early = EarlyAnswers(reads_nothing)

    async def run() -> float:
        await asyncio.gather(*(early(client.scope, client.receive, client.send) for client in clients))
        return now()

    assert 7 < run_virtually(run()) < 9
    assert {client.happened.count("read") for client in clients} == {40}


def test_a_slow_body_that_nobody_wants_is_read_for_twenty_seconds_at_most() -> None:
    clients = [Client([bytes(MEGABYTE)] * 60, headers=announced(60 * MEGABYTE)) for _ in range(50)]
    early = EarlyAnswers(reads_nothing)

    async def run() -> float:
        await asyncio.gather(*(early(client.scope, client.receive, client.send) for client in clients))
        return now()

    assert run_virtually(run()) == pytest.approx(20)


def test_a_client_that_sends_nothing_is_waited_for_a_moment() -> None:
    client = Client([b"a"], headers=announced(3), hangs=True)

    async def run() -> float:
        await EarlyAnswers(reads_nothing)(client.scope, client.receive, client.send)
        return now()

    assert run_virtually(run()) == pytest.approx(5)
    assert client.happened == ["start", "body", "read", "end"]
