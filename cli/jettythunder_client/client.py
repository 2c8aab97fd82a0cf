"""The library's two entry points: AsyncClient, and Client for code that is not asynchronous."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TypeVar

from jettythunder_client.api import Api, Asset
from jettythunder_client.budget import Budget
from jettythunder_client.config import Config, LimitInFile, load_config
from jettythunder_client.connections import open_http
from jettythunder_client.download import Downloader, DownloadResult
from jettythunder_client.events import Notice, Observer, ignore
from jettythunder_client.many import Folder, ManyUploads, Outcome
from jettythunder_client.rate_limit import RateLimit
from jettythunder_client.upload import Uploader, UploadOptions, UploadResult

Value = TypeVar("Value")


class AsyncClient:
    """JettyThunder for one account; an asynchronous context manager.

    Transfers that run at the same time share its connections, its memory, and `limit`, the rate limit.

    >>> async with AsyncClient() as client:
    ...     result = await client.upload(Path("film.mp4"), accelerate=True)
    """

    def __init__(self, config: Config | None = None, *, observe: Observer = ignore) -> None:
        self.config = config or load_config()
        self._observe = observe
        file = self.config.limit_file
        reread = LimitInFile(file, self.config.limit) if file else None
        self.limit = RateLimit(self.config.limit, reread=reread)
        self._budget = Budget(self.config.max_parallel, self.limit)

    async def __aenter__(self) -> "AsyncClient":
        self._http = open_http(max_connections=self.config.max_parallel)
        self.api = Api(self._http, self.config, on_retry=lambda text: self._observe(Notice(text)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def upload(
        self,
        path: Path,
        options: UploadOptions | None = None,
        *,
        accelerate: bool = False,
        resume: bool = False,
        compare: bool = False,
        observe: Observer | None = None,
    ) -> UploadResult:
        """Upload a file; see `Uploader.upload`. ``observe`` stands in for the client's own observer."""
        uploader = self._uploader(observe)
        return await uploader.upload(
            path, options or UploadOptions(), accelerate=accelerate, resume=resume, compare=compare
        )

    async def upload_stream(self, stream: BinaryIO, options: UploadOptions | None = None) -> UploadResult:
        """Upload what a stream gives until its end."""
        return await self._uploader().upload_stream(stream, options or UploadOptions())

    async def upload_all(
        self,
        sources: Iterable[Path | Folder],
        options: UploadOptions | None = None,
        *,
        accelerate: bool = False,
        resume: bool = False,
        done: Callable[[Outcome], None] = ignore,
        observe: Callable[[Path], Observer] | None = None,
    ) -> None:
        """Upload files and folders; see `ManyUploads.run`. ``done`` is told what became of each file."""
        uploads = ManyUploads(
            self.api,
            self.config,
            self._budget,
            options=options or UploadOptions(),
            accelerate=accelerate,
            resume=resume,
            observe=observe or (lambda _: self._observe),
            done=done,
        )
        await uploads.run(sources)

    def _uploader(self, observe: Observer | None = None) -> Uploader:
        return Uploader(self.api, self.config, self._budget, observe or self._observe)

    async def download(
        self,
        *,
        asset_id: str | None = None,
        key: str | None = None,
        cache_key: str | None = None,
        target: Path | None = None,
        overwrite: bool = False,
    ) -> DownloadResult:
        """Download an asset; see `Downloader.download`."""
        downloader = Downloader(self.api, self.config, self._budget, self._observe)
        return await downloader.download(
            asset_id=asset_id, key=key, cache_key=cache_key, target=target, overwrite=overwrite
        )


class Client:
    """The same for code that is not asynchronous; each call runs an event loop of its own."""

    def __init__(self, config: Config | None = None, *, observe: Observer = ignore) -> None:
        self._config = config or load_config()
        self._observe = observe

    def upload(
        self,
        path: Path,
        options: UploadOptions | None = None,
        *,
        accelerate: bool = False,
        resume: bool = False,
        compare: bool = False,
    ) -> UploadResult:
        """Upload a file; see `Uploader.upload`."""
        return self.run(
            lambda client: client.upload(path, options, accelerate=accelerate, resume=resume, compare=compare)
        )

    def upload_stream(self, stream: BinaryIO, options: UploadOptions | None = None) -> UploadResult:
        """Upload what a stream gives until its end."""
        return self.run(lambda client: client.upload_stream(stream, options))

    def upload_all(
        self,
        sources: Iterable[Path | Folder],
        options: UploadOptions | None = None,
        *,
        accelerate: bool = False,
        resume: bool = False,
        done: Callable[[Outcome], None] = ignore,
    ) -> None:
        """Upload files and folders; see `ManyUploads.run`. ``done`` is told what became of each file."""
        self.run(
            lambda client: client.upload_all(
                sources, options, accelerate=accelerate, resume=resume, done=done
            )
        )

    def download(
        self,
        *,
        asset_id: str | None = None,
        key: str | None = None,
        cache_key: str | None = None,
        target: Path | None = None,
        overwrite: bool = False,
    ) -> DownloadResult:
        """Download an asset; see `Downloader.download`."""
        return self.run(
            lambda client: client.download(
                asset_id=asset_id, key=key, cache_key=cache_key, target=target, overwrite=overwrite
            )
        )

    def quota(self) -> dict[str, Any]:
        """The account's quota answer."""
        return self.run(lambda client: client.api.fetch_quota())

    def assets(self, *, prefix: str | None = None, cache_key: str | None = None) -> list[Asset]:
        """All of the account's assets that match, newest first."""

        async def listed(client: AsyncClient) -> list[Asset]:
            return [asset async for asset in client.api.assets(prefix=prefix, cache_key=cache_key)]

        return self.run(listed)

    def delete(self, asset_id: str) -> None:
        """Delete an asset."""
        self.run(lambda client: client.api.delete_asset(asset_id))

    def run(self, work: Callable[[AsyncClient], Awaitable[Value]]) -> Value:
        """Do something with an AsyncClient, in an event loop that ends with it."""

        async def opened() -> Value:
            async with AsyncClient(self._config, observe=self._observe) as client:
                return await work(client)

        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(opened())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The faster event loop where it is installed (it is not on Windows)."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return None
    return uvloop.new_event_loop
