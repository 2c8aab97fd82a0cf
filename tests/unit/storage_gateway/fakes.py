"""A database, an object storage and a chunk-worker in memory: what use-cases run on in unit tests.

They have the signatures of what they stand for, and do what its queries and servers do. Every call lets the
other tasks run first, as a round trip would.
"""

import asyncio
import contextlib
import copy
import hashlib
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from jettythunder.broker.rpc import RpcClient
from jettythunder.checksums import Algorithm, Checksum, checksum_of
from jettythunder.chunk_urls import ChunkUrls
from jettythunder.contracts.assets import AssetVerified, VerifyAssetV1
from jettythunder.contracts.envelope import Payload
from jettythunder.contracts.replies import Denied
from jettythunder.contracts.uploads import ChunkStored, UploadChunkV2
from jettythunder.database import Connection, Database, Isolation, Runner, Statement
from jettythunder.errors import BrokerUnavailable, StorageUnavailable, UploadNotOpen
from jettythunder.outbox import Rows
from jettythunder.signatures import SigningKeys, new_signing_key
from jettythunder.slots import Slots
from jettythunder.storage import Body, ListedPart, ObjectMissing, PartsMissing, Storage, StoredPart
from jettythunder.storage.probing import Probe
from storage_gateway.access.model import Tenant
from storage_gateway.assets import store as assets_store
from storage_gateway.assets.cache_keys import CacheKeys
from storage_gateway.assets.delete import Deleter
from storage_gateway.assets.find import Finder
from storage_gateway.assets.lost import LostObjects
from storage_gateway.assets.model import Asset, DeletedAsset
from storage_gateway.assets.store import AssetStore, ExpiredAsset, UnwantedObject
from storage_gateway.assets.verify import Verifier
from storage_gateway.messages import MESSAGES
from storage_gateway.uploads.dispatch import ChunkDispatcher
from storage_gateway.uploads.finish import Finisher
from storage_gateway.uploads.lease import Leases
from storage_gateway.uploads.model import ChunkSizes, Kind, Received, Status, StoredChunk, Upload
from storage_gateway.uploads.multipart import Multipart
from storage_gateway.uploads.open import Opener
from storage_gateway.uploads.receive import FormUploads, ReceiveLimits
from storage_gateway.uploads.sessions import Sessions, SessionSettings
from storage_gateway.uploads.spool import Spool, SpoolBudget
from storage_gateway.uploads.store import (
    ClosedUpload,
    ExpiredUpload,
    FinishedUpload,
    LeftoverMultipart,
    NewUpload,
    Room,
    UploadStore,
)

BUCKET = "bucket"
ACCOUNT_ID = UUID(int=1)
SIGNING_KEYS = SigningKeys.parse(new_signing_key("test"))
CHUNK_URLS = ChunkUrls(["a key of at least thirty-two characters"])
EPOCH = 3
LATE_WRITE_SECONDS = 300
RETRY_SECONDS = 60
CACHE_KEYS_PER_ASSET = 3
OPEN_SESSIONS = 10
QUOTA_BYTES = 2_000_000_000
CHUNK_BYTES = 100
CHUNK_SECONDS = 300
HOLD_SECONDS = 300
SPOOL_BYTES = 10_000
LEASE_SECONDS = 300
UPLOAD_SECONDS = 3600
NOW = datetime.now(UTC)

_PAYLOADS = {payload.TYPE: payload for payload in MESSAGES.sends}


def made_tenant(**changes: Any) -> Tenant:
    """An account of a tier with everything."""
    tenant = Tenant(
        account_id=ACCOUNT_ID,
        agentcache_user_ref="user",
        tier="pro",
        status="active",
        epoch=EPOCH,
        s3_prefix=f"accounts/{ACCOUNT_ID}/",
        jetty_speed_enabled=True,
        storage_quota_gb=2,
        bandwidth_quota_gb=10,
        max_file_size_mb=500,
        rate_limit_per_minute=60,
    )
    return replace(tenant, **changes)


