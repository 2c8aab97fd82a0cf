"""Reading, listing, naming and deleting assets."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from jettythunder import outbox, telemetry
from jettythunder.contracts.assets import AssetDeletedV1, AssetDownloadedV1, AssetStreamedV1
from jettythunder.database import CONNECTION_ERRORS, Pool
from jettythunder.errors import AssetNotFound, BandwidthQuotaExceeded, InvalidField, StorageUnavailable
from jettythunder.storage import ObjectMissing, Storage
from storage_gateway import domain, paging
from storage_gateway.domain import ByteRange
from storage_gateway.repository import Repository, Row
from storage_gateway.service import SOURCE
from storage_gateway.service.objects import ObjectRemover

log = telemetry.logger(__name__)

_NO_EVENTS = outbox.rows(source=SOURCE)
_STREAM_HOLD = timedelta(hours=6)


@dataclass(frozen=True)
class Page:
    """Assets, newest first, and the cursor of the next page where there is one."""

    assets: list[Row]
    next_cursor: str | None


@dataclass(frozen=True)
class DownloadLink:
    """A URL that gives an asset's bytes to whoever has it."""

    asset: Row
    url: str
    expires_at: datetime


class Assets:
    """What tenants do with stored assets. An asset of another account is one that does not exist."""

    def __init__(
        self,
        *,
        pool: Pool,
        repository: Repository,
        storage: Storage,
        remover: ObjectRemover,
        link_seconds: int,
    ) -> None:
        self._pool = pool
        self._repository = repository
        self._storage = storage
        self._remover = remover
        self._link_seconds = link_seconds
        self._counting: set[asyncio.Task[None]] = set()

    async def find(
        self,
        account_id: UUID,
        *,
        asset_id: UUID | None = None,
        s3_key: str | None = None,
        cache_key: str | None = None,
    ) -> Row:
        """One asset of the account, by the one thing given.

        Raises:
            InvalidField: none or several were given.
            AssetNotFound: there is none, or it has expired.
        """
        if sum(given is not None for given in (asset_id, s3_key, cache_key)) != 1:
            raise InvalidField("Give one of asset_id, key and cache_key.")
        asset = await self._repository.fetch_asset(
            self._pool, account_id=account_id, asset_id=asset_id, s3_key=s3_key, cache_key=cache_key
        )
        if asset is None:
            raise AssetNotFound
        return asset

    async def sign_download(self, account_id: UUID, asset: Row) -> DownloadLink:
        """A presigned link; its bandwidth, the whole size, counts now, for S3 does not tell what was read.

        Raises:
            BandwidthQuotaExceeded: the period has no room for it.
        """
        url = self._storage.presign_download(
            asset["s3_key"],
            content_disposition=domain.content_disposition("attachment", asset["filename"]),
            content_type=asset["content_type"],
            seconds=self._link_seconds,
        )
        reservation_id = uuid4()
        downloaded = AssetDownloadedV1(
            account_id=account_id,
            asset_id=asset["id"],
            reservation_id=reservation_id,
            size_bytes=asset["size_bytes"],
        )
        expires_at = datetime.now(UTC) + timedelta(seconds=self._link_seconds)
        await self._reserve(
            asset, reservation_id, asset["size_bytes"], outbox.rows(downloaded, source=SOURCE)
        )
        return DownloadLink(asset, url, expires_at)

    async def stream(self, asset: Row, wanted: ByteRange) -> AsyncIterator[bytes]:
        """The bytes of a range. What was really sent is counted, also when the reader goes away.

        Bandwidth is reserved, and the object opened, before this returns the iterator.

        Raises:
            BandwidthQuotaExceeded: the period has no room for the range.
            StorageUnavailable: the object storage does not give the bytes.
        """
        reservation_id = uuid4()
        await self._reserve(asset, reservation_id, wanted.length_bytes, _NO_EVENTS)
        pieces = self._counted(asset, reservation_id, wanted)
        try:
            first = await anext(pieces, b"")
        except ObjectMissing as error:
            raise StorageUnavailable("The asset's bytes are not in the object storage.") from error
        return _chained(first, pieces)

    async def _counted(self, asset: Row, reservation_id: UUID, wanted: ByteRange) -> AsyncIterator[bytes]:
        sent = 0
        try:
            async with self._storage.read(asset["s3_key"], start=wanted.start, end=wanted.end) as blocks:
                async for block in blocks:
                    # Counted as it is handed to the socket: a hang-up is noticed with the next block.
                    sent += len(block)
                    yield block
        finally:
            task = asyncio.create_task(self._count(asset, reservation_id, sent))
            self._counting.add(task)
            task.add_done_callback(self._counting.discard)

    async def _count(self, asset: Row, reservation_id: UUID, sent: int) -> None:
        event = AssetStreamedV1(
            account_id=asset["account_id"],
            asset_id=asset["id"],
            reservation_id=reservation_id,
            sent_bytes=sent,
        )
        try:
            async with self._pool.acquire() as connection:
                await outbox.write(connection, event, source=SOURCE)
        except CONNECTION_ERRORS as error:
            log.error(
                "streamed bytes not counted", asset_id=str(asset["id"]), sent_bytes=sent, exc_info=error
            )

    async def _reserve(self, asset: Row, reservation_id: UUID, count_bytes: int, events: outbox.Rows) -> None:
        room = await self._repository.reserve_bandwidth(
            self._pool,
            events,
            account_id=asset["account_id"],
            asset_id=asset["id"],
            reservation_id=reservation_id,
            count_bytes=count_bytes,
            expires_at=datetime.now(UTC) + _STREAM_HOLD,
        )
        if not room["granted"]:
            raise BandwidthQuotaExceeded(
                used_bytes=room["used_bytes"],
                reserved_bytes=room["reserved_bytes"],
                quota_bytes=room["quota_bytes"],
                requested_bytes=count_bytes,
            )

    async def owner_of(self, asset_id: UUID) -> Row:
        """The account behind a signed link.

        Raises:
            AssetNotFound: there is no such asset.
        """
        owner = await self._repository.asset_owner(self._pool, asset_id=asset_id)
        if owner is None:
            raise AssetNotFound
        return owner

    async def page(
        self,
        account_id: UUID,
        *,
        prefix: str | None,
        cache_key: str | None,
        pipeline_id: UUID | None,
        cursor: str | None,
        limit: int,
    ) -> Page:
        """One page of the account's assets, newest first."""
        before_created_at, before_id = paging.read_cursor(cursor)
        async with self._pool.acquire() as connection:
            assets = await self._repository.list_assets(
                connection,
                account_id=account_id,
                prefix=prefix,
                cache_key=cache_key,
                pipeline_id=pipeline_id,
                before_created_at=before_created_at,
                before_id=before_id,
                page_size=limit + 1,
            )
        more = len(assets) > limit
        assets = assets[:limit]
        return Page(assets, paging.cursor(assets[-1]["created_at"], assets[-1]["id"]) if more else None)

    async def delete(self, account_id: UUID, asset_ids: Sequence[UUID], *, reason: str) -> list[UUID]:
        """Delete assets and credit their storage; returns those that were there."""
        async with self._pool.acquire() as connection, connection.transaction():
            gone = await self._repository.delete_assets(
                connection, account_id=account_id, asset_ids=asset_ids
            )
            events = [
                AssetDeletedV1(
                    account_id=account_id, asset_id=row["id"], size_bytes=row["size_bytes"], reason=reason
                )
                for row in gone
            ]
            await outbox.write(connection, *events, source=SOURCE)
        await self._remover.remove([row["s3_key"] for row in gone])
        return [row["id"] for row in gone]

    async def rename(
        self, account_id: UUID, asset_id: UUID, *, filename: str | None, cache_key: str | None
    ) -> Row:
        """Give an asset another file name, a further cache key, or both; its bytes stay where they are.

        Raises:
            AssetNotFound: the account has no such asset.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            asset = await self._repository.fetch_asset(connection, account_id=account_id, asset_id=asset_id)
            if asset is None:
                raise AssetNotFound
            if filename is not None:
                asset = await self._repository.rename_asset(
                    connection,
                    account_id=account_id,
                    asset_id=asset_id,
                    filename=domain.safe_filename(filename),
                )
                if asset is None:
                    raise AssetNotFound
            if cache_key is not None:
                checked = domain.checked_cache_key(cache_key) or ""
                await self._repository.name_asset(
                    connection, account_id=account_id, asset_id=asset_id, cache_key=checked
                )
            return asset

    async def close(self) -> None:
        """Wait until what was sent is counted."""
        await asyncio.gather(*self._counting, return_exceptions=True)


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        if first:
            yield first
        async for block in rest:
            yield block
    finally:
        await rest.aclose()  # type: ignore[attr-defined]
