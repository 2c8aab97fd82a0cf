"""One method per query of queries.sql. Every method takes the connection (or pool) it runs on first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from jettythunder.database import Connection, Runner, queries
from jettythunder.outbox import Rows

Row: TypeAlias = asyncpg.Record

_queries: Any = queries("storage_gateway")


@dataclass(frozen=True, kw_only=True)
class NewUpload:
    """An upload about to be created."""

    upload_id: UUID
    account_id: UUID
    kind: str
    status: str
    filename: str
    content_type: str
    s3_bucket: str
    s3_key: str
    size_bytes: int | None
    chunk_size_bytes: int
    content_hash: str | None
    cache_key: str | None
    pipeline_id: UUID | None
    asset_expires_at: datetime | None
    correlation_id: str
    reserve_bytes: int
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class FinishedUpload:
    """What an upload came to."""

    upload_id: UUID
    size_bytes: int
    content_hash: str
    content_type: str
    cache_key: str | None
    pipeline_id: UUID | None
    asset_expires_at: datetime | None
    uploaded_via: str
    upload_speed_mbps: Decimal | None


class Repository:
    """The storage-gateway's queries; each method's description stands with its query."""

    async def authenticate(self, on: Runner, *, api_key: str, secret_digest: str) -> Row | None:
        row: Row | None = await _queries.authenticate(on, api_key=api_key, secret_digest=secret_digest)
        return row

    async def take_request(
        self, on: Runner, *, subject: str, request_limit: int, window_seconds: float
    ) -> Row:
        row: Row = await _queries.take_request(
            on, subject=subject, request_limit=request_limit, window_seconds=window_seconds
        )
        return row

    async def create_upload(self, on: Runner, upload: NewUpload, events: Rows) -> Row:
        row: Row = await _queries.create_upload(on, **vars(upload), **vars(events))
        return row

    async def grow_reservation(
        self, on: Runner, *, account_id: UUID, upload_id: UUID, more_bytes: int, expires_at: datetime
    ) -> Row:
        row: Row = await _queries.grow_reservation(
            on, account_id=account_id, upload_id=upload_id, more_bytes=more_bytes, expires_at=expires_at
        )
        return row

    async def set_multipart(self, on: Runner, *, upload_id: UUID, s3_upload_id: str) -> None:
        await _queries.set_multipart(on, upload_id=upload_id, s3_upload_id=s3_upload_id)

    async def extend_lease(self, on: Runner, *, upload_id: UUID, expires_at: datetime) -> bool:
        return bool(await _queries.extend_lease(on, upload_id=upload_id, expires_at=expires_at))

    async def fetch_chunk(self, on: Runner, *, upload_id: UUID, number: int) -> Row | None:
        row: Row | None = await _queries.fetch_chunk(on, upload_id=upload_id, number=number)
        return row

    async def find_asset_by_hash(self, on: Runner, *, account_id: UUID, content_hash: str) -> Row | None:
        row: Row | None = await _queries.find_asset_by_hash(
            on, account_id=account_id, content_hash=content_hash
        )
        return row

    async def complete_upload(self, on: Runner, finished: FinishedUpload, events: Rows) -> Row | None:
        row: Row | None = await _queries.complete_upload(on, **vars(finished), **vars(events))
        return row

    async def complete_duplicate(
        self,
        on: Runner,
        *,
        upload_id: UUID,
        asset_id: UUID,
        size_bytes: int,
        content_hash: str,
        cache_key: str | None,
    ) -> bool:
        return bool(
            await _queries.complete_duplicate(
                on,
                upload_id=upload_id,
                asset_id=asset_id,
                size_bytes=size_bytes,
                content_hash=content_hash,
                cache_key=cache_key,
            )
        )

    async def close_upload(
        self, on: Runner, *, upload_id: UUID, status: str, failure_code: str
    ) -> Row | None:
        row: Row | None = await _queries.close_upload(
            on, upload_id=upload_id, status=status, failure_code=failure_code
        )
        return row

    async def forget_multipart(self, on: Runner, *, upload_id: UUID) -> None:
        await _queries.forget_multipart(on, upload_id=upload_id)

    async def expired_uploads(self, on: Connection, *, batch_size: int) -> list[Row]:
        return [row async for row in _queries.expired_uploads(on, batch_size=batch_size)]

    async def leftover_multiparts(self, on: Connection, *, batch_size: int) -> list[Row]:
        return [row async for row in _queries.leftover_multiparts(on, batch_size=batch_size)]

    async def want_deleted(self, on: Runner, *, s3_bucket: str, s3_keys: Sequence[str]) -> None:
        await _queries.want_deleted(on, s3_bucket=s3_bucket, s3_keys=s3_keys)

    async def wanted_deletions(self, on: Connection, *, batch_size: int) -> list[Row]:
        return [row async for row in _queries.wanted_deletions(on, batch_size=batch_size)]

    async def deleted_objects(self, on: Runner, *, s3_bucket: str, s3_keys: Sequence[str]) -> None:
        await _queries.deleted_objects(on, s3_bucket=s3_bucket, s3_keys=s3_keys)

    async def fetch_asset(
        self,
        on: Runner,
        *,
        account_id: UUID,
        asset_id: UUID | None = None,
        s3_key: str | None = None,
        cache_key: str | None = None,
    ) -> Row | None:
        row: Row | None = await _queries.fetch_asset(
            on, account_id=account_id, asset_id=asset_id, s3_key=s3_key, cache_key=cache_key
        )
        return row

    async def asset_owner(self, on: Runner, *, asset_id: UUID) -> Row | None:
        row: Row | None = await _queries.asset_owner(on, asset_id=asset_id)
        return row

    async def reserve_bandwidth(
        self,
        on: Runner,
        events: Rows,
        *,
        account_id: UUID,
        asset_id: UUID,
        reservation_id: UUID,
        count_bytes: int,
        expires_at: datetime,
    ) -> Row:
        row: Row = await _queries.reserve_bandwidth(
            on,
            account_id=account_id,
            asset_id=asset_id,
            reservation_id=reservation_id,
            bytes=count_bytes,
            expires_at=expires_at,
            **vars(events),
        )
        return row

    async def list_assets(
        self,
        on: Connection,
        *,
        account_id: UUID,
        prefix: str | None,
        cache_key: str | None,
        pipeline_id: UUID | None,
        before_created_at: datetime | None,
        before_id: UUID | None,
        page_size: int,
    ) -> list[Row]:
        return [
            row
            async for row in _queries.list_assets(
                on,
                account_id=account_id,
                prefix=prefix,
                cache_key=cache_key,
                pipeline_id=pipeline_id,
                before_created_at=before_created_at,
                before_id=before_id,
                page_size=page_size,
            )
        ]

    async def delete_assets(
        self, on: Connection, *, account_id: UUID, asset_ids: Sequence[UUID]
    ) -> list[Row]:
        return [row async for row in _queries.delete_assets(on, account_id=account_id, asset_ids=asset_ids)]

    async def expired_assets(self, on: Connection, *, batch_size: int) -> list[Row]:
        return [row async for row in _queries.expired_assets(on, batch_size=batch_size)]

    async def rename_asset(
        self, on: Runner, *, account_id: UUID, asset_id: UUID, filename: str
    ) -> Row | None:
        row: Row | None = await _queries.rename_asset(
            on, account_id=account_id, asset_id=asset_id, filename=filename
        )
        return row

    async def name_asset(self, on: Runner, *, account_id: UUID, asset_id: UUID, cache_key: str) -> None:
        await _queries.name_asset(on, account_id=account_id, asset_id=asset_id, cache_key=cache_key)

    async def quota_of(self, on: Runner, *, account_id: UUID) -> Row | None:
        row: Row | None = await _queries.quota_of(on, account_id=account_id)
        return row

    async def fetch_upload(self, on: Runner, *, account_id: UUID, upload_id: UUID) -> Row | None:
        row: Row | None = await _queries.fetch_upload(on, account_id=account_id, upload_id=upload_id)
        return row

    async def list_uploads(
        self,
        on: Connection,
        *,
        account_id: UUID,
        open_only: bool,
        before_created_at: datetime | None,
        before_id: UUID | None,
        page_size: int,
    ) -> list[Row]:
        return [
            row
            async for row in _queries.list_uploads(
                on,
                account_id=account_id,
                open_only=open_only,
                before_created_at=before_created_at,
                before_id=before_id,
                page_size=page_size,
            )
        ]

    async def fetch_chunks(self, on: Connection, *, upload_id: UUID) -> list[Row]:
        return [row async for row in _queries.fetch_chunks(on, upload_id=upload_id)]

    async def begin_receiving(self, on: Runner, *, upload_id: UUID, expires_at: datetime) -> bool:
        return bool(await _queries.begin_receiving(on, upload_id=upload_id, expires_at=expires_at))

    async def begin_completing(self, on: Runner, *, upload_id: UUID, expires_at: datetime) -> bool:
        return bool(await _queries.begin_completing(on, upload_id=upload_id, expires_at=expires_at))

    async def reopen(self, on: Runner, *, upload_id: UUID) -> None:
        await _queries.reopen(on, upload_id=upload_id)

    async def live_edges(self, on: Connection, *, silent_seconds: float) -> list[Row]:
        return [row async for row in _queries.live_edges(on, silent_seconds=silent_seconds)]