def made_upload(**changes: Any) -> Upload:
    """An open form upload."""
    upload_id: UUID = changes.pop("id", None) or uuid4()
    upload = Upload(
        id=upload_id,
        account_id=ACCOUNT_ID,
        kind=Kind.FORM,
        status=Status.RECEIVING,
        filename="a.bin",
        content_type="application/octet-stream",
        s3_bucket=BUCKET,
        s3_key=f"accounts/{ACCOUNT_ID}/{upload_id}/a.bin",
        s3_upload_id=None,
        size_bytes=None,
        chunk_size_bytes=None,
        content_hash=None,
        cache_key=None,
        agentcache_pipeline_id=None,
        asset_expires_at=None,
        asset_id=None,
        failure_code=None,
        correlation_id="",
        expires_at=NOW + timedelta(hours=1),
        created_at=NOW,
    )
    return replace(upload, **changes)


def made_asset(**changes: Any) -> Asset:
    """A live asset with a verified hash."""
    asset_id: UUID = changes.pop("id", None) or uuid4()
    asset = Asset(
        id=asset_id,
        account_id=ACCOUNT_ID,
        s3_key=f"accounts/{ACCOUNT_ID}/{asset_id}/a.bin",
        s3_bucket=BUCKET,
        filename="a.bin",
        content_type="application/octet-stream",
        size_bytes=7,
        content_hash=sha256_of(b"content"),
        content_hash_verified=True,
        cache_key=None,
        agentcache_pipeline_id=None,
        hit_count=0,
        last_accessed=None,
        expires_at=None,
        uploaded_via="api",
        upload_speed_mbps=None,
        created_at=NOW,
    )
    return replace(asset, **changes)


def received_upload(upload: Upload | None = None, *, content: bytes = b"content", **changes: Any) -> Received:
    """An upload whose bytes have arrived, and whose hash we have computed."""
    upload = upload or made_upload()
    received = Received(
        upload_id=upload.id,
        account_id=upload.account_id,
        filename=upload.filename,
        content_type=upload.content_type,
        s3_bucket=upload.s3_bucket,
        s3_key=upload.s3_key,
        s3_upload_id=upload.s3_upload_id,
        size_bytes=len(content),
        content_hash=sha256_of(content),
        hash_verified=True,
        chunk_count=1,
        duration_seconds=1.0,
        uploaded_via="api",
    )
    return replace(received, **changes)


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def md5_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


async def others_run() -> None:
    """Let the other tasks run."""
    await asyncio.sleep(0)


async def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Deletion:
    """The seconds until an object is deleted next, and since its deletion was asked for."""

    due_seconds: int = 0
    age_seconds: int = 0


@dataclass
class State:
    """What the database holds. ``free_bytes`` and ``free_bandwidth`` are what reservations may still take.

    ``serving`` has the assets that serve uploads of the same bytes; ``deletions`` the objects that are to go.
    """

    uploads: dict[UUID, Upload] = field(default_factory=dict)
    chunks: dict[UUID, dict[int, StoredChunk]] = field(default_factory=dict)
    assets: dict[UUID, Asset] = field(default_factory=dict)
    serving: set[UUID] = field(default_factory=set)
    cache_keys: dict[str, UUID] = field(default_factory=dict)
    deletions: dict[UnwantedObject, Deletion] = field(default_factory=dict)
    events: list[Payload] = field(default_factory=list)
    inbox: set[tuple[str, UUID]] = field(default_factory=set)
    free_bytes: int = QUOTA_BYTES
    free_bandwidth: int = QUOTA_BYTES

    def add(self, upload: Upload) -> Upload:
        self.uploads[upload.id] = upload
        return upload

    def add_asset(self, asset: Asset, *, serves: bool = True) -> Asset:
        self.assets[asset.id] = asset
        if serves:
            self.serving.add(asset.id)
        return asset

    def delete_asset(self, asset_id: UUID) -> Asset:
        self.serving.discard(asset_id)
        return self.assets.pop(asset_id)

    def note_deletion(self, s3_bucket: str, s3_key: str) -> None:
        self.deletions.setdefault(UnwantedObject(s3_bucket, s3_key), Deletion())

    @property
    def due(self) -> list[UnwantedObject]:
        """The objects that housekeeping would delete now."""
        return [unwanted for unwanted, deletion in self.deletions.items() if deletion.due_seconds <= 0]

    def wait(self, seconds: int) -> None:
        """Let the time pass that deletions wait for."""
        self.deletions = {
            unwanted: Deletion(deletion.due_seconds - seconds, deletion.age_seconds + seconds)
            for unwanted, deletion in self.deletions.items()
        }

    def write(self, events: Rows) -> None:
        for event_type, body in zip(events.routing_keys, events.bodies, strict=True):
            self.events.append(_PAYLOADS[event_type].model_validate(json.loads(body)["data"]))

    def change(self, upload_id: UUID, **columns: Any) -> None:
        self.uploads[upload_id] = replace(self.uploads[upload_id], **columns)

    def find_serving(self, account_id: UUID, content_hash: str) -> Asset | None:
        """The asset that stands for these bytes, live or expired."""
        return next(
            (
                asset
                for asset in self.assets.values()
                if asset.id in self.serving
                and (asset.account_id, asset.content_hash) == (account_id, content_hash)
            ),
            None,
        )


