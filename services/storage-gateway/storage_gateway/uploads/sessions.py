"""Upload sessions: JettySpeed clients send chunks to edges; the gateway plans, signs and completes.

A session is a row of ``uploads``, so any gateway continues any session, and its chunks are rows of
``upload_chunks``, written by the edges once the object storage has acknowledged them.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from jettythunder import edge_tokens
from jettythunder.edge_tokens import EdgeToken
from jettythunder.errors import InvalidField, JettyThunderError, UploadNotFound, UploadNotOpen
from jettythunder.ids import new_id
from jettythunder.signatures import SigningKeys
from jettythunder.storage import ObjectMissing, PartsMissing, Storage, StoredPart
from jettythunder.storage.probing import Probe
from storage_gateway import paging
from storage_gateway.access.model import Tenant
from storage_gateway.assets import names
from storage_gateway.assets.find import Finder
from storage_gateway.assets.verify import Verifier
from storage_gateway.errors import (
    ContentHashMismatch,
    JettySpeedNotIncluded,
    TooManySessions,
    UploadIncomplete,
)
from storage_gateway.uploads import model
from storage_gateway.uploads.finish import Finisher
from storage_gateway.uploads.lease import Leases
from storage_gateway.uploads.model import Kind, Received, Result, Status, StoredChunk, Upload, UploadOptions
from storage_gateway.uploads.multipart import Multipart
from storage_gateway.uploads.open import Opener
from storage_gateway.uploads.store import UploadStore


@dataclass(frozen=True)
class NewSession:
    """What a client says of the file it is about to send."""

    filename: str
    size_bytes: int
    content_type: str | None
    chunk_size_bytes: int | None
    options: UploadOptions


@dataclass(frozen=True)
class Session:
    """A session, and the chunks the object storage has, in order."""

    upload: Upload
    chunks: list[StoredChunk]

    @property
    def missing(self) -> list[list[int]]:
        return self.upload.plan.missing({chunk.number: chunk.size_bytes for chunk in self.chunks})


@dataclass(frozen=True)
class ChunkTicket:
    """What lets a client send one chunk: a token for any edge, and a URL where the storage takes it."""

    number: int
    size_bytes: int
    token: str
    direct_url: str | None


@dataclass(frozen=True)
class SessionSettings:
    """How sessions are planned.

    Args:
        enabled: whether this installation has JettySpeed.
        direct: whether clients may send chunks straight to the object storage.
        max_chunk_bytes: the most that clients get who wish for a chunk size.
        session_seconds: an idle session expires after.
        token_seconds: how long a token for a chunk is good for.
        open_per_account: how many sessions of one account may be open.
    """

    enabled: bool
    direct: bool
    chunk_size_bytes: int
    max_chunk_bytes: int
    session_seconds: int
    token_seconds: int
    open_per_account: int


class Sessions:
    """Opens, continues, completes and aborts upload sessions."""

    def __init__(
        self,
        store: UploadStore,
        storage: Storage,
        *,
        probe: Probe,
        opener: Opener,
        finisher: Finisher,
        multipart: Multipart,
        leases: Leases,
        finder: Finder,
        verifier: Verifier,
        signing_keys: SigningKeys,
        settings: SessionSettings,
    ) -> None:
        self._store = store
        self._storage = storage
        self._probe = probe
        self._opener = opener
        self._finisher = finisher
        self._multipart = multipart
        self._leases = leases
        self._finder = finder
        self._verifier = verifier
        self._signing_keys = signing_keys
        self._settings = settings

    async def create(self, tenant: Tenant, wanted: NewSession) -> Session | Result:
        """Reserve the storage and open a session; or the asset, where the account has these bytes already.

        Raises:
            JettySpeedNotIncluded: the tier or this installation has no JettySpeed.
            StorageNotIncluded, StorageQuotaExceeded, FileTooLarge, InvalidField: as their names say.
            TooManySessions: the account has as many open sessions as it may have.
        """
        if not (tenant.jetty_speed_enabled and self._settings.enabled):
            raise JettySpeedNotIncluded(tier=tenant.tier)
        model.check_size(tenant, wanted.size_bytes)
        if wanted.size_bytes < 1:
            raise InvalidField("An upload session needs at least one byte; upload empty files as a form.")
        if (known := await self._known(tenant, wanted.options)) is not None:
            return known
        await self._check_open_sessions(tenant.account_id)
        upload_id = await self._open(tenant, wanted)
        return await self._recorded(tenant.account_id, upload_id)

    async def _check_open_sessions(self, account_id: UUID) -> None:
        most = self._settings.open_per_account
        # Calls at the same time may pass it by their number.
        if await self._store.count_open_sessions(account_id=account_id, most=most) >= most:
            raise TooManySessions(limit=most)

    async def _known(self, tenant: Tenant, options: UploadOptions) -> Result | None:
        """What the account has already of the bytes that the client is about to send."""
        content_hash = options.content_hash
        if content_hash is None or not await self._verifier.is_known(tenant.account_id, content_hash):
            return None
        asset = await self._finder.keep_known(
            tenant.account_id, content_hash, cache_key=options.cache_key, expires_at=options.expires_at
        )
        return None if asset is None else Result(asset, True, asset.id, options.cache_key)

    async def _open(self, tenant: Tenant, wanted: NewSession) -> UUID:
        upload_id = new_id()
        filename = names.safe_filename(wanted.filename)
        content_type = names.content_type_of(wanted.content_type, filename)
        s3_key = names.object_key(tenant.s3_prefix, upload_id, filename)
        plan = model.plan_chunks(
            wanted.size_bytes,
            min(wanted.chunk_size_bytes or self._settings.chunk_size_bytes, self._settings.max_chunk_bytes),
        )
        await self._opener.open(
            tenant,
            upload_id=upload_id,
            kind=Kind.SESSION,
            filename=filename,
            content_type=content_type,
            s3_key=s3_key,
            size_bytes=wanted.size_bytes,
            reserve_bytes=wanted.size_bytes,
            chunk_size_bytes=plan.chunk_size_bytes,
            options=wanted.options,
            open_seconds=self._settings.session_seconds,
        )
        try:
            await self._multipart.begin(upload_id, s3_key=s3_key, content_type=content_type)
        except BaseException as error:
            code = error.code if isinstance(error, JettyThunderError) else JettyThunderError.code
            with suppress(JettyThunderError):
                await self._finisher.abort(upload_id, code=code)
            raise
        return upload_id

    async def find(self, account_id: UUID, upload_id: UUID) -> Session:
        """A session of the account, with the chunks that clients sent straight to the object storage.

        Raises:
            UploadNotFound: there is none.
            StorageUnavailable: the object storage was to be asked, and does not answer.
        """
        session = await self._recorded(account_id, upload_id)
        upload = session.upload
        is_underway = upload.status.is_open and upload.status is not Status.CREATED
        if self._settings.direct and session.missing and is_underway:
            return replace(session, chunks=await self._listed(session))
        return session

    async def _fetch(self, account_id: UUID, upload_id: UUID) -> Upload:
        upload = await self._store.fetch(account_id=account_id, upload_id=upload_id)
        if upload is None or upload.kind is not Kind.SESSION:
            raise UploadNotFound
        return upload

    async def _recorded(self, account_id: UUID, upload_id: UUID) -> Session:
        upload = await self._fetch(account_id, upload_id)
        return Session(upload, await self._store.fetch_chunks(upload_id))

    async def _listed(self, session: Session) -> list[StoredChunk]:
        """The recorded chunks, and those that only the object storage knows of."""
        found = {chunk.number: chunk for chunk in session.chunks}
        upload = session.upload
        with suppress(ObjectMissing):
            for listed in await self._storage.list_parts(upload.s3_key, upload.multipart_id):
                number, etag = listed.part.number, listed.part.etag
                # Where entity tags are no MD5s, such a chunk is checked by its size alone.
                checksum = etag if self._probe.capabilities.etag_is_md5 else ""
                found.setdefault(number, StoredChunk(number, listed.size_bytes, checksum, etag))
        return [found[number] for number in sorted(found)]

    async def page(
        self, account_id: UUID, *, open_only: bool, cursor: str | None, limit: int
    ) -> tuple[list[Upload], str | None]:
        """One page of the account's sessions, newest first, and the cursor of the next."""
        before_created_at, before_id = paging.read_cursor(cursor)
        found = await self._store.list_sessions(
            account_id=account_id,
            open_only=open_only,
            before_created_at=before_created_at,
            before_id=before_id,
            page_size=limit + 1,
        )
        return paging.cut(found, limit)

    async def tickets(
        self, tenant: Tenant, upload_id: UUID, numbers: Sequence[int]
    ) -> tuple[list[ChunkTicket], datetime]:
        """Tickets for chunks, and when they expire. Asking keeps the session alive.

        Raises:
            UploadNotFound, UploadNotOpen, InvalidField: as their names say.
        """
        upload = await self._fetch(tenant.account_id, upload_id)
        sizes = {number: upload.plan.size_of(number) for number in numbers}
        if not await self._store.begin_receiving(
            upload_id=upload_id, open_seconds=self._settings.session_seconds
        ):
            raise UploadNotOpen(upload_status=upload.status)
        expires_at = int(time.time()) + self._settings.token_seconds
        tickets = [
            ChunkTicket(
                number,
                size,
                edge_tokens.mint(
                    self._signing_keys,
                    EdgeToken(
                        account_id=tenant.account_id,
                        upload_id=upload_id,
                        number=number,
                        size_bytes=size,
                        s3_bucket=upload.s3_bucket,
                        s3_key=upload.s3_key,
                        s3_upload_id=upload.multipart_id,
                        epoch=tenant.epoch,
                        expires_at=expires_at,
                    ),
                ),
                self._direct_url(upload, number, size_bytes=size),
            )
            for number, size in sizes.items()
        ]
        return tickets, datetime.fromtimestamp(expires_at, UTC)

    def _direct_url(self, upload: Upload, number: int, *, size_bytes: int) -> str | None:
        if not self._settings.direct:
            return None
        return self._storage.presign_part(
            upload.s3_key,
            upload.multipart_id,
            number,
            size_bytes=size_bytes,
            seconds=self._settings.token_seconds,
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
        upload = await self._fetch(account_id, upload_id)
        if upload.status is Status.COMPLETED:
            return await self._finisher.completed(upload)
        whole_hash = content_hash or upload.content_hash
        if whole_hash is None:
            raise InvalidField("Give the file's SHA-256 as content_hash.", field="content_hash")
        if upload.content_hash not in (None, whole_hash):
            raise ContentHashMismatch(announced_hash=upload.content_hash)
        if not await self._store.begin_completing(
            upload_id=upload_id, lease_seconds=self._leases.lease_seconds
        ):
            return await self._completed_meanwhile(account_id, upload_id)
        with self._leases.held(upload_id):
            # Read now: no chunk is recorded any more from here on.
            session = await self.find(account_id, upload_id)
            try:
                return await self._join(session, whole_hash, parts_md5)
            except (UploadIncomplete, ContentHashMismatch, UploadNotOpen) as error:
                # Another completion may have joined the chunks, and even dropped them as bytes known before.
                with suppress(UploadNotOpen):
                    return await self._completed_meanwhile(account_id, upload_id)
                if isinstance(error, UploadNotOpen):
                    await self._finisher.discard(upload_id)
                else:
                    await self._store.reopen(upload_id)
                raise

    async def _completed_meanwhile(self, account_id: UUID, upload_id: UUID) -> Result:
        upload = await self._fetch(account_id, upload_id)
        if upload.status is not Status.COMPLETED:
            raise UploadNotOpen(upload_status=upload.status)
        return await self._finisher.completed(upload)

    async def _join(self, session: Session, content_hash: str, parts_md5: str | None) -> Result:
        upload = session.upload
        if not session.missing:
            _check_parts(session.chunks, parts_md5)
            await self._make_object(session)
        # Chunks that only the object storage knew of are not listed any more once they are joined.
        elif not (self._settings.direct and await self._is_joined(upload)):
            raise UploadIncomplete(missing=session.missing)
        received = Received(
            upload_id=upload.id,
            account_id=upload.account_id,
            filename=upload.filename,
            content_type=upload.content_type,
            s3_bucket=upload.s3_bucket,
            s3_key=upload.s3_key,
            s3_upload_id=upload.s3_upload_id,
            size_bytes=upload.size_bytes or 0,
            content_hash=content_hash,
            hash_verified=False,
            chunk_count=upload.plan.count,
            duration_seconds=(datetime.now(UTC) - upload.created_at).total_seconds(),
            uploaded_via="jettyspeed",
        )
        # Here a wrong claim would have another file answered as this one, so it is verified.
        if await self._verifier.is_known(upload.account_id, content_hash):
            received = await self._verifier.verified(received)
        options = UploadOptions(
            cache_key=upload.cache_key,
            pipeline_id=upload.agentcache_pipeline_id,
            expires_at=upload.asset_expires_at,
        )
        return await self._finisher.complete(received, options, _nothing_to_store)

    async def _make_object(self, session: Session) -> None:
        upload = session.upload
        parts = [StoredPart(chunk.number, chunk.etag) for chunk in session.chunks]
        try:
            await self._storage.complete_multipart(
                upload.s3_key, upload.multipart_id, parts, size_bytes=upload.size_bytes or 0
            )
        except ObjectMissing:
            raise UploadNotOpen from None
        except PartsMissing:
            raise UploadIncomplete(missing=await self._forget_lost(session)) from None

    async def _forget_lost(self, session: Session) -> list[list[int]]:
        """Forget chunks that the object storage does not have as they were recorded; what is missing then.

        Raises:
            UploadNotOpen: the upload was aborted meanwhile.
        """
        upload = session.upload
        try:
            listed = await self._storage.list_parts(upload.s3_key, upload.multipart_id)
        except ObjectMissing:
            raise UploadNotOpen from None
        there = {found.part.number: (found.size_bytes, found.part.etag.strip('"')) for found in listed}
        kept = [
            chunk
            for chunk in session.chunks
            if there.get(chunk.number) == (chunk.size_bytes, chunk.etag.strip('"'))
        ]
        lost = sorted({chunk.number for chunk in session.chunks} - {chunk.number for chunk in kept})
        await self._store.forget_chunks(upload_id=upload.id, numbers=lost)
        return replace(session, chunks=kept).missing

    async def _is_joined(self, upload: Upload) -> bool:
        try:
            return await self._storage.size_of(upload.s3_key) == upload.size_bytes
        except ObjectMissing:
            return False

    async def abort(self, account_id: UUID, upload_id: UUID) -> None:
        """Give a session up; one that was given up before is fine.

        Raises:
            UploadNotFound: the account has no such session.
            UploadNotOpen: it was completed.
        """
        upload = await self._fetch(account_id, upload_id)
        if upload.status is Status.COMPLETED:
            raise UploadNotOpen("The upload is completed: delete its asset instead.")
        await self._finisher.abort(upload_id, code="aborted_by_client")


def _check_parts(chunks: Sequence[StoredChunk], parts_md5: str | None) -> None:
    is_provable = all(chunk.checksum for chunk in chunks)
    if parts_md5 is not None and is_provable and parts_md5.lower() != model.joined_md5(chunks):
        raise ContentHashMismatch("The chunks received are not those of the file. Send them again.")


async def _nothing_to_store() -> None:
    """The chunks were joined before."""
