"""Sending chunks of a session to edges: tokens, addresses, checksums."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from urllib.parse import quote

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from jettythunder_client.api import Api, ChunkToken, EdgeLocation, UploadSession
from jettythunder_client.connections import Route
from jettythunder_client.edges import measure_latencies
from jettythunder_client.errors import ClientError, ClockSkewed, Unreachable
from jettythunder_client.plan import chunk_range
from jettythunder_client.problems import raise_problem
from jettythunder_client.scheduler import Attempt
from jettythunder_client.source import FileSource, content_md5

_TOKENS_AT_ONCE = 64
_MARGIN_SECONDS = 120.0
_MARGIN_SHARE = 0.25
_TOKEN_REFUSED = frozenset({"link_expired", "link_invalid", "link_revoked", ClockSkewed.code})


class TokenCache:
    """Tokens for chunks, fetched in batches and replaced before they expire."""

    def __init__(self, api: Api, upload_id: str, numbers: list[int]) -> None:
        self._api = api
        self._upload_id = upload_id
        self._numbers = sorted(numbers)
        self._tokens: dict[int, ChunkToken] = {}
        self._good_until: dict[int, float] = {}
        self._fetching = asyncio.Lock()

    async def get(self, number: int) -> ChunkToken:
        """A token that is good for a while yet; those of the next chunks come along."""
        async with self._fetching:
            if not self._fresh(number):
                # Chunks that begin together ask in any order: those shortly before this one come along too.
                around = (n for n in self._numbers if n > number - _TOKENS_AT_ONCE // 2)
                stale = [n for n in around if not self._fresh(n)]
                wanted = list(dict.fromkeys([number, *stale[:_TOKENS_AT_ONCE]]))
                now = time.time()
                for token in await self._api.fetch_tokens(self._upload_id, wanted):
                    margin = min(_MARGIN_SECONDS, _MARGIN_SHARE * (token.expires_at - now))
                    self._tokens[token.number] = token
                    self._good_until[token.number] = token.expires_at - margin
            return self._tokens[number]

    def drop(self, number: int) -> None:
        """Remove a token that an edge refused."""
        self._good_until.pop(number, None)

    def _fresh(self, number: int) -> bool:
        return self._good_until.get(number, 0.0) > time.time()


class ChunkBody(Payload):
    """A chunk's bytes as a request's body, read from the file as they are sent.

    It can be written again: a request is repeated where a kept connection turns out to have been closed.
    """

    def __init__(self, source: FileSource, offset: int, length: int, moved: Callable[[int], None]) -> None:
        super().__init__(None, content_type="application/octet-stream")
        self._size = length
        self._source = source
        self._offset = offset
        self._length = length
        self._moved = moved

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Send the whole chunk from its beginning; ``content_length`` is its length."""
        async for piece in self._source.slices(self._offset, self._length, self._moved):
            await writer.write(piece)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """The same, under the name that older code of aiohttp calls."""
        await self.write_with_length(writer, None)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """A chunk is never held as a whole, nor is it text."""
        raise TypeError("A chunk is no text.")


class ChunkSender:
    """Sends chunks of one session; keeps the checksum of each for the completion."""

    def __init__(self, api: Api, session: UploadSession, source: FileSource, numbers: list[int]) -> None:
        self.digests: dict[int, bytes] = {}
        self._api = api
        self._session = session
        self._source = source
        self._edges: dict[str, EdgeLocation] = {edge.id: edge for edge in session.edges}
        self._numbers = numbers
        self._tokens = TokenCache(api, session.id, numbers)

    async def send(self, attempt: Attempt, moved: Callable[[int], None]) -> None:
        """Send one chunk over one edge and wait for its acknowledgement.

        Raises:
            ClientError: the edge refused it.
        """
        offset, length = self._range(attempt.number)
        digest = await self.digest(attempt.number)
        token = await self._tokens.get(attempt.number)
        url, headers = self._address(self._edges[attempt.edge], token)
        headers["Content-MD5"] = content_md5(digest)
        body = ChunkBody(self._source, offset, length, moved)
        try:
            await self._put(url, body, headers)
        except ClientError as error:
            if error.code in _TOKEN_REFUSED:
                self._tokens.drop(attempt.number)
            raise

    async def _put(self, url: str, body: ChunkBody, headers: dict[str, str]) -> None:
        # The scheduler gives up stalled connections: it knows what is slow for this edge.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        while True:
            route = Route()
            try:
                async with self._api.http.put(
                    url,
                    data=body,
                    headers=headers,
                    timeout=timeout,
                    allow_redirects=False,
                    trace_request_ctx=route,
                ) as response:
                    await raise_problem(response)
                    await response.read()
                    return
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
                # Servers close idle connections, so only on a new one does a failure count against the edge.
                if not route.kept:
                    raise

    async def prepare(self) -> None:
        """Fetch the first tokens ahead of their use."""
        if self._numbers:
            await self._tokens.get(self._numbers[0])

    async def find_edges(self) -> dict[str, float | None]:
        """Edges that have come up since, with their latencies in seconds."""
        chunk_bytes = self._session.chunk_size_bytes
        come_up = [
            edge
            for edge in await self._api.fetch_edges()
            if edge.id not in self._edges and edge.takes(chunk_bytes)
        ]
        latencies = await measure_latencies(self._api.http, come_up)
        self._edges |= {edge.id: edge for edge in come_up if latencies[edge.id] is not None}
        return latencies

    async def digest(self, number: int) -> bytes:
        """The MD5 of a chunk, read from the file once."""
        if number not in self.digests:
            self.digests[number] = await self._source.md5(*self._range(number))
        return self.digests[number]

    async def differing(self) -> list[int]:
        """Numbers of received chunks whose bytes are not the file's."""
        received = sorted(self._session.received.items())
        return [number for number, chunk in received if (await self.digest(number)).hex() != chunk.md5]

    async def parts_md5(self) -> str:
        """The MD5 over the chunks' binary MD5s in order: what a multipart ETag is made of."""
        whole = hashlib.md5(usedforsecurity=False)
        for number in range(1, self._session.chunk_count + 1):
            whole.update(await self.digest(number))
        return whole.hexdigest()

    def _range(self, number: int) -> tuple[int, int]:
        session = self._session
        return chunk_range(number, chunk_size_bytes=session.chunk_size_bytes, size_bytes=session.size_bytes)

    def _address(self, edge: EdgeLocation, token: ChunkToken) -> tuple[str, dict[str, str]]:
        if edge.kind != "direct":
            upload_id = quote(self._session.id, safe="")
            url = f"{edge.url.rstrip('/')}/edge/uploads/{upload_id}/chunks/{token.number}"
            return url, {"Authorization": f"Bearer {token.token}"}
        if token.direct_url is None:
            raise Unreachable(f"Edge {edge.id} takes no chunks of this upload.")
        return token.direct_url, {}
