"""The gateway's calls, typed. A problem+json answer is raised as an error."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

import aiohttp

from jettythunder_client.config import Config
from jettythunder_client.errors import ClientError, Unreachable
from jettythunder_client.problems import NETWORK_ERRORS, network_problem, raise_problem
from jettythunder_client.retry import pauses, worth_repeating

Asset = dict[str, Any]
EdgeKind = Literal["worker", "external", "direct"]

_NOTICEABLE_SECONDS = 2.0


@dataclass(frozen=True)
class EdgeLocation:
    """A place that takes chunks."""

    id: str
    region: str
    url: str
    kind: EdgeKind
    max_chunk_bytes: int | None = None

    def takes(self, chunk_bytes: int) -> bool:
        """Whether chunks may be so large."""
        return self.max_chunk_bytes is None or chunk_bytes <= self.max_chunk_bytes


@dataclass(frozen=True)
class Received:
    """A chunk that the server has."""

    size_bytes: int
    md5: str


@dataclass(frozen=True)
class UploadSession:
    """An upload session as the server sees it."""

    id: str
    status: str
    filename: str
    size_bytes: int
    chunk_size_bytes: int
    chunk_count: int
    expires_at: datetime | None
    edges: tuple[EdgeLocation, ...]
    received: Mapping[int, Received]
    missing: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class ChunkToken:
    """Permission to send one chunk, until ``expires_at`` (Unix seconds)."""

    number: int
    token: str
    direct_url: str | None
    expires_at: float


@dataclass(frozen=True)
class UploadRequest:
    """What is said about a file when its upload begins."""

    filename: str
    size_bytes: int
    content_type: str | None = None
    content_hash: str | None = None
    cache_key: str | None = None
    pipeline_id: str | None = None
    ttl_seconds: int | None = None
    chunk_size_bytes: int | None = None

    def as_json(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if value is not None}


class Api:
    """The gateway, called with a tenant's credentials.

    Calls are repeated with growing pauses while the gateway can't be reached or answers with a retryable
    error, for the configuration's ``retry_seconds``; every call is safe to repeat.

    Args:
        on_retry: is called with a sentence that says why a call is repeated.
    """

    def __init__(
        self, http: aiohttp.ClientSession, config: Config, *, on_retry: Callable[[str], None]
    ) -> None:
        self.http = http
        self._base = config.api_url
        self._retry_seconds = config.retry_seconds
        self._on_retry = on_retry
        self.credentials = {
            "Authorization": f"Bearer {config.api_key}",
            "X-API-Secret": config.api_secret,
        }

    def url(self, path: str) -> str:
        return f"{self._base}{path}"

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        answer_seconds: float = 60.0,
    ) -> dict[str, Any]:
        """One call and its answer.

        Raises:
            ClientError: what the gateway answered, or Unreachable.
        """
        deadline = time.monotonic() + self._retry_seconds
        for pause in pauses():
            try:
                return await self._once(method, path, body, query, answer_seconds)
            except ClientError as error:
                wait = max(pause, error.retry_after_seconds or 0.0)
                if not worth_repeating(error) or time.monotonic() + wait > deadline:
                    raise
                if wait >= _NOTICEABLE_SECONDS:
                    self._on_retry(f"{error.detail} Trying again in {wait:.0f} s.")
            await asyncio.sleep(wait)
        raise Unreachable

    async def _once(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        query: Mapping[str, Any] | None,
        answer_seconds: float,
    ) -> dict[str, Any]:
        given = {name: str(value) for name, value in (query or {}).items() if value is not None}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=answer_seconds)
        try:
            async with self.http.request(
                method,
                self.url(path),
                params=given,
                json=body,
                headers=self.credentials,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                await raise_problem(response)
                content = await response.json(content_type=None)
        except NETWORK_ERRORS as error:
            raise network_problem(f"{self._base} can't be reached", error) from error
        except ValueError as error:
            raise Unreachable(
                f"{self._base} did not answer as JettyThunder does: is the URL right?"
            ) from error
        return content if isinstance(content, dict) else {}

    async def create_upload(self, request: UploadRequest) -> UploadSession | Asset:
        """Begin a session; the asset instead where the account has these very bytes already."""
        answer = await self.call("POST", "/api/storage/uploads", body=request.as_json())
        return answer["asset"] if "asset" in answer else _session(answer)

    async def fetch_upload(self, upload_id: str) -> UploadSession:
        return _session(await self.call("GET", f"/api/storage/uploads/{_segment(upload_id)}"))

    async def open_uploads(self) -> AsyncIterator[dict[str, Any]]:
        """The account's open sessions, page by page."""
        async for upload in self._pages("/api/storage/uploads", "uploads", {"status": "open"}):
            yield upload

    async def fetch_edges(self) -> tuple[EdgeLocation, ...]:
        """The edges that take chunks now."""
        return _edges(await self.call("GET", "/api/edges"))

    async def fetch_tokens(self, upload_id: str, numbers: Sequence[int]) -> list[ChunkToken]:
        path = f"/api/storage/uploads/{_segment(upload_id)}/tokens"
        answer = await self.call("POST", path, body={"numbers": list(numbers)})
        expires_at = datetime.fromisoformat(answer["expires_at"]).timestamp()
        return [
            ChunkToken(given["number"], given["token"], given.get("direct_url"), expires_at)
            for given in answer["tokens"]
        ]

    async def complete_upload(self, upload_id: str, *, content_hash: str, parts_md5: str) -> Asset:
        path = f"/api/storage/uploads/{_segment(upload_id)}/complete"
        body = {"content_hash": content_hash, "parts_md5": parts_md5}
        asset: Asset = (await self.call("POST", path, body=body, answer_seconds=300.0))["asset"]
        return asset

    async def abort_upload(self, upload_id: str) -> None:
        await self.call("DELETE", f"/api/storage/uploads/{_segment(upload_id)}")

    async def fetch_quota(self) -> dict[str, Any]:
        return await self.call("GET", "/api/agentcache/quota")

    async def assets(
        self, *, prefix: str | None = None, cache_key: str | None = None, pipeline_id: str | None = None
    ) -> AsyncIterator[Asset]:
        """The account's assets, newest first, page by page."""
        wanted = {"prefix": prefix, "cache_key": cache_key, "pipeline_id": pipeline_id}
        async for asset in self._pages("/api/storage/assets", "assets", wanted):
            yield asset

    async def fetch_asset(self, asset_id: str) -> Asset:
        asset: Asset = (await self.call("GET", f"/api/storage/assets/{_segment(asset_id)}"))["asset"]
        return asset

    async def delete_asset(self, asset_id: str) -> None:
        await self.call("DELETE", f"/api/storage/assets/{_segment(asset_id)}")

    async def download_link(
        self, *, asset_id: str | None = None, key: str | None = None, cache_key: str | None = None
    ) -> dict[str, Any]:
        """A link to an asset, by the one thing given, with the asset's record."""
        wanted = {"asset_id": asset_id, "key": key, "cache_key": cache_key}
        return await self.call("GET", "/api/storage/download", query=wanted)

    async def _pages(self, path: str, name: str, wanted: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        cursor = None
        while True:
            answer = await self.call("GET", path, query={**wanted, "cursor": cursor, "limit": 200})
            for found in answer[name]:
                yield found
            cursor = answer.get("next_cursor")
            if not cursor:
                return


def _session(answer: Mapping[str, Any]) -> UploadSession:
    upload = answer["upload"]
    expires_at = upload.get("expires_at")
    return UploadSession(
        id=upload["id"],
        status=upload["status"],
        filename=upload["filename"],
        size_bytes=upload["size_bytes"],
        chunk_size_bytes=upload["chunk_size_bytes"],
        chunk_count=upload["chunk_count"],
        expires_at=datetime.fromisoformat(expires_at) if expires_at else None,
        edges=_edges(answer),
        received={
            part["number"]: Received(part["size_bytes"], part["md5"]) for part in upload.get("received", ())
        },
        missing=tuple((first, last) for first, last in upload.get("missing", [[1, upload["chunk_count"]]])),
    )


def _edges(answer: Mapping[str, Any]) -> tuple[EdgeLocation, ...]:
    return tuple(
        EdgeLocation(
            edge["id"],
            edge.get("region", ""),
            edge["url"] or "",
            edge.get("kind", "worker"),
            edge.get("max_chunk_bytes"),
        )
        for edge in answer.get("edges", ())
    )


def _segment(value: str) -> str:
    return quote(value, safe="")