def is_live(asset: Asset) -> bool:
    return asset.expires_at is None or asset.expires_at > datetime.now(UTC)


class FakeDatabase(Database):
    """Transactions one after another, rolled back by an error. Of statements it knows outbox and inbox.

    ``before_transaction`` runs once, before the next transaction begins.
    """

    def __init__(self, state: State) -> None:
        super().__init__("postgresql://nowhere", name="tests")
        self.state = state
        self.before_transaction: Callable[[], Awaitable[object]] = _nothing
        self._one_at_a_time = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def transaction(
        self, *, isolation: Isolation = "read_committed", readonly: bool = False
    ) -> AsyncIterator[Connection]:
        before, self.before_transaction = self.before_transaction, _nothing
        await before()
        await others_run()
        async with self._one_at_a_time:
            saved = copy.deepcopy(vars(self.state))
            try:
                yield FakeConnection(self)
            except BaseException:
                vars(self.state).update(saved)
                raise

    async def fetch(self, statement: Statement, arguments: Sequence[object]) -> list[Any]:
        await others_run()
        given: dict[str, Any] = dict(zip(statement.parameters, arguments, strict=True))
        if statement.name == "insert_outbox":
            self.state.write(Rows(**given))
            return []
        is_known = (given["consumer"], given["event_id"]) in self.state.inbox
        if statement.name == "is_in_inbox":
            return [(is_known,)]
        assert statement.name == "insert_inbox"
        self.state.inbox.add((given["consumer"], given["event_id"]))
        return [] if is_known else [(True,)]


class FakeConnection(Connection):
    """A connection in a transaction."""

    def __init__(self, database: FakeDatabase) -> None:
        self.database = database

    async def fetch(self, statement: Statement, arguments: Sequence[object]) -> list[Any]:
        return await self.database.fetch(statement, arguments)


