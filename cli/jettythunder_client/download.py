"""Downloading an asset by parallel ranges into a .part file that survives being interrupted."""

import asyncio
import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import aiohttp

from jettythunder_client.api import Api, Asset
from jettythunder_client.budget import Budget
from jettythunder_client.cdn import LocalCdn, find_cdn
from jettythunder_client.config import BLOCK_BYTES, Config
from jettythunder_client.engine import Engine
from jettythunder_client.errors import AssetNotFound, ClientError, DownloadCorrupt, LinkExpired
from jettythunder_client.events import Notice, Observer
from jettythunder_client.names import name_to_write
from jettythunder_client.plan import chunk_range, chunk_sizes
from jettythunder_client.problems import NETWORK_ERRORS, raise_problem
from jettythunder_client.rate_limit import RateLimit
from jettythunder_client.scheduler import Attempt, Limits
from jettythunder_client.target import Journal, Target

_RANGE_BYTES = 8 * 1024 * 1024
_LINK_MARGIN_SECONDS = 60.0
_STORAGE, _GATEWAY = "storage", "gateway"
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True)
class DownloadResult:
    """What became of a download."""

    asset: Asset
    path: Path
    size_bytes: int
    received_bytes: int
    seconds: float

    @property
    def bytes_per_second(self) -> float:
        return self.received_bytes / self.seconds if self.seconds > 0 else 0.0


class Downloader:
    """Downloads assets of one account."""

    def __init__(self, api: Api, config: Config, budget: Budget, observe: Observer) -> None:
        self._api = api
        self._config = config
        self._budget = budget
        self._observe = observe

    async def download(
        self,
        *,
        asset_id: str | None = None,
        key: str | None = None,
        cache_key: str | None = None,
        target: Path | None = None,
        overwrite: bool = False,
    ) -> DownloadResult:
        """Fetch an asset to ``target``: a file, a folder, or by default its own name in this folder.

        An interrupted download goes on where it was: the link counts for the whole asset, so it is used
        again while it is good, and after that only the missing ranges are asked for.

        Raises:
            FileExists, FileUnwritable: what is at ``target`` was left as it is.
            DownloadCorrupt: what came is not the asset; nothing was left at ``target``.
        """
        began = time.monotonic()
        # A file that is named is looked at first: a link, once asked for, counts as a download.
        folder, place = _place(target, overwrite=overwrite)
        asset, link = await self._look_up(asset_id=asset_id, key=key, cache_key=cache_key)
        if place is None:
            name = name_to_write(str(asset["filename"]), asset_id=asset["id"])
            place = Target(folder / name, overwrite=overwrite)
        journal = _resumable(place, asset) or link
        cdn = await find_cdn(self._api.http, self._config)
        if journal is None and cdn is not None:
            journal = _without_link(asset)
        elif journal is None:
            journal = _journal(await self._api.download_link(asset_id=asset["id"]))
        received = await self._fetch_checked(asset, journal, place, cdn)
        if received is None and cdn is not None:
            self._observe(Notice("The desktop CDN's bytes are not the asset's: fetching them anew."))
            received = await self._fetch_checked(asset, _without_link(asset), place, None)
        if received is None:
            raise DownloadCorrupt
        place.finish()
        return DownloadResult(asset, place.path, asset["size_bytes"], received, time.monotonic() - began)

    async def _look_up(
        self, *, asset_id: str | None, key: str | None, cache_key: str | None
    ) -> tuple[Asset, Journal | None]:
        """The asset's record; only a key needs a link for that, which counts as a download."""
        if asset_id is not None:
            return await self._api.fetch_asset(asset_id), None
        if cache_key is not None:
            async for asset in self._api.assets(cache_key=cache_key):
                return asset, None
            raise AssetNotFound(f"The account has no asset under the cache key {cache_key!r}.")
        answer = await self._api.download_link(key=key)
        return answer["asset"], _journal(answer)

    async def _fetch_checked(
        self, asset: Asset, journal: Journal, place: Target, cdn: LocalCdn | None
    ) -> int | None:
        """Fetch what is missing; None where the whole has another hash than the asset, and was removed."""
        received = await self._fetch(journal, place, cdn)
        if await asyncio.to_thread(_sha256, place.part) == asset["content_hash"]:
            return received
        place.discard()
        return None

    async def _fetch(self, journal: Journal, place: Target, cdn: LocalCdn | None) -> int:
        sizes = chunk_sizes(chunk_size_bytes=journal.range_bytes, size_bytes=journal.size_bytes)
        wanted = {number: size for number, size in sizes.items() if number not in set(journal.done)}
        descriptor = place.open(journal)
        try:
            with ThreadPoolExecutor(4, thread_name_prefix="file") as executor:
                fetcher = _RangeFetcher(
                    self._api, journal, place, descriptor, executor, cdn, self._budget.limit
                )
                engine = Engine(
                    fetcher.fetch,
                    chunks=wanted,
                    latencies={fetcher.origin: 0.05},
                    regions={},
                    limits=Limits(max_parallel=self._config.max_parallel, first_parallel=4),
                    budget=self._budget,
                    total_bytes=journal.size_bytes,
                    stall_seconds=self._config.retry_seconds,
                    observe=self._observe,
                )
                return (await engine.run()).transferred_bytes
        finally:
            os.close(descriptor)


