"""AgentCache's own edges: asked for now and then, and believed as far as the installation says."""

import asyncio
import time
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from pydantic import BaseModel, Field, HttpUrl, ValidationError

from jettythunder import telemetry
from jettythunder.hosts import HostList, is_this_machine
from storage_gateway.edges.answers import read_json
from storage_gateway.edges.store import Edge

log = telemetry.logger(__name__)

_ASK_AGAIN_SECONDS = 60
_TIMEOUT_SECONDS = 2
_MOST_BYTES = 64 * 1024
_MOST_EDGES = 100


class _Listed(BaseModel):
    id: str = Field(min_length=1, max_length=100, pattern=r"^[\w.:-]+$")
    region: str = Field(default="unknown", min_length=1, max_length=100)
    url: HttpUrl


class ExternalEdges:
    """The edges that AgentCache lists.

    Guarantees given here: an edge is on a host that the installation allows, is reached by HTTPS, and has an
    id that none of our own edges has. What AgentCache answers is bounded, and none of its redirects is
    followed.

    Args:
        url: AgentCache's API; it is not asked where no host is allowed.
        hosts: where its edges may be.
    """

    def __init__(self, url: str, hosts: HostList) -> None:
        self._url = url
        self._hosts = hosts
        self._edges: list[Edge] = []
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()

    async def known(self) -> list[Edge]:
        """The edges as of the last minute. Without an answer there are none: our own serve without them."""
        is_due = time.monotonic() - self._asked_at >= _ASK_AGAIN_SECONDS
        if self._url and self._hosts and is_due and not self._asking.locked():
            async with self._asking:
                self._asked_at = time.monotonic()
                self._edges = await self._ask()
        return self._edges

    async def _ask(self) -> list[Edge]:
        try:
            listed = await self._fetch()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, RecursionError) as error:
            log.info("agentcache lists no edges", error_type=type(error).__name__)
            return []
        edges = accepted(listed[:_MOST_EDGES], self._hosts)
        if len(edges) < len(listed):
            log.warning("agentcache lists edges that are not taken", dropped=len(listed) - len(edges))
        return edges

    async def _fetch(self) -> list[Any]:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout) as http,
            http.get(f"{self._url}/edges", allow_redirects=False) as answer,
        ):
            found = await read_json(answer, most_bytes=_MOST_BYTES)
        listed = found.get("edges", []) if isinstance(found, dict) else found
        return listed if isinstance(listed, list) else []


def accepted(listed: list[Any], hosts: HostList) -> list[Edge]:
    """The edges of a list that may be used, under ids that are theirs alone."""
    edges = {}
    for entry in listed:
        try:
            edge = _Listed.model_validate(entry)
        except ValidationError:
            continue
        url = str(edge.url).rstrip("/")
        host = urlsplit(url).hostname or ""
        is_encrypted = edge.url.scheme == "https" or is_this_machine(host)
        has_credentials = edge.url.username is not None or edge.url.password is not None
        if host in hosts and is_encrypted and not has_credentials:
            edges[edge.id] = Edge(f"agentcache:{edge.id}", edge.region, url, "external")
    return list(edges.values())
