"""Upload sessions: JettySpeed clients send chunks to edges; the gateway plans, signs and completes.

A session is a row of ``uploads``, so any gateway continues any session, and its chunks are rows of
``upload_chunks``, written by the edges once the object storage has acknowledged them.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from jettythunder import outbox, telemetry
from jettythunder.contracts.uploads import UploadCreatedV1
from jettythunder.database import Pool
from jettythunder.edge_tokens import EdgeToken, EdgeTokens
from jettythunder.errors import (
    ContentHashMismatch,
    FileTooLarge,
    InvalidField,
    JettySpeedNotIncluded,
    JettyThunderError,
    StorageNotIncluded,
    UploadIncomplete,
    UploadNotFound,
    UploadNotOpen,
)
from jettythunder.storage import ObjectMissing, Storage, StoredPart
from storage_gateway import domain, paging
from storage_gateway.domain import ChunkPlan, Tenant, UploadOptions
from storage_gateway.repository import NewUpload, Repository, Row
from storage_gateway.service import SOURCE
from storage_gateway.service.closing import Closer, Received, Result
from storage_gateway.service.multipart import Multipart
from storage_gateway.service.reserving import quota_exceeded

_UNDERWAY = ("receiving", "completing")


@dataclass(frozen=True)
class NewSession:
    """What a client says of the file it is about to send."""

    filename: str
    size_bytes: int
    content_type: str | None
    chunk_size_bytes: int | None
    options: UploadOptions


@dataclass(frozen=True)
class StoredChunk:
    """A chunk that the object storage has. ``md5`` is hexadecimal."""

    number: int
    size_bytes: int
    md5: str
    etag: str


@dataclass(frozen=True)
class Session:
    """A session, its plan, and the chunks the object storage has, in order."""

    upload: Row
    plan: ChunkPlan
    chunks: list[StoredChunk]

    @property
    def missing(self) -> list[list[int]]:
        return self.plan.missing({chunk.number: chunk.size_bytes for chunk in self.chunks})


@dataclass(frozen=True)
class ChunkTicket:
    """What lets a client send one chunk: a token for any edge, and a URL where the storage takes it."""

    number: int
    size_bytes: int
    token: str
    direct_url: str | None


class Sessions:
    """Creates, continues, completes and aborts upload sessions."""

    def __init__(
        self,
        *,
        pool: Pool,
        repository: Repository,
        storage: Storage,
        closer: Closer,
        multipart: Multipart,
        tokens: EdgeTokens,
        enabled: bool,
        direct: bool,
        chunk_size_bytes: int,
        session_seconds: int,
        token_seconds: int,
    ) -> None:
        self._pool = pool
        self._repository = repository
        self._storage = storage
        self._closer = closer
        self._multipart = multipart
        self._tokens = tokens
        self._enabled = enabled
        self._direct = direct
        self._chunk_size_bytes = chunk_size_bytes
        self._session_seconds = session_seconds
        self._token_seconds = token_seconds

    async def create(self, tenant: Tenant, wanted: NewSession) -> Session | Result:
        """Reserve the storage and begin a session; or the asset, where the account has these bytes already.

        Raises:
            JettySpeedNotIncluded: the tier or this installation has no JettySpeed.
            StorageNotIncluded, StorageQuotaExceeded, FileTooLarge, InvalidField: as their names say.
        """
        if not (tenant.jetty_speed_enabled and self._enabled):
            raise JettySpeedNotIncluded(tier=tenant.tier)
        if tenant.storage_quota_bytes == 0:
            raise StorageNotIncluded(tier=tenant.tier)
        if wanted.size_bytes > tenant.max_file_size_bytes:
            raise FileTooLarge(max_file_size_bytes=tenant.max_file_size_bytes, tier=tenant.tier)
        if wanted.size_bytes < 1:
            raise InvalidField("An upload session needs at least one byte; upload empty files as a form.")
        if wanted.options.content_hash is not None:
            known = await self._known(tenant, wanted.options)
            if known is not None:
                return known
        upload_id = await self._create(tenant, wanted)
        return await self._recorded(tenant.account_id, upload_id)

    async def _known(self, tenant: Tenant, options: UploadOptions) -> Result | None:
        asset = await self._repository.find_asset_by_hash(
            self._pool, account_id=tenant.account_id, content_hash=options.content_hash or ""
        )
        if asset is None:
            return None
        if options.cache_key is not None:
            await self._repository.name_asset(
                self._pool, account_id=tenant.account_id, asset_id=asset["id"], cache_key=options.cache_key
            )
        return Result(asset, True, asset["id"], options.cache_key)

    async def _create(self, tenant: Tenant, wanted: NewSession) -> UUID:
        upload_id = uuid4()
        filename = domain.safe_filename(wanted.filename)
        content_type = domain.content_type_of(wanted.content_type, filename)
        plan = domain.plan_chunks(wanted.size_bytes, wanted.chunk_size_bytes or self._chunk_size_bytes)
        s3_key = domain.object_key(tenant.s3_prefix, upload_id, filename)
        created = UploadCreatedV1(
            account_id=tenant.account_id,
            upload_id=upload_id,
            kind="session",
            filename=filename,
            reserved_bytes=wanted.size_bytes,
        )
        room = await self._repository.create_upload(
            self._pool,
            NewUpload(
                upload_id=upload_id,
                account_id=tenant.account_id,
                kind="session",
                status="created",
                filename=filename,
                content_type=content_type,
                s3_bucket=self._storage.bucket,
                s3_key=s3_key,
                size_bytes=wanted.size_bytes,
                chunk_size_bytes=plan.chunk_size_bytes,
                content_hash=wanted.options.content_hash,
                cache_key=wanted.options.cache_key,
                pipeline_id=wanted.options.pipeline_id,
                asset_expires_at=wanted.options.expires_at,
                correlation_id=telemetry.correlation_id.get() or "",
                reserve_bytes=wanted.size_bytes,
                expires_at=self._session_end(),
            ),
            outbox.rows(created, source=SOURCE),
        )
        if not room["granted"]:
            raise quota_exceeded(room, wanted.size_bytes)
        try:
            await self._multipart.begin(upload_id, s3_key=s3_key, content_type=content_type)
        except BaseException as error:
            code = error.code if isinstance(error, JettyThunderError) else JettyThunderError.code
            with suppress(JettyThunderError):
                await self._closer.abort(upload_id, code=code)
            raise
        return upload_id

    async def find(self, account_id: UUID, upload_id: UUID) -> Session:
        """A session of the account, with the chunks that clients sent straight to the object storage.

        Raises:
            UploadNotFound: there is none.
            StorageUnavailable: the object storage was to be asked, and does not answer.
        """
        session = await self._recorded(account_id, upload_id)
        if self._direct and session.missing and session.upload["status"] in _UNDERWAY:
            return replace(session, chunks=await self._listed(session))
        return session

    async def _recorded(self, account_id: UUID, upload_id: UUID) -> Session:
        upload = await self._repository.fetch_upload(self._pool, account_id=account_id, upload_id=upload_id)
        if upload is None or upload["kind"] != "session":
            raise UploadNotFound
        async with self._pool.acquire() as connection:
            rows = await self._repository.fetch_chunks(connection, upload_id=upload_id)
        plan = ChunkPlan(upload["size_bytes"], upload["chunk_size_bytes"])
        return Session(upload, plan, [StoredChunk(**row) for row in rows])

    async def _listed(self, session: Session) -> list[StoredChunk]:
        """The recorded chunks and those that only the object storage knows of; their ETag is their MD5."""
        found = {chunk.number: chunk for chunk in session.chunks}
        upload = session.upload
        with suppress(ObjectMissing):
            for listed in await self._storage.list_parts(upload["s3_key"], upload["s3_upload_id"]):
                number, etag = listed.part.number, listed.part.etag
                found.setdefault(number, StoredChunk(number, listed.size_bytes, etag, etag))
        return [found[number] for number in sorted(found)]

    async def page(
        self, account_id: UUID, *, open_only: bool, cursor: str | None, limit: int
    ) -> tuple[list[Row], str | None]:
        """One page of the account's sessions, newest first, and the cursor of the next."""
        before_created_at, before_id = paging.read_cursor(cursor)
        async with self._pool.acquire() as connection:
            rows = await self._repository.list_uploads(
                connection,
                account_id=account_id,
                open_only=open_only,
                before_created_at=before_created_at,
                before_id=before_id,
                page_size=limit + 1,
            )
        more = len(rows) > limit
        rows = rows[:limit]
        return rows, paging.cursor(rows[-1]["created_at"], rows[-1]["id"]) if more else None

    async def tickets(
        self, account_id: UUID, upload_id: UUID, numbers: Sequence[int]
    ) -> tuple[list[ChunkTicket], datetime]:
        """Tickets for chunks, and when they expire. Asking keeps the session alive.

        Raises:
            UploadNotFound, UploadNotOpen, InvalidField: as their names say.
        """
        upload = await self._repository.fetch_upload(self._pool, account_id=account_id, upload_id=upload_id)
        if upload is None or upload["kind"] != "session":
            raise UploadNotFound
        plan = ChunkPlan(upload["size_bytes"], upload["chunk_size_bytes"])
        sizes = {number: plan.size_of(number) for number in numbers}
        if not await self._repository.begin_receiving(
            self._pool, upload_id=upload_id, expires_at=self._session_end()
        ):
            raise UploadNotOpen(upload_status=upload["status"])
        expires_at = int(time.time()) + self._token_seconds
        tickets = [
            ChunkTicket(
                number,
                size,
                self._tokens.mint(
                    EdgeToken(
                        account_id=account_id,
                        upload_id=upload_id,
                        number=number,
                        size_bytes=size,
                        s3_bucket=upload["s3_bucket"],
                        s3_key=upload["s3_key"],
                        s3_upload_id=upload["s3_upload_id"],
                        expires_at=expires_at,
                    )
                ),
                self._direct_url(upload, number),
            )
            for number, size in sizes.items()
        ]
        return tickets, datetime.fromtimestamp(expires_at, UTC)

    def _direct_url(self, upload: Row, number: int) -> str | None:
        if not self._direct:
            return None
        return self._storage.presign_part(
            upload["s3_key"], upload["s3_upload_id"], number, seconds=self._token_seconds
        )

    async def complete(
        self, account_id: UUID, upload_id: UUID, *, content_hash: str | None, parts_md5: str | None
    ) -> Result:
        """Join the chunks into an asset; completing a completed session answers the same again.

        Raises:
            UploadIncomplete: with the missing chunks; the session stays open for them.
            ContentHashMismatch: the chunks received are not those the client sent; it stays open.
            UploadNotFound, UploadNotOpen: as their names say.
        """
        session = await self.find(account_id, upload_id)
        upload = session.upload
        if upload["status"] == "completed":
            return await self._completed(account_id, upload)
        whole_hash = content_hash or upload["content_hash"]
        if whole_hash is None:
            raise InvalidField("Give the file's SHA-256 as content_hash.", field="content_hash")
        if upload["content_hash"] not in (None, whole_hash):
            raise ContentHashMismatch(announced_hash=upload["content_hash"])
        if not await self._repository.begin_completing(
            self._pool, upload_id=upload_id, expires_at=datetime.now(UTC) + timedelta(minutes=10)
        ):
            raise UploadNotOpen(upload_status=upload["status"])
        # Read again: no chunk is recorded any more from here on.
        session = await self.find(account_id, upload_id)
        try:
            return await self._join(session, whole_hash, parts_md5)
        except (UploadIncomplete, ContentHashMismatch):
            await self._repository.reopen(self._pool, upload_id=upload_id)
            raise

    async def _join(self, session: Session, content_hash: str, parts_md5: str | None) -> Result:
        upload = session.upload
        if session.missing:
            raise UploadIncomplete(missing=session.missing)
        md5s = [chunk.md5 for chunk in session.chunks]
        parts = [StoredPart(chunk.number, chunk.etag) for chunk in session.chunks]
        if parts_md5 is not None and parts_md5.lower() != domain.joined_md5(md5s):
            raise ContentHashMismatch("The chunks received are not those of the file. Send them again.")
        received = Received(
            upload_id=upload["id"],
            account_id=upload["account_id"],
            filename=upload["filename"],
            content_type=upload["content_type"],
            s3_key=upload["s3_key"],
            s3_upload_id=upload["s3_upload_id"],
            size_bytes=upload["size_bytes"],
            content_hash=content_hash,
            chunk_count=len(parts),
            duration_seconds=(datetime.now(UTC) - upload["created_at"]).total_seconds(),
            uploaded_via="jettyspeed",
        )
        options = UploadOptions(
            cache_key=upload["cache_key"],
            pipeline_id=upload["agentcache_pipeline_id"],
            expires_at=upload["asset_expires_at"],
            content_hash=content_hash,
        )
        existing = await self._closer.existing(received)
        if existing is not None:
            return await self._closer.complete_duplicate(received, options, existing)
        try:
            await self._storage.complete_multipart(upload["s3_key"], upload["s3_upload_id"], parts)
        except ObjectMissing:
            # A completion that was cut off may have joined the parts already.
            await self._check_joined(upload)
        return await self._closer.complete(received, options)

    async def _check_joined(self, upload: Row) -> None:
        try:
            size_bytes = await self._storage.size_of(upload["s3_key"])
        except ObjectMissing:
            raise UploadNotOpen from None
        if size_bytes != upload["size_bytes"]:
            raise UploadNotOpen

    async def _completed(self, account_id: UUID, upload: Row) -> Result:
        asset = await self._repository.fetch_asset(
            self._pool, account_id=account_id, asset_id=upload["asset_id"]
        )
        if asset is None:
            raise UploadNotOpen("The upload was completed, and its asset is gone since.")
        return Result(asset, asset["id"] != upload["id"], upload["id"], upload["cache_key"])

    async def abort(self, account_id: UUID, upload_id: UUID) -> None:
        """Give a session up; one that was given up before is fine.

        Raises:
            UploadNotFound: the account has no such session.
            UploadNotOpen: it was completed.
        """
        session = await self.find(account_id, upload_id)
        if session.upload["status"] == "completed":
            raise UploadNotOpen("The upload is completed: delete its asset instead.")
        await self._closer.abort(upload_id, code="aborted_by_client")

    def _session_end(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self._session_seconds)