class FakeUploadStore(UploadStore):
    """Uploads of a state."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.renewals: list[set[UUID]] = []

    async def open(self, upload: NewUpload, events: Rows) -> Room:
        await others_run()
        granted = upload.reserve_bytes <= self.state.free_bytes
        if granted:
            self.state.free_bytes -= upload.reserve_bytes
            self.state.add(
                made_upload(
                    id=upload.upload_id,
                    account_id=upload.account_id,
                    kind=upload.kind,
                    status=upload.status,
                    filename=upload.filename,
                    content_type=upload.content_type,
                    s3_bucket=upload.s3_bucket,
                    s3_key=upload.s3_key,
                    size_bytes=upload.size_bytes,
                    chunk_size_bytes=upload.chunk_size_bytes,
                    content_hash=upload.content_hash,
                    cache_key=upload.cache_key,
                    agentcache_pipeline_id=upload.pipeline_id,
                    asset_expires_at=upload.asset_expires_at,
                    correlation_id=upload.correlation_id,
                    expires_at=datetime.now(UTC) + timedelta(seconds=upload.open_seconds),
                    created_at=datetime.now(UTC),
                )
            )
            self.state.write(events)
        return Room(granted, 0, QUOTA_BYTES - self.state.free_bytes, QUOTA_BYTES)

    async def grow_reservation(
        self, *, account_id: UUID, upload_id: UUID, more_bytes: int, open_seconds: int
    ) -> Room:
        await others_run()
        if not self._is_open(upload_id):
            raise UploadNotOpen
        granted = more_bytes <= self.state.free_bytes
        if granted:
            self.state.free_bytes -= more_bytes
        return Room(granted, 0, QUOTA_BYTES - self.state.free_bytes, QUOTA_BYTES)

    async def fetch_chunk(self, *, upload_id: UUID, number: int) -> StoredChunk | None:
        await others_run()
        return self.state.chunks.get(upload_id, {}).get(number)

    async def set_multipart(self, *, upload_id: UUID, s3_upload_id: str) -> None:
        await others_run()
        self.state.change(upload_id, s3_upload_id=s3_upload_id)

    async def renew_leases(self, upload_ids: Sequence[UUID], *, lease_seconds: int) -> list[UUID]:
        self.renewals.append(set(upload_ids))
        return [one for one in upload_ids if self._is_open(one)]

    async def fetch(self, *, account_id: UUID, upload_id: UUID) -> Upload | None:
        await others_run()
        upload = self.state.uploads.get(upload_id)
        return upload if upload is not None and upload.account_id == account_id else None

    async def fetch_chunks(self, upload_id: UUID) -> list[StoredChunk]:
        await others_run()
        return [chunk for _, chunk in sorted(self.state.chunks.get(upload_id, {}).items())]

    async def forget_chunks(self, *, upload_id: UUID, numbers: Sequence[int]) -> None:
        await others_run()
        for number in numbers:
            self.state.chunks[upload_id].pop(number, None)

    async def begin_receiving(self, *, upload_id: UUID, open_seconds: int) -> bool:
        await others_run()
        if not self.state.uploads[upload_id].status.takes_chunks:
            return False
        self.state.change(upload_id, status=Status.RECEIVING)
        return True

    async def begin_completing(self, *, upload_id: UUID, lease_seconds: int) -> bool:
        await others_run()
        if not self._is_open(upload_id):
            return False
        self.state.change(upload_id, status=Status.COMPLETING)
        return True

    async def reopen(self, upload_id: UUID) -> None:
        await others_run()
        if self.state.uploads[upload_id].status is Status.COMPLETING:
            self.state.change(upload_id, status=Status.RECEIVING)

    async def complete(self, finished: FinishedUpload, events: Rows) -> Asset | None:
        await others_run()
        upload = self.state.uploads[finished.upload_id]
        is_taken = self.state.find_serving(upload.account_id, finished.content_hash) is not None
        if not upload.status.is_open or (finished.content_hash_verified and is_taken):
            return None
        asset = made_asset(
            id=upload.id,
            account_id=upload.account_id,
            s3_key=upload.s3_key,
            s3_bucket=upload.s3_bucket,
            filename=upload.filename,
            content_type=finished.content_type,
            size_bytes=finished.size_bytes,
            content_hash=finished.content_hash,
            content_hash_verified=finished.content_hash_verified,
            cache_key=finished.cache_key,
            agentcache_pipeline_id=finished.pipeline_id,
            expires_at=finished.asset_expires_at,
            uploaded_via=finished.uploaded_via,
            upload_speed_mbps=finished.upload_speed_mbps,
        )
        self.state.add_asset(asset, serves=finished.content_hash_verified)
        self._close_with(asset, upload.id, finished.cache_key)
        self.state.change(upload.id, s3_upload_id=None)
        self.state.write(events)
        return asset

    async def close_as_duplicate(
        self,
        on: Connection,
        events: Rows,
        *,
        upload_id: UUID,
        asset_id: UUID,
        size_bytes: int,
        content_hash: str,
        cache_key: str | None,
    ) -> bool:
        await others_run()
        if not self._is_open(upload_id):
            return False
        upload = self.state.uploads[upload_id]
        self._close_with(self.state.assets[asset_id], upload_id, cache_key)
        self.state.note_deletion(upload.s3_bucket, upload.s3_key)
        self.state.write(events)
        return True

    async def close(
        self, on: Runner, *, upload_id: UUID, status: Status, failure_code: str
    ) -> ClosedUpload | None:
        await others_run()
        if not self._is_open(upload_id):
            return None
        self.state.change(upload_id, status=status, failure_code=failure_code)
        upload = self.state.uploads[upload_id]
        self.state.note_deletion(upload.s3_bucket, upload.s3_key)
        return ClosedUpload(
            upload.id, upload.account_id, upload.s3_bucket, upload.s3_key, upload.s3_upload_id
        )

    async def delete_object_again(self, upload_id: UUID) -> None:
        await others_run()
        upload = self.state.uploads[upload_id]
        if upload.status in (Status.ABORTED, Status.EXPIRED):
            self.state.deletions.pop(UnwantedObject(upload.s3_bucket, upload.s3_key), None)
            self.state.note_deletion(upload.s3_bucket, upload.s3_key)

    async def find_expired(self, on: Connection, *, batch_size: int) -> list[ExpiredUpload]:
        await others_run()
        return [
            ExpiredUpload(upload.id, upload.account_id, upload.correlation_id)
            for upload in self.state.uploads.values()
            if upload.status.is_open and upload.expires_at < datetime.now(UTC)
        ][:batch_size]

    async def count_open_sessions(self, *, account_id: UUID, most: int) -> int:
        await others_run()
        open_sessions = [
            upload
            for upload in self.state.uploads.values()
            if upload.account_id == account_id and upload.kind is Kind.SESSION and upload.status.is_open
        ]
        return min(most, len(open_sessions))

    async def claim_leftovers(self, *, batch_size: int, retry_seconds: int) -> list[LeftoverMultipart]:
        await others_run()
        return [
            LeftoverMultipart(upload.id, upload.s3_bucket, upload.s3_key, upload.s3_upload_id)
            for upload in self.state.uploads.values()
            if upload.s3_upload_id is not None and not upload.status.is_open
        ][:batch_size]

    async def note_multipart_aborted(self, upload_id: UUID, *, late_write_seconds: int) -> None:
        await others_run()

    def _is_open(self, upload_id: UUID) -> bool:
        return upload_id in self.state.uploads and self.state.uploads[upload_id].status.is_open

    def _close_with(self, asset: Asset, upload_id: UUID, cache_key: str | None) -> None:
        self.state.change(
            upload_id,
            status=Status.COMPLETED,
            asset_id=asset.id,
            size_bytes=asset.size_bytes,
            content_hash=asset.content_hash,
            cache_key=cache_key,
        )
        if cache_key is not None:
            self.state.cache_keys[cache_key] = asset.id


class FakeAssetStore(AssetStore):
    """Assets of a state. ``kept`` are the reservations of bandwidth that were kept, call by call."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.kept: list[set[UUID]] = []

    async def fetch(self, *, account_id: UUID, asset_id: UUID) -> Asset | None:
        await others_run()
        asset = self.state.assets.get(asset_id)
        return asset if asset is not None and asset.account_id == account_id and is_live(asset) else None

    async def find_known(self, *, account_id: UUID, content_hash: str) -> Asset | None:
        await others_run()
        found = [
            asset
            for asset in self.state.assets.values()
            if (asset.account_id, asset.content_hash) == (account_id, content_hash) and is_live(asset)
        ]
        found.sort(key=lambda asset: (asset.id not in self.state.serving, asset.content_hash_verified))
        return found[0] if found else None

    async def keep_duplicate(
        self, on: Runner, *, account_id: UUID, content_hash: str, expires_at: datetime | None
    ) -> Asset | None:
        await others_run()
        asset = self.state.find_serving(account_id, content_hash)
        if asset is None or not is_live(asset):
            return None
        later = None if None in (asset.expires_at, expires_at) else max(asset.expires_at, expires_at)  # type: ignore[type-var]
        kept = replace(asset, expires_at=later)
        self.state.assets[asset.id] = kept
        return kept

    async def find_expired_duplicate(
        self, on: Connection, *, account_id: UUID, content_hash: str
    ) -> UUID | None:
        await others_run()
        asset = self.state.find_serving(account_id, content_hash)
        return asset.id if asset is not None and not is_live(asset) else None

    async def reserve_bandwidth(
        self,
        events: Rows,
        *,
        account_id: UUID,
        asset_id: UUID,
        reservation_id: UUID,
        size_bytes: int,
        hold_seconds: int,
    ) -> assets_store.Room:
        await others_run()
        granted = size_bytes <= self.state.free_bandwidth
        if granted:
            self.state.free_bandwidth -= size_bytes
            self.state.write(events)
        return assets_store.Room(granted, 0, QUOTA_BYTES - self.state.free_bandwidth, QUOTA_BYTES)

    async def keep_bandwidth(self, reservation_ids: Sequence[UUID], *, hold_seconds: int) -> None:
        await others_run()
        self.kept.append(set(reservation_ids))

    async def delete(
        self, on: Connection, *, account_id: UUID, asset_ids: Sequence[UUID]
    ) -> list[DeletedAsset]:
        await others_run()
        gone = []
        for asset_id in dict.fromkeys(asset_ids):
            asset = self.state.assets.get(asset_id)
            if asset is not None and asset.account_id == account_id:
                self.state.delete_asset(asset_id)
                self.state.note_deletion(asset.s3_bucket, asset.s3_key)
                gone.append(
                    DeletedAsset(asset.id, account_id, asset.s3_bucket, asset.s3_key, asset.size_bytes)
                )
        return gone

    async def find_expired(self, on: Connection, *, batch_size: int) -> list[ExpiredAsset]:
        await others_run()
        return [
            ExpiredAsset(asset.id, asset.account_id)
            for asset in self.state.assets.values()
            if not is_live(asset)
        ][:batch_size]

    async def takes_cache_key(
        self, on: Runner, *, account_id: UUID, asset_id: UUID, cache_key: str, most: int
    ) -> bool:
        await others_run()
        named = [key for key, named_id in self.state.cache_keys.items() if named_id == asset_id]
        return cache_key in named or len(named) < most

    async def name(self, on: Runner, *, account_id: UUID, asset_id: UUID, cache_key: str) -> None:
        await others_run()
        self.state.cache_keys[cache_key] = asset_id

    async def claim_deletions(self, *, batch_size: int, retry_seconds: int) -> list[UnwantedObject]:
        await others_run()
        return self.state.due[:batch_size]

    async def note_deleted(self, unwanted: UnwantedObject, *, late_write_seconds: int) -> None:
        await others_run()
        noted = self.state.deletions.pop(unwanted, None)
        if noted is not None and noted.age_seconds < late_write_seconds:
            due_seconds = late_write_seconds - noted.age_seconds
            self.state.deletions[unwanted] = replace(noted, due_seconds=due_seconds)

    async def note_verified(self, *, account_id: UUID, asset_id: UUID, content_hash: str) -> Asset | None:
        await others_run()
        asset = self.state.assets.get(asset_id)
        if asset is None:
            return None
        noted = replace(asset, content_hash=content_hash, content_hash_verified=True)
        is_first = self.state.find_serving(account_id, content_hash) is None
        return self.state.add_asset(noted, serves=is_first)

    async def find_unverified(self, *, batch_size: int, account_id: UUID | None = None) -> list[Asset]:
        await others_run()
        found = (asset for asset in self.state.assets.values() if not asset.content_hash_verified)
        return sorted(found, key=lambda asset: asset.created_at)[:batch_size]


