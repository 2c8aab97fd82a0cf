"""Uploading a file: accelerated over the edges, or as a standard form."""

import asyncio
import mimetypes
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal
from urllib.parse import quote

import aiohttp
from aiohttp.payload import AsyncIterablePayload, BytesPayload, Payload

from jettythunder_client.api import Api, Asset, UploadRequest, UploadSession
from jettythunder_client.budget import Budget
from jettythunder_client.config import BLOCK_BYTES, Config
from jettythunder_client.edges import measure_latencies
from jettythunder_client.engine import Engine, TransferStats
from jettythunder_client.errors import ApiError, ClientError, FileChanged, NoEdges, Unreachable
from jettythunder_client.events import Moved, Notice, Observer, Planned
from jettythunder_client.names import name_to_send
from jettythunder_client.plan import MIN_CHUNK_BYTES, choose_chunk_size, chunk_sizes
from jettythunder_client.problems import NETWORK_ERRORS, network_problem, raise_problem
from jettythunder_client.retry import pauses, worth_repeating
from jettythunder_client.scheduler import Limits, missing_numbers
from jettythunder_client.source import FileSource, SmallFile
from jettythunder_client.state import StateStore, Unfinished, identify
from jettythunder_client.transfer import ChunkSender

_MEGABYTE = 1_000_000
_USUAL_CHUNK_MB = 16
_HASH_FIRST_BYTES = 32 * 1024 * 1024
_ROUNDS = 3
_FORM_ATTEMPTS = 6
_TOO_MANY = 429
_COMPARE_FROM_CHUNKS = 20

# By the API's error codes: what makes the accelerated way pointless, what says that the session is gone, and
# what another round of sending may mend.
_NO_JETTYSPEED = frozenset({"jetty_speed_not_included", "no_edges"})
_SESSION_GONE = frozenset({"upload_not_found", "not_found"})
_MENDABLE = frozenset({"upload_incomplete", "content_hash_mismatch"})


@dataclass(frozen=True)
class UploadOptions:
    """What may be said about a file."""

    filename: str | None = None
    content_type: str | None = None
    cache_key: str | None = None
    pipeline_id: str | None = None
    ttl_seconds: int | None = None


@dataclass(frozen=True)
class UploadResult:
    """What became of an upload. ``seconds`` is from the first look at the file to the stored asset."""

    asset: Asset
    route: Literal["jettyspeed", "standard", "already_stored"]
    size_bytes: int
    sent_bytes: int
    seconds: float
    transfer_seconds: float
    chunk_count: int = 1
    resumed_bytes: int = 0
    edges_used: tuple[str, ...] = ()
    single_stream_bytes_per_second: float | None = None
    retries: int = 0
    hedges: int = 0

    @property
    def bytes_per_second(self) -> float:
        return self.sent_bytes / self.transfer_seconds if self.transfer_seconds > 0 else 0.0

    @property
    def speedup(self) -> float | None:
        """How many times a single stream's goodput this was; None where no single stream was measured."""
        single = self.single_stream_bytes_per_second
        return self.bytes_per_second / single if single else None


