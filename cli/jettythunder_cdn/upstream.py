"""The gateway, as the cache reads from it: one fixed address, one asset and range at a time."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol
from urllib.parse import quote

import aiohttp

from jettythunder_cdn.errors import Changed, Refused, UpstreamMisbehaved, UpstreamUnavailable
from jettythunder_cdn.model import Asset, Credential, Span
from jettythunder_client.problems import NETWORK_ERRORS, describe, retry_after_seconds

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_WHOLE = re.compile(r"[0-9]{1,18}")
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=30)
_REFUSALS = frozenset({401, 402, 403, 404, 410})


class Upstream(Protocol):
    """Where assets come from."""

    async def look(self, asset_id: str, credential: Credential, known_etag: str | None) -> Asset | None:
        """Ask whether the credential may read the asset, and what it is; None: it is what is known.

        Raises:
            Refused: it may not.
            UpstreamUnavailable: there is no answer to that now.
        """

    def read(
        self, asset: Asset, credential: Credential, span: Span
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The bytes of a range, in pieces.

        Raises:
            Refused, UpstreamUnavailable: as their names say.
            Changed: the asset has another entity tag by now.
            UpstreamMisbehaved: the answer is not the range.
        """

    async def find(self, cache_key: str, credential: Credential) -> str:
        """The id of the asset that a cache key names.

        Raises:
            Refused: it names none (404), or the credential may not ask.
            UpstreamUnavailable: there is no answer to that now.
        """


class HttpUpstream:
    """The gateway over HTTP. Redirects are never followed."""

    def __init__(self, http: aiohttp.ClientSession, api_url: Callable[[], str]) -> None:
        self._http = http
        self._api_url = api_url

    async def look(self, asset_id: str, credential: Credential, known_etag: str | None) -> Asset | None:
        """See `Upstream.look`."""
        headers = {} if known_etag is None else {"If-None-Match": f'"{known_etag}"'}
        url = self._stream_url(asset_id, credential)
        async with self._request("HEAD", url, credential, headers) as response:
            if response.status != 304 or known_etag is None:
                _check(response, 200)
                return _asset(asset_id, response)
            if response.headers.get("ETag") in (None, f'"{known_etag}"'):
                return None
        # The bytes are the same, and have another tag since their hash was verified.
        return await self.look(asset_id, credential, None)

    @asynccontextmanager
    async def read(
        self, asset: Asset, credential: Credential, span: Span
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """See `Upstream.read`."""
        headers = {"Range": f"bytes={span.start}-{span.end}", "If-Match": f'"{asset.etag}"'}
        url = self._stream_url(asset.id, credential)
        async with self._request("GET", url, credential, headers) as response:
            if response.status == 412:
                raise Changed
            _check(response, 200, 206)
            found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            given = tuple(map(int, found.groups())) if found else (0, asset.size_bytes - 1, asset.size_bytes)
            partial = response.status == 206 and found is not None
            # A proxy that strips Range sends the whole: of use only to who reads it from the beginning.
            whole = response.status == 200 and span.start == 0 and found is None
            exact = given == (span.start, span.end, asset.size_bytes)
            if not (partial and exact) and not (whole and response.content_length == asset.size_bytes):
                raise UpstreamMisbehaved
            yield response.content.iter_any()

    async def find(self, cache_key: str, credential: Credential) -> str:
        """See `Upstream.find`."""
        url = f"{self._api_url()}/api/storage/assets?cache_key={quote(cache_key, safe='')}&limit=1"
        async with self._request("GET", url, credential, {}) as response:
            _check(response, 200)
            try:
                assets = (await response.json(content_type=None))["assets"]
                if assets:
                    return str(assets[0]["id"])
            except (ValueError, KeyError, TypeError):
                raise UpstreamMisbehaved("The gateway did not answer as JettyThunder does.") from None
        raise Refused("No asset has this cache key.", status=404, code="asset_not_found")

    @asynccontextmanager
    async def _request(
        self, method: str, url: str, credential: Credential, headers: dict[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        given = {"Accept-Encoding": "identity", **credential.headers, **headers}
        try:
            async with self._http.request(
                method, url, headers=given, timeout=_TIMEOUT, allow_redirects=False
            ) as response:
                yield response
        except NETWORK_ERRORS as error:
            # The URL may have a link's signature in it.
            raise UpstreamUnavailable(f"The gateway can't be reached: {describe(error)}.") from None

    def _stream_url(self, asset_id: str, credential: Credential) -> str:
        query = f"?{credential.query}" if credential.query else ""
        return f"{self._api_url()}/api/storage/stream/{quote(asset_id, safe='')}{query}"


def _check(response: aiohttp.ClientResponse, *expected: int) -> None:
    if response.status in expected and "Content-Encoding" not in response.headers:
        return
    if response.status in _REFUSALS:
        raise Refused(f"The gateway answered with status {response.status}.", status=response.status)
    if response.status == 429 or response.status >= 500:
        raise UpstreamUnavailable(
            f"The gateway answered with status {response.status}.",
            retry_after_seconds=retry_after_seconds(response.headers.get("Retry-After")),
        )
    raise UpstreamMisbehaved(f"The gateway answered with status {response.status}.")


def _asset(asset_id: str, response: aiohttp.ClientResponse) -> Asset:
    etag = response.headers.get("ETag", "")
    size_bytes = response.headers.get("Content-Length", "")
    if not (etag.startswith('"') and etag.endswith('"') and len(etag) > 2 and _WHOLE.fullmatch(size_bytes)):
        raise UpstreamMisbehaved("The gateway did not say which bytes the asset has.")
    return Asset(
        id=asset_id,
        etag=etag[1:-1],
        size_bytes=int(size_bytes),
        content_type=response.headers.get("Content-Type", "application/octet-stream"),
        disposition=response.headers.get("Content-Disposition", "inline"),
        modified=response.headers.get("Last-Modified", ""),
    )
