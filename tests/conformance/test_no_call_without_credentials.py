"""No call of any service is open to everybody, but those that say so here."""

import re
from uuid import uuid4

import httpx
import pytest
from tests.support.infrastructure import Services

OPEN = {"/healthz", "/readyz", "/edge/ping"}
SERVICES = ("storage-gateway", "provisioning", "usage-meter", "operations", "chunk-worker-1")


@pytest.mark.parametrize("name", SERVICES)
async def test_every_call_asks_who_calls(services: Services, name: str) -> None:
    base_url = services.urls[name]
    async with httpx.AsyncClient(base_url=base_url, timeout=60) as http:
        described = (await http.get("/openapi.json")).json()["paths"]
        calls = [(method, path) for path, methods in described.items() for method in methods]
        assert calls
        for method, path in calls:
            if path in OPEN:
                continue
            answer = await http.request(
                method, re.sub(r"\{\w+\}", "1" if "{number}" in path else str(uuid4()), path)
            )
            refused = answer.status_code in (401, 422) if "chunks" in path else answer.status_code == 401
            assert refused, f"{method} {path}: {answer.status_code} {answer.text[:200]}"
