"""Answers that the kernel sends from a file: whole, in order, and not for clients that do not read."""

import re
import socket
from collections.abc import Iterator
from typing import cast

import httpx
import pytest
from tests.support.waiting import eventually_sync
from tests.unit.shared.content import content_of
from tests.unit.shared.test_serve import OPS, free_ports, running, status
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from jettythunder.http.sending import FileSender

# More than the kernel takes before the client reads.
LARGE_BYTES = 32_000_000


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    (port,) = free_ports(1)
    with running(port, HTTP_SEND_STALL_SECONDS="1"):
        yield port


@pytest.mark.parametrize(("begin", "size_bytes"), [(0, 4), (5, 400_000), (0, LARGE_BYTES)])
def test_a_file_arrives_whole(port: int, begin: int, size_bytes: int) -> None:
    answer = httpx.get(f"http://127.0.0.1:{port}/file?begin={begin}&size_bytes={size_bytes}")
    assert answer.content == content_of(size_bytes)[begin:]


def test_a_connection_serves_other_requests_after_a_file(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(3):
            assert len(client.get("/file?begin=0&size_bytes=400000").content) == 400_000
            assert client.get("/public").status_code == 200


def test_a_client_that_does_not_read_is_cut_off(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(f"GET /file?begin=0&size_bytes={LARGE_BYTES} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        eventually_sync(lambda: cut_readers(port) == 1, timeout_seconds=30)
    assert status(port, "/public") == 200


def cut_readers(port: int) -> float:
    metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", headers=OPS).text
    found = re.search(r'^jettythunder_http_cut_total{reason="reader"} (\S+)$', metrics, re.MULTILINE)
    return float(found.group(1)) if found else 0


def test_a_client_that_goes_away_ends_its_answer_alone(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(f"GET /file?begin=0&size_bytes={LARGE_BYTES} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        client.recv(1000)
    assert status(port, "/public") == 200


async def test_nothing_is_sent_once_the_connection_is_closed() -> None:
    class ClosedTransport:
        """As uvloop has it: it answers nothing else any more."""

        def is_closing(self) -> bool:
            return True

        def __getattr__(self, name: str) -> None:
            raise RuntimeError("the handler is closed")

    class Cycle:
        transport = ClosedTransport()
        disconnected = False

    cycle = cast("RequestResponseCycle", Cycle())
    sender = FileSender(cycle, stall_seconds=1, cut=lambda: None)
    assert await sender(0, 0, 10) == 0
    assert cycle.disconnected
