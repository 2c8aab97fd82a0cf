"""A gateway in memory, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.gateway_in_memory import Gateway

from jettythunder_client import AsyncClient, Config


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    started = Gateway()
    runner = await started.start()
    yield started
    await runner.cleanup()


@pytest.fixture
async def client(gateway: Gateway, tmp_path: Path) -> AsyncIterator[AsyncClient]:
    config = Config(gateway.url, "jt_test_a", "jts_a", state_dir=tmp_path / "state", retry_seconds=1)
    async with AsyncClient(config) as opened:
        yield opened
