"""Uploading many files: small ones at once over all connections, large ones beside them."""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from jettythunder_client.api import Api
from jettythunder_client.budget import Budget
from jettythunder_client.config import Config
from jettythunder_client.errors import ClientError, FileChanged, Unreachable
from jettythunder_client.events import Observer
from jettythunder_client.folder import FoundFile, LeftOut, Selection, Unreadable, key_of, walk
from jettythunder_client.plan import MIN_CHUNK_BYTES
from jettythunder_client.state import StateStore, identify
from jettythunder_client.stored import StoredFiles
from jettythunder_client.upload import Uploader, UploadOptions, UploadResult

_LARGE_AT_ONCE = 2
_FOUND_AT_ONCE = 64
_LARGE_WAITING = 1000
# By the API's error codes: what every other file would be refused for as well.
_ENDS_ALL = frozenset({"unauthenticated", "account_suspended", "storage_not_included"})


@dataclass(frozen=True)
class Folder:
    """A folder to upload.

    With ``keys`` each file gets a cache key: ``key_prefix``, by default the folder's name and a slash, then
    its path below the folder. What an earlier run has stored is sent only with ``again``.
    """

    path: Path
    selection: Selection = field(default_factory=Selection)
    keys: bool = True
    key_prefix: str | None = None
    again: bool = False

    @property
    def keys_begin_with(self) -> str | None:
        """What the files' cache keys begin with; None where they get none."""
        own = f"{Path(os.path.realpath(self.path)).name}/"
        return None if not self.keys else own if self.key_prefix is None else self.key_prefix


@dataclass(frozen=True)
class Outcome:
    """What became of a file; without a result, an error or a reason to leave it out it is stored already."""

    path: Path
    size_bytes: int = 0
    result: UploadResult | None = None
    error: ClientError | None = None
    left_out: LeftOut | None = None
    without_key: bool = False
    """Whether it was to have a cache key and could not have one."""


@dataclass(frozen=True)
class _Job:
    """A file to send."""

    path: Path
    size_bytes: int
    options: UploadOptions
    found: FoundFile | None = None
    stored: StoredFiles | None = None
    without_key: bool = False


class ManyUploads:
    """One run over files and folders. ``done`` is called for each file, ``observe`` gives its observer."""

    def __init__(
        self,
        api: Api,
        config: Config,
        budget: Budget,
        *,
        options: UploadOptions,
        accelerate: bool,
        resume: bool,
        observe: Callable[[Path], Observer],
        done: Callable[[Outcome], None],
    ) -> None:
        self._api = api
        self._config = config
        self._budget = budget
        self._options = options
        self._accelerate = accelerate
        self._resume = resume
        self._observe = observe
        self._done = done
        self._store = StateStore(config)
        self._small: asyncio.Queue[_Job] = asyncio.Queue(_FOUND_AT_ONCE)
        self._large: asyncio.Queue[_Job] = asyncio.Queue(_LARGE_WAITING)
        self._succeeded_at = time.monotonic()

    async def run(self, sources: Iterable[Path | Folder]) -> None:
        """Upload all of them; one that fails ends the others only where they would fail for the same reason.

        Raises:
            ClientError: the account, or the way to the service, takes no file at all.
        """
        workers = [self._work(self._small) for _ in range(self._config.max_parallel)]
        workers += [self._work(self._large) for _ in range(_LARGE_AT_ONCE)]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(worker) for worker in workers]
                for source in sources:
                    await self._give_out(source)
                await self._small.join()
                await self._large.join()
                for task in tasks:
                    task.cancel()
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _give_out(self, source: Path | Folder) -> None:
        if isinstance(source, Folder):
            file = self._store.stored_file
            described = (vars(self._options), source.keys_begin_with)
            with StoredFiles(file, source.path, described) as stored:
                await self._give_out_folder(source, stored)
                await self._small.join()
                await self._large.join()
            return
        try:
            size_bytes = identify(source).size_bytes
        except ClientError as error:
            self._done(Outcome(source, error=error))
            return
        await self._put(_Job(source, size_bytes, self._options))

    async def _give_out_folder(self, folder: Folder, stored: StoredFiles) -> None:
        if folder.again:
            stored.forget()
        else:
            await stored.confirm(self._api.assets())
        prefix = folder.keys_begin_with
        entries = walk(folder.path, folder.selection)
        while batch := await asyncio.to_thread(_next, entries):
            for found in batch:
                match found:
                    case LeftOut():
                        self._done(Outcome(found.path, left_out=found))
                    case Unreadable():
                        self._done(Outcome(found.path, error=found.error))
                    case FoundFile() if stored.has(found.relative, found.identity):
                        self._done(Outcome(found.path, found.identity.size_bytes))
                    case FoundFile():
                        await self._put(self._job(found, prefix, stored))

    def _job(self, found: FoundFile, prefix: str | None, stored: StoredFiles) -> _Job:
        key = None if prefix is None else key_of(prefix, found.relative)
        options = replace(self._options, cache_key=key)
        without_key = prefix is not None and key is None
        return _Job(found.path, found.identity.size_bytes, options, found, stored, without_key)

    async def _put(self, job: _Job) -> None:
        await (self._large if self._is_large(job) else self._small).put(job)

    def _is_large(self, job: _Job) -> bool:
        return self._accelerate and job.size_bytes > MIN_CHUNK_BYTES

    async def _work(self, jobs: "asyncio.Queue[_Job]") -> None:
        while True:
            job = await jobs.get()
            try:
                self._done(await self._send(job))
            finally:
                jobs.task_done()

    async def _send(self, job: _Job) -> Outcome:
        try:
            result = await self._upload(job)
        except ClientError as error:
            if error.code == "too_many_cache_keys" and job.found is not None and job.options.cache_key:
                return await self._send(
                    replace(job, options=replace(job.options, cache_key=None), without_key=True)
                )
            silent_seconds = time.monotonic() - self._succeeded_at
            unreachable = isinstance(error, Unreachable) and silent_seconds > self._config.retry_seconds
            if error.code in _ENDS_ALL or unreachable:
                raise
            return Outcome(job.path, job.size_bytes, error=error)
        self._succeeded_at = time.monotonic()
        if result.route == "standard" and self._is_large(job):
            # The tier has no JettySpeed, or there are no edges: the further ones go as forms, all at once.
            self._accelerate = False
        if job.found is not None and job.stored is not None:
            job.stored.add(job.found.relative, job.found.identity, result.asset)
        return Outcome(job.path, result.size_bytes, result, without_key=job.without_key)

    async def _upload(self, job: _Job) -> UploadResult:
        uploader = Uploader(self._api, self._config, self._budget, self._observe(job.path))
        large = self._is_large(job)
        resume = large and (self._resume or job.found is not None)
        try:
            return await uploader.upload(job.path, job.options, accelerate=large, resume=resume)
        except FileChanged:
            if self._resume or not resume:
                raise
        # It has changed since an earlier run, which left its upload unfinished.
        return await uploader.upload(job.path, job.options, accelerate=large)


def _next(
    entries: Iterator[FoundFile | LeftOut | Unreadable],
) -> list[FoundFile | LeftOut | Unreadable]:
    return list(islice(entries, _FOUND_AT_ONCE))
