"""What an edge writes to its log when chunks are refused or broken off."""

import base64
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
import svcs
from fastapi import FastAPI
from tests.support.logs import WrittenLog

from chunk_worker.edge.ingest import EdgeIngest
from chunk_worker.edge.routes import router
from jettythunder import edge_tokens
from jettythunder.checksums import Checksum
from jettythunder.http.callers import Callers
from jettythunder.http.problems import answer_problems
from jettythunder.settings import ServiceSettings

from .fakes import ACCOUNT_ID, md5_of
from .test_ingest import DATA, KEYS, TOKEN, Edge

SETTINGS = ServiceSettings(
    database_url="postgresql://nobody@localhost/none",
    rabbitmq_url="amqp://nobody@localhost/",
    jettythunder_ops_token="the token of operators, thirty-two long",
)


@pytest.fixture
def log() -> Iterator[WrittenLog]:
    with WrittenLog.of(SETTINGS) as written:
        yield written


async def put(content: bytes, token: str | None) -> None:
    """Send a chunk to an edge in memory."""
    registry = svcs.Registry()
    registry.register_value(EdgeIngest, Edge().ingest)
    app = FastAPI()
    answer_problems(app)
    app.add_middleware(Callers)
    app.include_router(router)

    async def with_registry(scope: Any, receive: Any, send: Any) -> None:
        scope["state"] = {"svcs_registry": registry}
        await app(scope, receive, send)

    async def body() -> AsyncIterator[bytes]:
        yield content

    headers = {"Content-MD5": _base64(md5_of(DATA))}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    transport = httpx.ASGITransport(with_registry, client=("192.0.2.1", 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
        await client.put(f"/edge/uploads/{TOKEN.upload_id}/chunks/1", content=body(), headers=headers)


def _base64(digest: Checksum) -> str:
    return base64.b64encode(digest.digest).decode()


@pytest.mark.parametrize(
    ("token", "event", "code"),
    [
        (None, "authentication_failed", "unauthenticated"),
        ("a forged token", "access_refused", "link_invalid"),
    ],
)
async def test_a_chunk_without_a_right_token_is_written(
    log: WrittenLog, token: str | None, event: str, code: str
) -> None:
    await put(DATA, token)
    [line] = log.security_events()
    assert (line["event"], line["code"], line["caller"]) == (event, code, "edge_token")
    assert (line["address"], line["method"]) == ("192.0.2.1", "PUT")
    assert line["path"] == "/edge/uploads/{upload_id}/chunks/{number}"


async def test_a_chunk_that_is_broken_off_is_written_with_its_account(log: WrittenLog) -> None:
    token = edge_tokens.mint(KEYS, TOKEN)
    await put(DATA[:-3], token)
    [line] = log.security_events()
    assert (line["event"], line["code"]) == ("upload_aborted", "truncated_body")
    assert line["account_id"] == str(ACCOUNT_ID)
    assert token not in log.text


async def test_an_expired_token_is_written(log: WrittenLog) -> None:
    await put(DATA, edge_tokens.mint(KEYS, replace(TOKEN, expires_at=int(time.time()) - 10)))
    [line] = log.security_events()
    assert (line["event"], line["code"]) == ("access_refused", "link_expired")
