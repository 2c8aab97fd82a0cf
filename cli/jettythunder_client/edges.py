"""Finding out how far away the edges are."""

import asyncio
import statistics
import time
from collections.abc import Sequence

import aiohttp

from jettythunder_client.api import EdgeLocation
from jettythunder_client.problems import NETWORK_ERRORS

_PINGS = 3
_PING_SECONDS = 2.0
_DIRECT_LATENCY_SECONDS = 0.05


async def measure_latencies(
    http: aiohttp.ClientSession, edges: Sequence[EdgeLocation]
) -> dict[str, float | None]:
    """The median of several pings for each edge, connecting included, in seconds; None where it answers none.

    An edge that is the object storage itself has no ping and is taken for near: its goodput is soon measured.
    """
    found = await asyncio.gather(*(_latency(http, edge) for edge in edges))
    return {edge.id: latency for edge, latency in zip(edges, found, strict=True)}


async def _latency(http: aiohttp.ClientSession, edge: EdgeLocation) -> float | None:
    if edge.kind == "direct":
        return _DIRECT_LATENCY_SECONDS
    # Each opens a connection, which the chunks will use: waiting for the answers costs them nothing.
    answers = await asyncio.gather(*(_ping(http, edge) for _ in range(_PINGS)))
    answered = [seconds for seconds in answers if seconds is not None]
    return statistics.median(answered) if answered else None


async def _ping(http: aiohttp.ClientSession, edge: EdgeLocation) -> float | None:
    began = time.monotonic()
    timeout = aiohttp.ClientTimeout(total=_PING_SECONDS)
    try:
        async with http.get(f"{edge.url.rstrip('/')}/edge/ping", timeout=timeout) as response:
            await response.read()
            return time.monotonic() - began if response.status < 400 else None
    except NETWORK_ERRORS:
        return None