class FakeStorage(Storage):
    """Objects and the parts of multipart uploads.

    ``failing_keys`` can't be reached, and nothing while it ``is_down``; ``cut_bytes`` is how many bytes
    before the end the connection for a read breaks.
    """

    def __init__(self) -> None:
        self.bucket = BUCKET
        self.objects: dict[str, bytes] = {}
        self.multiparts: dict[str, dict[int, bytes]] = {}
        self.failing_keys: set[str] = set()
        self.is_down = False
        self.cut_bytes: int | None = None
        self.reads_open = 0

    async def put(self, key: str, body: bytes, *, content_type: str) -> None:
        await self._reach(key)
        self.objects[key] = body

    async def put_streamed(
        self, key: str, body: Body, *, size_bytes: int, checksum: Checksum, content_type: str
    ) -> None:
        await self._reach(key)
        content = b"".join([block async for block in body()])
        assert (len(content), checksum_of(content, checksum.algorithm)) == (size_bytes, checksum)
        self.objects[key] = content

    async def ping(self) -> None:
        if self.is_down:
            raise StorageUnavailable

    async def create_multipart(
        self, key: str, *, content_type: str, algorithm: Algorithm = Algorithm.MD5
    ) -> str:
        await self._reach(key)
        upload_id = f"multipart {len(self.multiparts)} of {key}"
        self.multiparts[upload_id] = {}
        return upload_id

    async def abort_multipart(self, key: str, upload_id: str, *, bucket: str | None = None) -> None:
        await self._reach(key)
        self.multiparts.pop(upload_id, None)

    async def abort_multiparts(self, key: str, *, bucket: str | None = None, kept: str | None = None) -> None:
        await self._reach(key)
        for upload_id in list(self.multiparts):
            if upload_id.endswith(f" of {key}") and upload_id != kept:
                del self.multiparts[upload_id]

    async def complete_multipart(
        self, key: str, upload_id: str, parts: list[StoredPart], *, size_bytes: int
    ) -> None:
        await self._reach(key)
        if upload_id not in self.multiparts:
            if len(self.objects.get(key, b"")) == size_bytes:
                return
            raise ObjectMissing(key)
        stored = self.multiparts[upload_id]
        for part in parts:
            if part.number not in stored or md5_of(stored[part.number]) != part.etag.strip('"'):
                raise PartsMissing("InvalidPart")
        self.objects[key] = b"".join(stored[part.number] for part in parts)
        del self.multiparts[upload_id]

    async def list_parts(self, key: str, upload_id: str) -> list[ListedPart]:
        await self._reach(key)
        if upload_id not in self.multiparts:
            raise ObjectMissing(key)
        return [
            ListedPart(StoredPart(number, md5_of(content)), len(content))
            for number, content in sorted(self.multiparts[upload_id].items())
        ]

    async def delete(self, key: str, *, bucket: str | None = None) -> None:
        await self._reach(key)
        self.objects.pop(key, None)

    async def size_of(self, key: str) -> int:
        await self._reach(key)
        if key not in self.objects:
            raise ObjectMissing(key)
        return len(self.objects[key])

    def presign_download(self, key: str, *, content_disposition: str, content_type: str, seconds: int) -> str:
        return f"https://storage/{key}?seconds={seconds}"

    def presign_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        *,
        size_bytes: int,
        seconds: int,
        checksum: Checksum | None = None,
    ) -> str:
        signed = "" if checksum is None else f"&checksum={checksum}"
        return f"https://storage/{key}?part={number}&size={size_bytes}&seconds={seconds}{signed}"

    @contextlib.asynccontextmanager
    async def read(self, key: str, *, start: int, end: int) -> AsyncIterator[AsyncIterator[bytes]]:
        await self._reach(key)
        if key not in self.objects:
            raise ObjectMissing(key)
        self.reads_open += 1
        try:
            yield self._blocks(self.objects[key][start : end + 1])
        finally:
            self.reads_open -= 1

    async def _blocks(self, content: bytes) -> AsyncIterator[bytes]:
        stop = len(content) if self.cut_bytes is None else len(content) - self.cut_bytes
        for at in range(0, stop, 3):
            await others_run()
            yield content[at : min(at + 3, stop)]
        if self.cut_bytes is not None:
            raise StorageUnavailable

    async def _reach(self, key: str) -> None:
        await others_run()
        if self.is_down or key in self.failing_keys:
            raise StorageUnavailable


