"""Refusals in the log: bounded, however many there are, and counted."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.support.logs import WrittenLog
from tests.support.virtual_time import run_virtually

from jettythunder.errors import LinkInvalid, TruncatedBody
from jettythunder.http.callers import Callers
from jettythunder.http.problems import answer_problems
from jettythunder.settings import ServiceSettings

SETTINGS = ServiceSettings(
    database_url="postgresql://nobody@localhost/none",
    rabbitmq_url="amqp://nobody@localhost/",
    jettythunder_ops_token="the token of operators, thirty-two long",
)


@pytest.fixture
def log() -> Iterator[WrittenLog]:
    with WrittenLog.of(SETTINGS) as written:
        yield written


class Service:
    """Refuses every link, and finds every body cut off."""

    def __init__(self) -> None:
        self.app = FastAPI()
        answer_problems(self.app)
        self.app.add_middleware(Callers)

        @self.app.get("/links/{name}")
        async def link(name: str) -> None:
            raise LinkInvalid

        @self.app.get("/bodies/{name}")
        async def body(name: str) -> None:
            raise TruncatedBody

    async def call(self, path: str, *, host: str = "192.0.2.1", times: int = 1) -> None:
        transport = httpx.ASGITransport(self.app, client=(host, 5))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            for _ in range(times):
                await client.get(path)


def test_repeated_refusals_of_an_address_become_one_line_with_their_count(log: WrittenLog) -> None:
    async def run() -> None:
        service = Service()
        await service.call("/links/a", times=100)
        assert len(log.security_events()) == 5
        await asyncio.sleep(61)
        summary = log.security_events()[-1]
        assert len(log.security_events()) == 6
        assert (summary["event"], summary["code"]) == ("access_refused", "link_invalid")
        assert (summary["address"], summary["repeated"]) == ("192.0.2.1", 95)
        await service.call("/links/a")
        await asyncio.sleep(61)
        assert len(log.security_events()) == 7

    run_virtually(run())


def test_addresses_and_codes_are_counted_apart(log: WrittenLog) -> None:
    async def run() -> None:
        service = Service()
        await service.call("/links/a", times=10)
        await service.call("/links/a", host="192.0.2.2")
        await service.call("/bodies/a")
        others = [_brief(line) for line in log.security_events()[5:]]
        assert others == [("access_refused", "192.0.2.2"), ("upload_aborted", "192.0.2.1")]

    run_virtually(run())


def test_an_ipv6_network_is_one_address(log: WrittenLog) -> None:
    async def run() -> None:
        service = Service()
        for host in range(100):
            await service.call("/links/a", host=f"2001:db8:1:2::{host:x}")
        await asyncio.sleep(61)
        assert len(log.security_events()) == 6
        assert log.security_events()[-1]["address"] == "2001:db8:1:2::/64"

    run_virtually(run())


def test_any_number_of_addresses_writes_a_bounded_number_of_lines(log: WrittenLog) -> None:
    async def run() -> None:
        service = Service()
        for address in range(700):
            await service.call("/links/a", host=f"192.0.{address // 250}.{address % 250}")
        await asyncio.sleep(61)
        lines = log.security_events()
        assert len(lines) == 500 + 5 + 1
        assert (lines[-1]["address"], lines[-1]["repeated"]) == ("others", 195)

    run_virtually(run())


def _brief(line: dict[str, Any]) -> tuple[str, str]:
    return line["event"], line["address"]
