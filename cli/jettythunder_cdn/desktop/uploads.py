"""Uploads from the page: received onto this machine's disk, then sent by the client library's engine.

A file is received as a whole first, so that it goes on after a pause, a closed browser or a restart. What it
is and how far is in a file beside it.
"""

import asyncio
import json
import logging
import os
import shutil
import time
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from jettythunder_cdn.account import Account
from jettythunder_cdn.errors import BadRequest, NoSpace, NotFound, WrongOffset
from jettythunder_cdn.model import Asset
from jettythunder_cdn.reading.cache import Cache
from jettythunder_client.cdn import account_digest
from jettythunder_client.client import AsyncClient
from jettythunder_client.config import Config
from jettythunder_client.errors import ClientError
from jettythunder_client.events import EdgeProgress, Event, Moved, Notice
from jettythunder_client.private_files import write_private
from jettythunder_client.rate_limit import UNLIMITED
from jettythunder_client.state import StateStore
from jettythunder_client.upload import UploadOptions, UploadResult

log = logging.getLogger(__name__)

State = Literal["receiving", "waiting", "sending", "paused", "done", "failed"]

SENT_AT_ONCE = 2
_MOST_FILES = 10_000
_SPEED_SECONDS = 0.5
_DONE_KEPT = 50
_OWN = frozenset({"account", "modified_ms"})


@dataclass
class Upload:
    """A file on its way from the page to the account."""

    id: str
    account: str
    name: str
    folder: str
    size_bytes: int
    modified_ms: int
    created_at: float
    state: State = "receiving"
    detail: str = ""
    asset_id: str = ""
    route: str = ""
    seconds: float = 0.0


@dataclass
class Progress:
    """How far an upload is, and over which edges it goes; not kept over restarts."""

    done_bytes: int = 0
    bytes_per_second: float = 0.0
    edges: tuple[EdgeProgress, ...] = ()
    seen: tuple[float, int] = field(default_factory=lambda: (time.monotonic(), 0))

    def moved(self, event: Moved) -> None:
        """Take in where a transfer is."""
        self.done_bytes, self.edges = event.done_bytes, event.edges
        seconds = time.monotonic() - self.seen[0]
        if seconds >= _SPEED_SECONDS:
            self.bytes_per_second = max(0.0, (event.done_bytes - self.seen[1]) / seconds)
            self.seen = time.monotonic(), event.done_bytes