class FakeWorker(RpcClient):
    """A chunk-worker that stores chunks and computes hashes, or fails.

    ``before_answer`` runs when it has read the bytes; ``denials`` are its answers to the next chunks.
    """

    def __init__(self, state: State, storage: FakeStorage, spool: Spool) -> None:
        self._state = state
        self._storage = storage
        self._spool = spool
        self.failure: Exception | None = None
        self.before_answer: Callable[[], object] = lambda: None
        self.denials: list[Denied] = []
        self.asked: list[UUID] = []
        self.chunks_asked: list[int] = []

    async def call(self, command: Payload, *, exchange: str, source: str, timeout_seconds: float) -> bytes:
        await others_run()
        if isinstance(command, UploadChunkV2):
            return await self._store(command)
        assert isinstance(command, VerifyAssetV1)
        return self._verify(command)

    async def _store(self, command: UploadChunkV2) -> bytes:
        self.chunks_asked.append(command.number)
        if self.failure is not None:
            raise self.failure
        if self.denials:
            return self.denials.pop(0).model_dump_json().encode()
        blocks = self._spool.find(command.upload_id, command.number).blocks()
        content = b"".join([block async for block in blocks])
        if command.s3_upload_id not in self._storage.multiparts:
            gone = Denied(code="chunk_gone", detail="It was aborted.", status=404, retryable=False)
            return gone.model_dump_json().encode()
        self._storage.multiparts[command.s3_upload_id][command.number] = content
        etag = md5_of(content)
        row = StoredChunk(command.number, len(content), command.checksum, etag)
        self._state.chunks.setdefault(command.upload_id, {})[command.number] = row
        self.before_answer()
        stored = ChunkStored(
            upload_id=command.upload_id, number=command.number, etag=etag, md5=command.checksum
        )
        return stored.model_dump_json().encode()

    def _verify(self, command: VerifyAssetV1) -> bytes:
        self.asked.append(command.asset_id)
        if self.failure is not None:
            raise self.failure
        content = self._storage.objects.get(command.s3_key)
        if content is None:
            raise BrokerUnavailable
        self.before_answer()
        reply = AssetVerified(
            asset_id=command.asset_id, content_hash=sha256_of(content), size_bytes=len(content)
        )
        return reply.model_dump_json().encode()


