"""A listener's limits: connections, idle ones, the head of a request, and readers that do not read."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import Receive, Scope, Send
from tests.support.virtual_time import now, run_virtually
from uvicorn import Config
from uvicorn.server import ServerState

from jettythunder.http.listener import LimitedProtocol, Listener
from jettythunder.settings import ListenerSettings

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LIMITS = {
    "http_max_connections": 3,
    "http_max_idle_connections": 2,
    "http_header_seconds": 10,
    "http_max_header_bytes": 1024,
    "http_send_stall_seconds": 30,
    "http_send_min_bytes_per_second": 100,
    "http_keep_alive_seconds": 75,
}


class Client(asyncio.Transport):
    """The other end of a connection: what it received, and how much it has not read yet."""

    def __init__(self, server: "Server") -> None:
        super().__init__()
        self.received = b""
        self.unread_bytes = 0
        self.closed_at: float | None = None
        self.is_cut = False
        self.protocol: LimitedProtocol = server.listener.protocol()(server.config, server.state, {})
        self.protocol.connection_made(self)

    def send(self, data: bytes) -> None:
        self.protocol.data_received(data)

    def stop_reading(self) -> None:
        """Let the answer fill the server's buffer from now on."""
        self.unread_bytes = 100_000
        self.protocol.pause_writing()

    def read(self, count: int) -> None:
        self.unread_bytes -= count

    def write(self, data: Any) -> None:
        self.received += bytes(data)

    def get_write_buffer_size(self) -> int:
        return self.unread_bytes

    def is_closing(self) -> bool:
        return self.closed_at is not None

    def close(self) -> None:
        if self.closed_at is None:
            self.closed_at = now()
            if not self.unread_bytes:
                asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.is_cut = True
        self.closed_at = self.closed_at or now()
        asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def answer_never(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.Event().wait()


class Server:
    """A listener that serves an application on a virtual clock."""

    def __init__(
        self, app: Callable[[Scope, Receive, Send], Awaitable[None]] = answer, **limits: int
    ) -> None:
        self.listener = Listener(ListenerSettings.model_validate({**LIMITS, **limits}))
        self.config = Config(
            app, http=self.listener.protocol(), lifespan="off", timeout_keep_alive=75, log_config=None
        )
        self.config.load()
        self.state = ServerState()

    def connect(self) -> Client:
        return Client(self)


def test_requests_are_answered() -> None:
    async def run() -> None:
        client = Server().connect()
        for _ in range(2):
            client.send(REQUEST)
            await asyncio.sleep(1)
        assert client.received.count(b"HTTP/1.1 204") == 2
        assert client.closed_at is None

    run_virtually(run())


def test_a_connection_that_sends_nothing_is_cut() -> None:
    async def run() -> None:
        client = Server().connect()
        await asyncio.sleep(60)
        assert (client.is_cut, client.closed_at, client.received) == (True, 10, b"")

    run_virtually(run())


def test_a_header_must_come_in_time_however_lively_it_trickles() -> None:
    async def run() -> None:
        client = Server().connect()
        client.send(b"GET / HTTP/1.1\r\nX: ")
        for _ in range(20):
            await asyncio.sleep(1)
            client.send(b"a")
        assert client.closed_at == 10
        assert client.received.startswith(b"HTTP/1.1 408 ")

    run_virtually(run())


def test_the_next_request_s_header_must_come_in_time_as_well() -> None:
    async def run() -> None:
        client = Server().connect()
        client.send(REQUEST)
        await asyncio.sleep(5)
        # Empty lines before a request are passed over, and keep no connection open.
        for _ in range(20):
            client.send(b"\r\n")
            await asyncio.sleep(1)
        assert client.closed_at == 15

    run_virtually(run())


def test_an_idle_connection_is_kept_for_the_next_request() -> None:
    async def run() -> None:
        client = Server().connect()
        client.send(REQUEST)
        await asyncio.sleep(70)
        assert client.closed_at is None
        await asyncio.sleep(70)
        assert client.closed_at == 75

    run_virtually(run())


def test_a_request_may_take_longer_than_its_header() -> None:
    async def run() -> None:
        client = Server(answer_never).connect()
        client.send(REQUEST)
        await asyncio.sleep(100)
        assert client.closed_at is None

    run_virtually(run())


def test_a_header_that_is_too_long_is_refused_however_it_comes() -> None:
    async def run() -> None:
        at_once = b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000 + b"\r\n"
        for pieces in (
            [at_once],
            [at_once[:100], at_once[100:]],
            [b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\n\r\n"],
            [b"GET / HTTP/1.1\r\nX: ", *[b"a" * 100] * 20],
            [REQUEST, at_once],
        ):
            client = Server().connect()
            for piece in pieces:
                client.send(piece)
                await asyncio.sleep(0.1)
            assert b"HTTP/1.1 431 " in client.received, pieces
            assert b'"code": "request_header_too_large"' in client.received
            assert client.closed_at is not None

    run_virtually(run())


def test_a_long_body_is_no_header() -> None:
    async def run() -> None:
        async def read(scope: Scope, receive: Receive, send: Send) -> None:
            while (await receive()).get("more_body"):
                pass
            await answer(scope, receive, send)

        client = Server(read).connect()
        for _ in range(2):
            client.send(b"PUT / HTTP/1.1\r\nContent-Length: 10000\r\n\r\n")
            for _ in range(10):
                client.send(b"b" * 1000)
            await asyncio.sleep(1)
        assert client.received.count(b"HTTP/1.1 204") == 2

    run_virtually(run())


def test_a_body_that_goes_on_after_its_answer_ends_the_connection() -> None:
    async def run() -> None:
        client = Server().connect()
        client.send(b"PUT / HTTP/1.1\r\nContent-Length: 10000\r\n\r\n")
        await asyncio.sleep(1)
        assert client.received.startswith(b"HTTP/1.1 204 ")
        client.send(b"b" * 1000)
        assert client.is_closing()

    run_virtually(run())


def test_what_is_no_http_is_refused_as_a_problem() -> None:
    async def run() -> None:
        client = Server().connect()
        client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        assert client.received.startswith(b"HTTP/1.1 400 ")
        assert b"application/problem+json" in client.received

    run_virtually(run())


def test_the_longest_idle_connection_makes_room_for_a_new_one() -> None:
    async def run() -> None:
        server = Server()
        first, second = server.connect(), server.connect()
        third = server.connect()
        await asyncio.sleep(0)
        assert (first.is_cut, second.is_cut) == (True, False)
        third.send(REQUEST)
        await asyncio.sleep(0.1)
        assert b"204" in third.received

    run_virtually(run())


def test_connections_with_requests_are_never_closed_for_others() -> None:
    async def run() -> None:
        server = Server(answer_never)
        busy = [server.connect() for _ in range(2)]
        for client in busy:
            client.send(REQUEST)
        busy.append(server.connect())
        busy[-1].send(REQUEST)
        refused = server.connect()
        assert refused.received.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after" in refused.received
        assert refused.is_closing()
        assert [client.closed_at for client in busy] == [None] * 3

    run_virtually(run())


def test_there_is_room_again_when_connections_have_ended() -> None:
    async def run() -> None:
        server = Server(answer_never)
        clients = [server.connect() for _ in range(3)]
        for client in clients:
            client.send(REQUEST)
            client.abort()
        await asyncio.sleep(0.1)
        client = server.connect()
        assert client.received == b""

    run_virtually(run())


def test_a_reader_that_takes_nothing_is_cut() -> None:
    async def run() -> None:
        client = Server(answer_never).connect()
        client.send(REQUEST)
        await asyncio.sleep(5)
        client.stop_reading()
        await asyncio.sleep(100)
        assert (client.is_cut, client.closed_at) == (True, 35)

    run_virtually(run())


def test_a_reader_below_the_least_rate_is_cut_and_one_above_it_is_not() -> None:
    async def run() -> None:
        slow, steady = (Server(answer_never).connect() for _ in range(2))
        for client in (slow, steady):
            client.send(REQUEST)
            client.stop_reading()
        for _ in range(100):
            await asyncio.sleep(1)
            slow.read(99)
            steady.read(150)
        assert (slow.closed_at, steady.closed_at) == (30, None)
        steady.protocol.resume_writing()
        await asyncio.sleep(100)
        assert steady.closed_at is None

    run_virtually(run())


def test_a_closed_connection_does_not_wait_for_its_reader_for_ever() -> None:
    async def run() -> None:
        client = Server().connect()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        client.unread_bytes = 50
        await asyncio.sleep(100)
        assert client.is_cut

    run_virtually(run())
