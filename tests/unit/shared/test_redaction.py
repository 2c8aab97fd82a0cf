"""What leaves a process in its log and in reports to Sentry: no secret, wherever it stood."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import sentry_sdk
from fastapi import FastAPI, Request
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport
from tests.support.logs import WrittenLog

from jettythunder import telemetry
from jettythunder.http.problems import answer_problems
from jettythunder.redaction import redacted
from jettythunder.settings import ServiceSettings

SETTINGS = ServiceSettings(
    database_url="postgresql://nobody@localhost/none",
    rabbitmq_url="amqp://nobody@localhost/",
    jettythunder_ops_token="the token of operators, thirty-two long",
    sentry_dsn="http://public@localhost/1",
)
SECRETS = ("hunter2", "jt_live_abcdefgh", "jts_abcdefgh", "c2lnbmF0dXJl")


class Reports(Transport):
    """Keeps what would go to Sentry."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        event = envelope.get_event()
        if event is not None:
            self.events.append(dict(event))


@pytest.fixture
def log() -> Iterator[WrittenLog]:
    with WrittenLog.of(SETTINGS) as written:
        yield written
    sentry_sdk.init()


@pytest.fixture
def reports(log: WrittenLog) -> Reports:
    client, kept = sentry_sdk.get_client(), Reports()
    client.transport = kept
    return kept


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("https://s3.example/a/b?X-Amz-Signature=hunter2&x=1", "https://s3.example/a/b?[redacted]"),
        ("amqp://user:hunter2@broker/vhost", "amqp://[redacted]@broker/vhost"),
        ("GET /stream/1?expires_at=7&signature=hunter2", "GET /stream/1?expires_at=7&signature=[redacted]"),
        ("Authorization: Bearer hunter2", "Authorization: Bearer [redacted]"),
        ("the pair jt_live_abcdefgh, jts_abcdefgh", "the pair [redacted], [redacted]"),
        ("jettythunder.account.provisioned.v1 at 12:00", "jettythunder.account.provisioned.v1 at 12:00"),
    ],
)
def test_text_that_looks_like_a_secret_is_taken_out(text: str, written: str) -> None:
    assert redacted({"list": [text]}) == {"list": [written]}


def test_what_is_named_like_a_secret_is_taken_out() -> None:
    headers = {"X-API-Secret": "hunter2", "Cookie": "hunter2", "Accept": "text/html"}
    assert redacted({"headers": headers}) == {
        "headers": {"X-API-Secret": "[redacted]", "Cookie": "[redacted]", "Accept": "text/html"}
    }


async def test_a_failing_request_tells_no_secret(log: WrittenLog, reports: Reports) -> None:
    app = FastAPI()
    answer_problems(app)

    @app.post("/upload")
    async def upload(request: Request) -> None:
        api_secret = request.headers["x-api-secret"]
        telemetry.logger(__name__).error("about to fail", address="https://s3.example/?signature=hunter2")
        assert api_secret
        raise RuntimeError("https://s3.example/key?X-Amz-Signature=hunter2 for jts_abcdefgh")

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        answer = await client.post(
            "/upload?signature=c2lnbmF0dXJl",
            headers={"Authorization": "Bearer jt_live_abcdefgh", "X-API-Secret": "hunter2"},
            cookies={"session": "hunter2"},
            content=b"hunter2",
        )
    assert answer.status_code == 500
    sentry_sdk.flush()
    assert any("RuntimeError" in json.dumps(event) for event in reports.events)
    for secret in SECRETS:
        assert secret not in json.dumps(reports.events)
        assert secret not in log.text