class Gateway:
    """The gateway's use-cases on fakes, some of which a test may replace by its own."""

    def __init__(
        self,
        *,
        direct: bool = False,
        uploads: type[FakeUploadStore] = FakeUploadStore,
        assets: type[FakeAssetStore] = FakeAssetStore,
        storage: type[FakeStorage] = FakeStorage,
    ) -> None:
        self.state = State()
        self.database = FakeDatabase(self.state)
        self.uploads = uploads(self.state)
        self.assets = assets(self.state)
        self.storage = storage()
        self.probe = Probe(self.storage, prefix="system/")
        self.budget = SpoolBudget(SPOOL_BYTES, chunk_bytes=CHUNK_BYTES, account_share=0.5)
        self.spool = Spool(Path(tempfile.gettempdir()), self.budget)
        self.worker = FakeWorker(self.state, self.storage, self.spool)
        self.opener = Opener(self.uploads, bucket=BUCKET)
        self.deleter = Deleter(
            self.database,
            self.assets,
            self.storage,
            late_write_seconds=LATE_WRITE_SECONDS,
            retry_seconds=RETRY_SECONDS,
        )
        self.verifier = Verifier(self.assets, self.worker, timeout_seconds=1)
        self.multipart = Multipart(
            self.uploads, self.storage, late_write_seconds=LATE_WRITE_SECONDS, retry_seconds=RETRY_SECONDS
        )
        self.cache_keys = CacheKeys(self.assets, per_asset=CACHE_KEYS_PER_ASSET)
        self.finisher = Finisher(
            self.database,
            self.uploads,
            self.assets,
            self.cache_keys,
            deleter=self.deleter,
            verifier=self.verifier,
            multipart=self.multipart,
        )
        self.lost = LostObjects(self.database, self.assets, self.storage, self.deleter)
        self.leases = Leases(self.uploads, lease_seconds=LEASE_SECONDS)
        self.finder = Finder(self.database, self.assets, self.cache_keys)
        self.forms = FormUploads(
            self.uploads,
            self.storage,
            self.spool,
            probe=self.probe,
            opener=self.opener,
            finisher=self.finisher,
            multipart=self.multipart,
            dispatcher=ChunkDispatcher(
                self.uploads,
                self.worker,
                CHUNK_URLS,
                internal_url="http://gateway",
                timeout_seconds=CHUNK_SECONDS,
            ),
            leases=self.leases,
            slots=Slots(4, per_holder=2),
            limits=ReceiveLimits(admission_seconds=10, upload_seconds=UPLOAD_SECONDS),
            chunk_sizes=ChunkSizes(CHUNK_BYTES, CHUNK_BYTES, CHUNK_BYTES),
            chunks_in_flight=2,
        )
        self.sessions = Sessions(
            self.uploads,
            self.storage,
            probe=self.probe,
            opener=self.opener,
            finisher=self.finisher,
            multipart=self.multipart,
            leases=self.leases,
            finder=self.finder,
            verifier=self.verifier,
            signing_keys=SIGNING_KEYS,
            settings=SessionSettings(
                enabled=True,
                direct=direct,
                chunk_size_bytes=10_000_000,
                max_chunk_bytes=64 * 1024 * 1024,
                session_seconds=3600,
                token_seconds=900,
                open_per_account=OPEN_SESSIONS,
            ),
        )

    @property
    def spooled_bytes(self) -> int:
        """What the spool holds."""
        return self.budget.total_bytes - self.budget.free_bytes

    @property
    def told(self) -> list[str]:
        """The types of the events that were written, shortened."""
        return [event.TYPE.removeprefix("jettythunder.").removesuffix(".v1") for event in self.state.events]
