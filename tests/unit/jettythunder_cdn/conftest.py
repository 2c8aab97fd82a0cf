"""A gateway over HTTP, and a desktop CDN that reads from it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.cdn import Cdn, Clock, Gateway, running_cdn


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    started = Gateway()
    runner = await started.start()
    yield started
    started.gate.set()
    await runner.cleanup()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def cdn(gateway: Gateway, clock: Clock, tmp_path: Path) -> AsyncIterator[Cdn]:
    async with running_cdn(tmp_path, gateway.url, clock=clock) as running:
        yield running
