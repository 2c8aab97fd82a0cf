"""Recording chunks in AgentCache's cache, as far as it takes them: nothing waits for it or fails with it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import aiohttp
from prometheus_client import Counter

from jettythunder import telemetry

log = telemetry.logger(__name__)

_WAITING_MOST = 1_000
_WRITERS = 2
_TIMEOUT_SECONDS = 2
_KEPT_SECONDS = 3_600

_records = Counter("jettythunder_agentcache_records_total", "Chunks told to AgentCache", ["outcome"])


class Recorder:
    """Writes ``chunk:{upload_id}:{index}`` to AgentCache's cache in the background; the index counts from 0.

    What does not fit in the short queue, or is not taken within two seconds, is dropped and counted.

    Args:
        url: AgentCache's API; None tells nobody.
    """

    def __init__(self, url: str | None, *, api_key: str | None) -> None:
        self._url = url
        self._headers = {} if api_key is None else {"X-API-Key": api_key}
        self._waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_WAITING_MOST)

    def note(self, upload_id: UUID, number: int, *, edge: str) -> None:
        """Have a stored chunk recorded some time."""
        if self._url is None:
            return
        record = {
            "key": f"chunk:{upload_id}:{number - 1}",
            "value": {"uploaded": True, "edge": edge},
            "ttl": _KEPT_SECONDS,
        }
        try:
            self._waiting.put_nowait(record)
        except asyncio.QueueFull:
            _records.labels("dropped").inc()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Record while inside."""
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, headers=self._headers) as http:
            writers = [asyncio.create_task(self._write_forever(http)) for _ in range(_WRITERS)]
            try:
                yield
            finally:
                for writer in writers:
                    writer.cancel()
                await asyncio.gather(*writers, return_exceptions=True)

    async def _write_forever(self, http: aiohttp.ClientSession) -> None:
        while True:
            record = await self._waiting.get()
            try:
                async with http.post(f"{self._url}/cache/set", json=record) as answer:
                    answer.raise_for_status()
                _records.labels("recorded").inc()
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                _records.labels("failed").inc()
                log.debug("agentcache took no record", error_type=type(error).__name__)