class _RangeFetcher:
    """Fetches ranges from the desktop CDN where one runs, else from the storage by link, or from the gateway
    where there is no link, or it has expired.
    """

    def __init__(
        self,
        api: Api,
        journal: Journal,
        place: Target,
        descriptor: int,
        executor: ThreadPoolExecutor,
        cdn: LocalCdn | None,
        limit: RateLimit,
    ) -> None:
        self._cdn = cdn
        self._limit = limit
        self._api = api
        self._journal = journal
        self._place = place
        self._descriptor = descriptor
        self._executor = executor
        self._link_refused = False
        self.origin = _STORAGE if self._link_is_good() else _GATEWAY

    def _link_is_good(self) -> bool:
        return not self._link_refused and self._journal.expires_at - time.time() > _LINK_MARGIN_SECONDS

    async def fetch(self, attempt: Attempt, moved: Callable[[int], None]) -> None:
        """Fetch one range and write it to its place.

        Raises:
            DownloadCorrupt: the answer is not the range that was asked for.
        """
        journal = self._journal
        offset, length = chunk_range(
            attempt.number, chunk_size_bytes=journal.range_bytes, size_bytes=journal.size_bytes
        )
        if not await self._fetch_from_cdn(offset, length, moved):
            by_link = self._link_is_good()
            url = journal.url if by_link else self._api.url(f"/api/storage/stream/{journal.asset_id}")
            headers = {} if by_link else self._api.credentials
            await self._fetch_from(url, headers, offset, length, moved, by_link=by_link)
        journal.done.append(attempt.number)
        await self._run(self._place.save, journal)

    async def _fetch_from_cdn(self, offset: int, length: int, moved: Callable[[int], None]) -> bool:
        """Fetch a range from the desktop CDN; after a failure it is not asked again."""
        if self._cdn is None:
            return False
        url = self._cdn.asset_url(self._journal.asset_id)
        try:
            await self._fetch_from(url, self._cdn.headers, offset, length, moved, direct=True)
        except (ClientError, *NETWORK_ERRORS):
            self._cdn = None
        return self._cdn is not None

    async def _fetch_from(
        self,
        url: str,
        headers: Mapping[str, str],
        offset: int,
        length: int,
        moved: Callable[[int], None],
        *,
        by_link: bool = False,
        direct: bool = False,
    ) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        given = {**headers, "Range": f"bytes={offset}-{offset + length - 1}"}
        # The link has its permission in itself; the account's credentials follow no redirect.
        async with self._api.http.get(
            url,
            headers=given,
            timeout=timeout,
            allow_redirects=by_link,
            middlewares=() if direct else None,
        ) as response:
            if by_link and response.status == 403:
                self._link_refused = True
                raise LinkExpired
            await raise_problem(response)
            _check_range(response, offset, length, self._journal.size_bytes)
            await self._write(response, offset, length, moved)

    async def _write(
        self, response: aiohttp.ClientResponse, offset: int, length: int, moved: Callable[[int], None]
    ) -> None:
        written, buffer = 0, bytearray()
        async for block in response.content.iter_any():
            async for piece in self._limit.pieces(block):
                buffer += piece
                moved(min(written + len(buffer), length))
            if len(buffer) >= BLOCK_BYTES:
                await self._run(_write_at, self._descriptor, bytes(buffer), offset + written)
                written += len(buffer)
                buffer.clear()
            if written + len(buffer) > length:
                raise DownloadCorrupt
        await self._run(_write_at, self._descriptor, bytes(buffer), offset + written)
        if written + len(buffer) != length:
            raise aiohttp.ClientPayloadError("the range ended early")

    async def _run(self, function: Callable[..., object], *arguments: object) -> None:
        await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)


def _journal(answer: dict[str, object]) -> Journal:
    asset = answer["asset"]
    assert isinstance(asset, dict)  # noqa: S101 - the API's contract
    return Journal(
        asset_id=asset["id"],
        content_hash=asset["content_hash"],
        size_bytes=asset["size_bytes"],
        range_bytes=_RANGE_BYTES,
        url=str(answer["url"]),
        expires_at=datetime.fromisoformat(str(answer["expires_at"])).timestamp(),
    )


def _without_link(asset: Asset) -> Journal:
    """The journal of a download that needs no link, which would count the whole asset as bandwidth."""
    return Journal(
        asset["id"], asset["content_hash"], asset["size_bytes"], _RANGE_BYTES, url="", expires_at=0
    )


def _place(target: Path | None, *, overwrite: bool) -> tuple[Path, Target | None]:
    """The folder to write to, and the file where it is named."""
    if target is None or target.is_dir():
        return target or Path(), None
    return target.parent, Target(target, overwrite=overwrite)


def _resumable(place: Target, asset: Asset) -> Journal | None:
    """The journal of an interrupted download of the very same bytes."""
    journal = place.journal()
    same = journal is not None and journal.fits(asset["id"], asset["content_hash"], asset["size_bytes"])
    return journal if journal is not None and same and place.holds(journal) else None


def _write_at(descriptor: int, block: bytes, offset: int) -> None:
    view = memoryview(block)
    while view:
        written = os.pwrite(descriptor, view, offset)
        offset, view = offset + written, view[written:]


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _check_range(response: aiohttp.ClientResponse, offset: int, length: int, size_bytes: int) -> None:
    if response.status == 200 and length == size_bytes:
        return
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    expected = (offset, offset + length - 1, size_bytes)
    if response.status != 206 or found is None or tuple(map(int, found.groups())) != expected:
        raise DownloadCorrupt("The server did not answer with the range that was asked for.")