class Uploader:
    """Uploads files of one account."""

    def __init__(self, api: Api, config: Config, budget: Budget, observe: Observer) -> None:
        self._api = api
        self._config = config
        self._budget = budget
        self._observe = observe
        self._store = StateStore(config)

    async def upload(
        self,
        path: Path,
        options: UploadOptions,
        *,
        accelerate: bool,
        resume: bool = False,
        compare: bool = False,
    ) -> UploadResult:
        """Upload a file; where JettySpeed is not included, or pointless, as a standard upload.

        Raises:
            FileUnreadable, FileChanged: the file is not there, or another by now.
            TransferStalled: the edges can't be reached; go on later with ``resume``.
            ApiError: what the service refused it for.
        """
        size_bytes = identify(path).size_bytes
        if accelerate and not self._config.jettyspeed_enabled:
            self._observe(Notice("JettySpeed is switched off (JETTYSPEED_ENABLED): standard upload."))
            accelerate = False
        elif accelerate and size_bytes <= MIN_CHUNK_BYTES:
            self._observe(Notice("Files of up to 5 MiB are one chunk: standard upload."))
            accelerate = False
        if size_bytes <= BLOCK_BYTES:
            return await self._standard(await asyncio.to_thread(SmallFile, path, self._budget.limit), options)
        with FileSource(path, self._budget.limit) as source:
            if not accelerate:
                return await self._standard(source, options)
            try:
                return await self._accelerated(source, options, resume=resume, compare=compare)
            except ClientError as error:
                if error.code not in _NO_JETTYSPEED or (resume and isinstance(error, NoEdges)):
                    raise
                self._observe(Notice(f"{error.detail} Going on with the standard upload."))
                return await self._standard(source, options)

    async def _accelerated(
        self, source: FileSource, options: UploadOptions, *, resume: bool, compare: bool
    ) -> UploadResult:
        began = time.monotonic()
        size_bytes = source.identity.size_bytes
        hashing = asyncio.create_task(source.sha256())
        try:
            session = await self._find_session(source) if resume else None
            if session is None:
                made = await self._create(source, options, hashing)
                if not isinstance(made, UploadSession):
                    seconds = time.monotonic() - began
                    return UploadResult(made, "already_stored", size_bytes, 0, seconds, seconds)
                session = made
            if not session.edges:
                raise NoEdges
            resumed_bytes = sum(chunk.size_bytes for chunk in session.received.values())
            stats, asset = await self._transfer(source, session, hashing, resumed_bytes, compare=compare)
        finally:
            hashing.cancel()
        self._store.forget(session.id)
        if stats.connection_speed:
            self._store.remember_connection_speed(stats.connection_speed)
        return UploadResult(
            asset=asset,
            route="jettyspeed",
            size_bytes=size_bytes,
            sent_bytes=stats.transferred_bytes,
            seconds=time.monotonic() - began,
            transfer_seconds=stats.seconds,
            chunk_count=session.chunk_count,
            resumed_bytes=resumed_bytes,
            edges_used=stats.edges_used,
            single_stream_bytes_per_second=stats.single_stream,
            retries=stats.retries,
            hedges=stats.hedges,
        )

    async def _find_session(self, source: FileSource) -> UploadSession | None:
        """The open session of this very file, if there is one to go on with."""
        unfinished = self._store.find(source.path)
        if unfinished is None:
            return None
        source.check_unchanged(unfinished.file)
        try:
            session = await self._api.fetch_upload(unfinished.upload_id)
        except ApiError as error:
            if error.code not in _SESSION_GONE:
                raise
            session = None
        if session is None or session.status in ("aborted", "expired"):
            self._observe(Notice("The unfinished upload is no longer open: it begins anew."))
            self._store.forget(unfinished.upload_id)
            return None
        return session

    async def _create(
        self, source: FileSource, options: UploadOptions, hashing: asyncio.Task[str]
    ) -> UploadSession | Asset:
        size_bytes = source.identity.size_bytes
        configured_mb = self._config.chunk_size_mb
        filename = name_to_send(options.filename or source.path.name)
        request = UploadRequest(
            filename=filename,
            size_bytes=size_bytes,
            content_type=options.content_type or mimetypes.guess_type(filename)[0],
            # The hash of a small file is there at once, and may make sending it needless.
            content_hash=await hashing if size_bytes <= _HASH_FIRST_BYTES else None,
            cache_key=options.cache_key,
            pipeline_id=options.pipeline_id,
            ttl_seconds=options.ttl_seconds,
            chunk_size_bytes=choose_chunk_size(
                size_bytes,
                usual_bytes=(configured_mb or _USUAL_CHUNK_MB) * _MEGABYTE,
                bytes_per_second=self._store.connection_speed(),
                fixed=configured_mb is not None,
            ),
        )
        made = await self._api.create_upload(request)
        if isinstance(made, UploadSession) and not made.edges:
            await self._api.abort_upload(made.id)
        elif isinstance(made, UploadSession):
            self._store.save(Unfinished(made.id, source.identity, made.chunk_size_bytes, time.time()))
        return made

    async def _transfer(
        self,
        source: FileSource,
        session: UploadSession,
        hashing: asyncio.Task[str],
        resumed_bytes: int,
        *,
        compare: bool,
    ) -> tuple[TransferStats, Asset]:
        """Send what is missing and complete, again where the server does not have what was sent."""
        # A completed session has all chunks: only the answer did not arrive.
        numbers = [] if session.status == "completed" else missing_numbers(session.missing)
        sender = ChunkSender(self._api, session, source, numbers)
        latencies, _ = await asyncio.gather(
            measure_latencies(self._api.http, session.edges), sender.prepare()
        )
        reachable = sum(latency is not None for latency in latencies.values())
        self._observe(Planned(session.chunk_count, reachable or len(latencies), resumed_bytes))
        total = None
        for final in (False,) * (_ROUNDS - 1) + (True,):
            verifying = asyncio.create_task(sender.differing())
            try:
                stats = await self._send(session, sender, numbers, latencies, compare=compare)
                total = stats if total is None else _added(total, stats)
                if differing := await verifying:
                    total = _added(total, await self._send(session, sender, differing, latencies))
            finally:
                verifying.cancel()
            await self._check_unchanged(source, session)
            try:
                asset = await self._api.complete_upload(
                    session.id, content_hash=await hashing, parts_md5=await sender.parts_md5()
                )
            except ApiError as error:
                if final or error.code not in _MENDABLE:
                    raise
                session = await self._api.fetch_upload(session.id)
                numbers = missing_numbers(session.missing)
                sender = ChunkSender(self._api, session, source, numbers)
                compare = False
            else:
                return total, asset
        raise AssertionError("the last round returns or raises")

    async def _send(
        self,
        session: UploadSession,
        sender: ChunkSender,
        numbers: list[int],
        latencies: dict[str, float | None],
        *,
        compare: bool = False,
    ) -> TransferStats:
        sizes = chunk_sizes(chunk_size_bytes=session.chunk_size_bytes, size_bytes=session.size_bytes)
        engine = Engine(
            sender.send,
            chunks={number: sizes[number] for number in numbers},
            latencies=latencies,
            regions={edge.id: edge.region for edge in session.edges},
            limits=Limits(max_parallel=self._config.max_parallel),
            budget=self._budget,
            total_bytes=session.size_bytes,
            stall_seconds=self._config.retry_seconds,
            observe=self._observe,
            find_edges=sender.find_edges,
        )
        return await engine.run(compare=compare and len(numbers) >= _COMPARE_FROM_CHUNKS)

    async def _check_unchanged(self, source: FileSource, session: UploadSession) -> None:
        """A session with bytes of two versions of a file is of no use: it is given up."""
        try:
            source.check_unchanged()
        except FileChanged:
            self._store.forget(session.id)
            with suppress(ClientError):
                await self._api.abort_upload(session.id)
            raise

    async def _standard(self, source: FileSource | SmallFile, options: UploadOptions) -> UploadResult:
        size_bytes = source.identity.size_bytes
        named = replace(options, filename=options.filename or source.path.name)

        def moved(sent_bytes: int) -> None:
            self._observe(Moved(sent_bytes, size_bytes))

        failures, refused_since = 0, None
        for pause in pauses():
            try:
                async with self._budget.form():
                    content = source.unlimited or source.slices(0, size_bytes, moved)
                    return await self._form(content, named, size_bytes)
            except ClientError as error:
                if not worth_repeating(error):
                    raise
                wait = max(pause, error.retry_after_seconds or 0.0)
                if error.status == _TOO_MANY:
                    # It is the account that sends too many: the other files wait too, and this one may again.
                    refused_since = refused_since or time.monotonic()
                    waited = time.monotonic() - refused_since
                    noteworthy = self._budget.pause_forms(wait)
                else:
                    failures += 1
                    waited, noteworthy = 0.0, True
                if failures == _FORM_ATTEMPTS or waited + wait > self._config.retry_seconds:
                    raise
                if noteworthy:
                    self._observe(Notice(f"{error.detail} Trying again in {wait:.1f} s."))
            await asyncio.sleep(wait)
            source.check_unchanged()
        raise Unreachable

    async def upload_stream(self, stream: BinaryIO, options: UploadOptions) -> UploadResult:
        """Upload what a stream gives until its end, as a standard upload: its size is not known before."""
        read_bytes = 0

        async def blocks() -> AsyncIterator[memoryview]:
            nonlocal read_bytes
            while block := await asyncio.to_thread(stream.read, BLOCK_BYTES):
                async for piece in self._budget.limit.pieces(block):
                    yield piece
                    read_bytes += len(piece)
                    self._observe(Moved(read_bytes, 0))

        async with self._budget.form():
            result = await self._form(blocks(), options, None)
        return replace(result, size_bytes=read_bytes, sent_bytes=read_bytes)

    async def _form(
        self,
        content: bytes | AsyncIterator[memoryview],
        options: UploadOptions,
        size_bytes: int | None,
    ) -> UploadResult:
        began = time.monotonic()
        filename = name_to_send(options.filename or "stdin")
        form = aiohttp.MultipartWriter("form-data")
        for name in ("cache_key", "pipeline_id", "ttl_seconds"):
            if (value := getattr(options, name)) is not None:
                form.append(str(value)).set_content_disposition("form-data", name=name)
        kind = options.content_type or mimetypes.guess_type(filename)[0] or "application/octet-stream"
        part: Payload
        if isinstance(content, bytes):
            part = BytesPayload(content, content_type=kind)
        else:
            part = _FilePart(content, content_type=kind, size_bytes=size_bytes)
        # In a quoted name it can't be told whether its `%22` was a quotation mark (RFC 7578, section 4.2).
        encoded = quote(filename, safe="")
        part.headers["Content-Disposition"] = f"form-data; name=\"file\"; filename*=UTF-8''{encoded}"
        form.append_payload(part)
        data: Payload = form
        if isinstance(content, bytes):
            # It goes out at once, and not line by line.
            data = BytesPayload(await form.as_bytes(), content_type=form.content_type)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=600)
        try:
            async with self._api.http.post(
                self._api.url("/api/storage/upload"),
                data=data,
                headers=self._api.credentials,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                await raise_problem(response)
                asset: Asset = (await response.json())["asset"]
        except NETWORK_ERRORS as error:
            raise network_problem("The upload broke off", error) from error
        seconds = time.monotonic() - began
        return UploadResult(asset, "standard", size_bytes or 0, size_bytes or 0, seconds, seconds)


class _FilePart(AsyncIterablePayload):
    """A form's file; with its size known, the whole form has a Content-Length and is refused early."""

    def __init__(
        self,
        content: AsyncIterator[memoryview],
        *,
        content_type: str,
        size_bytes: int | None,
    ) -> None:
        super().__init__(content, content_type=content_type)  # type: ignore[arg-type]
        self._size = size_bytes


def _added(one: TransferStats, other: TransferStats) -> TransferStats:
    """Both rounds as one; the first one's measure of a single stream stands."""
    return replace(
        one,
        transferred_bytes=one.transferred_bytes + other.transferred_bytes,
        seconds=one.seconds + other.seconds,
        edges_used=tuple(dict.fromkeys(one.edges_used + other.edges_used)),
        retries=one.retries + other.retries,
        hedges=one.hedges + other.hedges,
    )
