"""Recording chunks in AgentCache's cache in the background: no upload waits for it, or fails with it."""

import asyncio
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

_records = Counter("jettythunder_agentcache_records_total", "Chunks recorded in AgentCache", ["outcome"])


class Recorder:
    """Writes ``chunk:{upload_id}:{index}`` to AgentCache's cache in the background; the index counts from 0.

    What does not fit in the short queue, or is not taken within two seconds, is dropped and counted.

    Args:
        url: AgentCache's API; None records nothing.
    """

    def __init__(self, url: str | None, *, api_key: str | None) -> None:
        self._url = url
        self._headers = {} if api_key is None else {"X-API-Key": api_key}
        self._waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_WAITING_MOST)
        self._writers: list[asyncio.Task[None]] = []

    def note(self, upload_id: UUID, number: int, *, edge: str) -> None:
        """Have a stored chunk recorded later."""
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

    def start(self) -> None:
        """Record in the background."""
        if self._url is not None:
            self._writers = [asyncio.create_task(self._write_forever()) for _ in range(_WRITERS)]

    async def close(self) -> None:
        """Stop; what waits is dropped."""
        for writer in self._writers:
            writer.cancel()
        await asyncio.gather(*self._writers, return_exceptions=True)

    async def _write_forever(self) -> None:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, headers=self._headers) as http:
            while True:
                await self._write(http, await self._waiting.get())

    async def _write(self, http: aiohttp.ClientSession, record: dict[str, Any]) -> None:
        try:
            async with http.post(f"{self._url}/cache/set", json=record) as answer:
                answer.raise_for_status()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            _records.labels("failed").inc()
            log.debug("agentcache took no record", error_type=type(error).__name__)
        else:
            _records.labels("recorded").inc()