class Uploads:
    """The page's uploads. Start it, and close it."""

    def __init__(self, folder: Path, account: Account, cache: Cache, *, min_free_bytes: int) -> None:
        self._folder = folder
        self._account = account
        self._cache = cache
        self._min_free_bytes = min_free_bytes
        self._uploads: dict[str, Upload] = {}
        self._progress: dict[str, Progress] = {}
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._clients: dict[Config, tuple[AsyncClient, int]] = {}
        self._receiving: set[str] = set()

    def start(self) -> None:
        """Go on with what was being sent when the process ended."""
        for file in sorted(self._folder.glob("*/upload.json")):
            with suppress(OSError, ValueError, TypeError):
                upload = Upload(**json.loads(file.read_text(encoding="utf-8")))
                self._uploads[upload.id] = upload
                if upload.state == "sending":
                    self._set(upload, "waiting")
                elif upload.state == "done":
                    self._content(upload).unlink(missing_ok=True)
        self._send_more()

    async def close(self) -> None:
        """Stop sending; the next start goes on."""
        sending, self._sending = self._sending, {}
        for task in sending.values():
            task.cancel()
        await asyncio.gather(*sending.values(), return_exceptions=True)

    def listed(self) -> list[dict[str, Any]]:
        """The account's uploads for the page, oldest first."""
        found = sorted(self._mine(), key=lambda upload: upload.created_at)
        return [self._shown(upload) for upload in found]

    @property
    def done_count(self) -> int:
        """How many of the listed uploads are done."""
        return sum(upload.state == "done" for upload in self._mine())

    def create(self, *, name: str, folder: str, size_bytes: int, modified_ms: int) -> dict[str, Any]:
        """Begin to receive a file; the upload that was begun with it, if that is not received yet.

        Raises:
            BadRequest: the name can't be one.
            NoSpace: the disk has no room for it.
        """
        if not name or len(name) > 1024 or size_bytes < 0 or len(folder) > 4096:
            raise BadRequest("A file has a name and a size.")
        for upload in self._mine():
            same = (upload.name, upload.folder, upload.size_bytes, upload.modified_ms)
            if upload.state == "receiving" and same == (name, folder, size_bytes, modified_ms):
                return self._shown(upload)
        if len(self._uploads) >= _MOST_FILES:
            raise BadRequest("There are too many uploads: wait for some, or remove those that are done.")
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        unreceived = sum(
            one.size_bytes - self._received(one) for one in self._uploads.values() if one.state == "receiving"
        )
        if shutil.disk_usage(self._folder).free - unreceived - size_bytes < self._min_free_bytes:
            raise NoSpace
        account = account_digest(self._account.config)
        upload = Upload(uuid4().hex, account, name, folder, size_bytes, modified_ms, time.time())
        self._place(upload).mkdir(mode=0o700)
        self._content(upload).touch(mode=0o600)
        self._uploads[upload.id] = upload
        self._set(upload, "receiving")
        return self._shown(upload)

    async def receive(self, upload_id: str, offset: int, pieces: AsyncIterator[bytes]) -> dict[str, Any]:
        """Take a file's bytes from an offset on; once it is whole it is sent.

        Raises:
            WrongOffset: it is received up to another place.
        """
        upload = self._get(upload_id)
        if upload.state != "receiving" or upload.id in self._receiving or offset != self._received(upload):
            raise WrongOffset(received_bytes=self._received(upload))
        self._receiving.add(upload.id)
        try:
            await self._append(upload, offset, pieces)
        finally:
            self._receiving.discard(upload.id)
        if self._received(upload) == upload.size_bytes:
            self._set(upload, "waiting")
            self._send_more()
        return self._shown(upload)

    async def _append(self, upload: Upload, received: int, pieces: AsyncIterator[bytes]) -> None:
        with self._content(upload).open("ab", buffering=0) as file:
            async for piece in pieces:
                received += len(piece)
                if received > upload.size_bytes:
                    raise BadRequest("More bytes came than the file has.")
                try:
                    await asyncio.to_thread(_write, file.fileno(), piece)
                except OSError:
                    raise NoSpace from None

    async def pause(self, upload_id: str) -> None:
        """Stop sending a file until it is resumed, also after a restart."""
        upload = self._get(upload_id)
        if upload.state in ("waiting", "sending"):
            self._set(upload, "paused")
            await self._stop(upload)
            self._send_more()

    def resume(self, upload_id: str) -> None:
        """Go on with a file that was paused, or failed."""
        upload = self._get(upload_id)
        if upload.state in ("paused", "failed"):
            self._set(upload, "waiting")
            self._send_more()

    async def remove(self, upload_id: str) -> None:
        """Give an upload up, or remove one that is done from the list."""
        upload = self._get(upload_id)
        was_open = upload.state in ("sending", "paused", "failed")
        del self._uploads[upload.id]
        await self._stop(upload)
        config = self._account.signed_in
        if was_open and config is not None:
            store = StateStore(config)
            if (unfinished := store.find(self._content(upload))) is not None:
                with suppress(ClientError):
                    async with AsyncClient(config) as client:
                        await client.api.abort_upload(unfinished.upload_id)
                store.forget(unfinished.upload_id)
        await asyncio.to_thread(shutil.rmtree, self._place(upload), ignore_errors=True)
        self._send_more()

    async def pause_all(self) -> None:
        """Stop sending everything, as nobody is signed in any more."""
        for upload in self._mine():
            await self.pause(upload.id)

    def _send_more(self) -> None:
        waiting = sorted(
            (upload for upload in self._mine() if upload.state == "waiting"),
            key=lambda upload: upload.created_at,
        )
        for upload in waiting[: max(0, SENT_AT_ONCE - len(self._sending))]:
            self._set(upload, "sending")
            self._sending[upload.id] = asyncio.create_task(self._send(upload))

    async def _send(self, upload: Upload) -> None:
        progress = self._progress[upload.id] = Progress()
        try:
            result = await self._transfer(upload, progress)
            upload.asset_id, upload.route = result.asset["id"], result.route
            # Of a resumed upload only the last part's time is known.
            upload.seconds = 0.0 if result.resumed_bytes else result.seconds
            self._set(upload, "done")
            await self._keep(upload, result)
        except ClientError as error:
            self._set(upload, "failed", error.detail)
        except Exception as error:
            log.exception("an upload failed")
            self._set(upload, "failed", f"The upload failed: {error}")
        finally:
            self._progress.pop(upload.id, None)
            if self._sending.pop(upload.id, None) is not None:
                self._send_more()

    async def _transfer(self, upload: Upload, progress: Progress) -> UploadResult:
        def observe(event: Event) -> None:
            match event:
                case Moved():
                    progress.moved(event)
                case Notice():
                    upload.detail = event.text

        config, content = self._account.config, self._content(upload)
        resume = StateStore(config).find(content) is not None
        async with self._client(config) as client:
            return await client.upload(
                content, UploadOptions(filename=upload.name), accelerate=True, resume=resume, observe=observe
            )

    @asynccontextmanager
    async def _client(self, config: Config) -> AsyncIterator[AsyncClient]:
        """The one client of all uploads under way: they share its connections, memory and rate limit."""
        # The limit alone may change meanwhile: the client reads it again by itself.
        key = replace(config, limit=UNLIMITED)
        client, users = self._clients.get(key) or (
            await AsyncClient(config, observe=self._note).__aenter__(),
            0,
        )
        self._clients[key] = client, users + 1
        try:
            yield client
        finally:
            client, users = self._clients.pop(key)
            if users > 1:
                self._clients[key] = client, users - 1
            else:
                await client.__aexit__(None, None, None)

    def _note(self, event: Event) -> None:
        if isinstance(event, Notice):
            for upload_id in self._sending:
                self._uploads[upload_id].detail = event.text

    async def _keep(self, upload: Upload, result: UploadResult) -> None:
        """Keep the bytes in the cache, where there is room, and no longer among the uploads."""
        asset = _asset(result.asset)
        content = self._content(upload)
        try:
            if asset.size_bytes == upload.size_bytes:
                await self._cache.admit(asset, content)
                # Asked about now, it can be read at once when there is no network later.
                with suppress(ClientError):
                    await self._cache.asset(asset.id, self._account.credential)
        finally:
            content.unlink(missing_ok=True)
        done = [one for one in self._uploads.values() if one.state == "done"]
        for old in sorted(done, key=lambda one: one.created_at)[:-_DONE_KEPT]:
            del self._uploads[old.id]
            shutil.rmtree(self._place(old), ignore_errors=True)

    async def _stop(self, upload: Upload) -> None:
        if (task := self._sending.pop(upload.id, None)) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _set(self, upload: Upload, state: State, detail: str = "") -> None:
        upload.state, upload.detail = state, detail
        write_private(self._place(upload) / "upload.json", json.dumps(asdict(upload)))

    def _mine(self) -> list[Upload]:
        """The uploads of the account that is signed in."""
        config = self._account.signed_in
        account = account_digest(config) if config is not None else None
        return [upload for upload in self._uploads.values() if upload.account == account]

    def _get(self, upload_id: str) -> Upload:
        for upload in self._mine():
            if upload.id == upload_id:
                return upload
        raise NotFound("There is no such upload.")

    def _place(self, upload: Upload) -> Path:
        return self._folder / upload.id

    def _content(self, upload: Upload) -> Path:
        return self._place(upload) / "content"

    def _received(self, upload: Upload) -> int:
        with suppress(OSError):
            return self._content(upload).stat().st_size
        return 0

    def _shown(self, upload: Upload) -> dict[str, Any]:
        progress = self._progress.get(upload.id, Progress())
        shown = {key: value for key, value in asdict(upload).items() if key not in _OWN}
        received = self._received(upload) if upload.state == "receiving" else upload.size_bytes
        done = upload.size_bytes if upload.state == "done" else progress.done_bytes
        return {
            **shown,
            "received_bytes": received,
            "done_bytes": done,
            "bytes_per_second": progress.bytes_per_second,
            "edges": [asdict(edge) for edge in progress.edges],
        }


def _asset(record: dict[str, Any]) -> Asset:
    """An asset as the gateway's stream will describe it: a hash that is only claimed is no entity tag."""
    verified = bool(record.get("content_hash_verified"))
    return Asset(
        id=record["id"],
        etag=str(record["content_hash"]) if verified else f"asset-{record['id']}",
        size_bytes=int(record["size_bytes"]),
        content_type=str(record.get("content_type") or "application/octet-stream"),
        disposition="inline",
        modified="",
    )


def _write(descriptor: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]


def plain_name(name: str) -> str:
    """A file's name without its folders and control characters."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join("_" if unicodedata.category(char)[0] == "C" else char for char in last)
