"""What nobody else finishes: uploads whose gateway died, assets whose time is over, objects left behind.

Any number of gateways run it at once: each row is locked by the one that works on it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

from jettythunder import outbox, telemetry
from jettythunder.contracts.assets import AssetDeletedV1
from jettythunder.contracts.uploads import UploadAbortedV1
from jettythunder.database import CONNECTION_ERRORS, Pool
from jettythunder.errors import JettyThunderError
from jettythunder.storage import Storage
from storage_gateway.repository import Repository
from storage_gateway.service import SOURCE

log = telemetry.logger(__name__)

_BATCH_SIZE = 50


class Housekeeping:
    """Runs every ``interval_seconds`` until it is closed."""

    def __init__(
        self, *, pool: Pool, repository: Repository, storage: Storage, interval_seconds: float
    ) -> None:
        self._pool = pool
        self._repository = repository
        self._storage = storage
        self._interval_seconds = interval_seconds
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Run in the background."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop after what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        jobs: tuple[Callable[[], Awaitable[int]], ...] = (
            self.expire_uploads,
            self.expire_assets,
            self.drop_leftover_multiparts,
            self.delete_objects,
        )
        while True:
            for job in jobs:
                try:
                    while await job() == _BATCH_SIZE:
                        pass
                except (JettyThunderError, *CONNECTION_ERRORS) as error:  # type: ignore[misc]
                    log.warning("housekeeping put off", job=job.__name__, error_type=type(error).__name__)
                except Exception as error:
                    log.error("housekeeping failed", job=job.__name__, exc_info=error)
            await asyncio.sleep(self._interval_seconds)

    async def expire_uploads(self) -> int:
        """Close open uploads past their lease; their reservations are released by the event."""
        async with self._pool.acquire() as connection, connection.transaction():
            expired = await self._repository.expired_uploads(connection, batch_size=_BATCH_SIZE)
            for row in expired:
                with telemetry.correlated(row["correlation_id"]):
                    closed = await self._repository.close_upload(
                        connection, upload_id=row["id"], status="expired", failure_code="expired"
                    )
                    if closed is None:
                        continue
                    await self._repository.want_deleted(
                        connection, s3_bucket=closed["s3_bucket"], s3_keys=[closed["s3_key"]]
                    )
                    event = UploadAbortedV1(account_id=row["account_id"], upload_id=row["id"], code="expired")
                    await outbox.write(connection, event, source=SOURCE)
                    log.info("upload expired", upload_id=str(row["id"]))
        return len(expired)

    async def expire_assets(self) -> int:
        """Delete assets past their expires_at and credit their storage."""
        async with self._pool.acquire() as connection, connection.transaction():
            expired = await self._repository.expired_assets(connection, batch_size=_BATCH_SIZE)
            by_account: dict[UUID, list[UUID]] = {}
            for row in expired:
                by_account.setdefault(row["account_id"], []).append(row["id"])
            for account_id, asset_ids in by_account.items():
                for gone in await self._repository.delete_assets(
                    connection, account_id=account_id, asset_ids=asset_ids
                ):
                    event = AssetDeletedV1(
                        account_id=account_id,
                        asset_id=gone["id"],
                        size_bytes=gone["size_bytes"],
                        reason="expired",
                    )
                    await outbox.write(connection, event, source=SOURCE)
        return len(expired)

    async def drop_leftover_multiparts(self) -> int:
        """Abort multipart uploads of closed uploads, where that could not be done when they closed."""
        async with self._pool.acquire() as connection, connection.transaction():
            leftovers = await self._repository.leftover_multiparts(connection, batch_size=_BATCH_SIZE)
            for row in leftovers:
                await self._storage.abort_multipart(row["s3_key"], row["s3_upload_id"])
                await self._repository.forget_multipart(connection, upload_id=row["id"])
        return len(leftovers)

    async def delete_objects(self) -> int:
        """Delete the objects whose rows are gone."""
        async with self._pool.acquire() as connection, connection.transaction():
            wanted = await self._repository.wanted_deletions(connection, batch_size=_BATCH_SIZE)
            for row in wanted:
                await self._storage.delete(row["s3_key"])
                await self._repository.deleted_objects(
                    connection, s3_bucket=row["s3_bucket"], s3_keys=[row["s3_key"]]
                )
        return len(wanted)
