"""Operators' named tokens at the operations service."""

import httpx
import pytest
from tests.integration.operations.conftest import TOKENS, Bench
from tests.support.infrastructure import RunningService

DRY_RUN = {"to": "usage-meter.events"}
DISCARD = {"selection": {"everything": True}, "why": "a test"}


@pytest.mark.parametrize(
    ("name", "expected"), [("watcher", [200, 403, 403, 403]), ("reader", [403, 200, 200, 403])]
)
@pytest.mark.usefixtures("bench")
async def test_a_token_is_good_for_its_scopes_only(
    service: RunningService, name: str, expected: list[int]
) -> None:
    headers = {"Authorization": f"Bearer {TOKENS[name]}"}
    async with httpx.AsyncClient(base_url=service.url, headers=headers, timeout=60) as client:
        answers = [
            await client.get("/metrics"),
            await client.get("/admin/audit"),
            await client.post("/admin/replays/dry-run", json=DRY_RUN),
            await client.post("/admin/dead-letters/discard", json=DISCARD),
        ]
    assert [answer.status_code for answer in answers] == expected
    refused = [answer.json()["code"] for answer in answers if answer.status_code == 403]
    assert set(refused) == {"insufficient_scope"}


@pytest.mark.parametrize(("note", "who"), [({}, "writer"), ({"X-Operator": "operator"}, "writer (operator)")])
async def test_the_audit_has_the_token_s_name(
    bench: Bench, service: RunningService, note: dict[str, str], who: str
) -> None:
    headers = {"Authorization": f"Bearer {TOKENS['writer']}", **note}
    async with httpx.AsyncClient(base_url=service.url, headers=headers, timeout=60) as client:
        assert (await client.post("/admin/dead-letters/discard", json=DISCARD)).status_code == 200
    [entry] = await bench.operations.audit.newest(limit=1)
    assert entry.who == who
