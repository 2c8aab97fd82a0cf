"""Open uploads as a gateway begins them, and what the chunk-workers made of them."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID, uuid4

import asyncpg
from tests.support.infrastructure import Infrastructure

from jettythunder.checksums import Algorithm, checksum_of
from jettythunder.settings import StorageSettings
from jettythunder.storage import Storage, StoredPart

# The smallest part that S3 joins with others.
CHUNK_BYTES = 5 << 20


def md5_of(data: bytes) -> str:
    """The MD5 in hexadecimal."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def crc_of(data: bytes) -> str:
    """Its CRC64NVME, as commands have it."""
    return str(checksum_of(data, Algorithm.CRC64NVME))


def random_chunk() -> bytes:
    """A chunk no other test sends."""
    return os.urandom(CHUNK_BYTES)


@dataclass(frozen=True)
class Upload:
    """An open upload, in the database and in the object storage."""

    id: UUID
    account_id: UUID
    s3_bucket: str
    s3_key: str
    s3_upload_id: str


@dataclass(frozen=True)
class Uploads:
    """Begins uploads, and looks at their chunks."""

    pool: asyncpg.Pool[asyncpg.Record]
    storage: Storage

    async def begin(self, kind: str = "form") -> Upload:
        """An account of its own with an open upload."""
        upload_id, account_id = uuid4(), uuid4()
        key = f"tests/{account_id}/{upload_id}/file"
        s3_upload_id = await self.storage.create_multipart(key, content_type="application/octet-stream")
        upload = Upload(upload_id, account_id, self.storage.bucket, key, s3_upload_id)
        await self.pool.execute(
            "INSERT INTO agentcache_accounts (id, agentcache_user_id, agentcache_user_ref, agentcache_email,"
            " agentcache_tier, api_key, api_secret, storage_quota_gb, bandwidth_quota_gb, s3_bucket_name,"
            " s3_prefix) VALUES ($1, $1, $2, 'a@example.com', 'pro', $2, '', 20, 50, $3, $4)",
            account_id,
            str(account_id),
            upload.s3_bucket,
            f"tests/{account_id}/",
        )
        await self.pool.execute(
            "INSERT INTO uploads (id, account_id, kind, status, filename, content_type, s3_bucket, s3_key,"
            " s3_upload_id, correlation_id, expires_at) VALUES ($1, $2, $3, 'receiving', 'file',"
            " 'application/octet-stream', $4, $5, $6, '', now() + interval '1 hour')",
            upload.id,
            account_id,
            kind,
            upload.s3_bucket,
            key,
            s3_upload_id,
        )
        return upload

    async def set_status(self, upload: Upload, status: str) -> None:
        """Move the upload on, as the gateway does."""
        await self.pool.execute("UPDATE uploads SET status = $2 WHERE id = $1", upload.id, status)

    async def change_account(self, upload: Upload, change: str) -> None:
        """Change the account's row, as provisioning does."""
        await self.pool.execute(
            f"UPDATE agentcache_accounts SET {change} WHERE id = $1",  # noqa: S608
            upload.account_id,
        )

    async def forget(self, upload: Upload, *numbers: int) -> None:
        """Forget recorded chunks, as the gateway does with those that the object storage lacks."""
        await self.pool.execute("SELECT forget_chunks_v1($1, $2)", upload.id, list(numbers))

    async def rows(self, upload: Upload) -> list[asyncpg.Record]:
        """What is recorded of the upload's chunks, in their order."""
        return await self.pool.fetch(
            "SELECT * FROM upload_chunks WHERE upload_id = $1 ORDER BY number", upload.id
        )

    async def object_of(self, upload: Upload) -> bytes:
        """Complete the upload with the recorded chunks, and read the object."""
        rows = await self.rows(upload)
        parts = [StoredPart(row["number"], row["etag"]) for row in rows]
        size_bytes = sum(row["size_bytes"] for row in rows)
        await self.storage.complete_multipart(
            upload.s3_key, upload.s3_upload_id, parts, size_bytes=size_bytes
        )
        async with self.storage.read(upload.s3_key, start=0, end=size_bytes - 1) as blocks:
            return b"".join([block async for block in blocks])


@contextlib.asynccontextmanager
async def opened_uploads(infrastructure: Infrastructure) -> AsyncIterator[Uploads]:
    """Uploads on these servers; the bucket is made where it is missing."""
    given = {k.lower(): v for k, v in infrastructure.environment.items() if k.startswith("LYVE_")}
    storage = Storage(StorageSettings.model_validate(given))
    await storage.open()
    try:
        await storage.ensure_bucket()
        async with asyncpg.create_pool(infrastructure.database_url, min_size=1, max_size=4) as pool:
            try:
                yield Uploads(pool, storage)
            finally:
                # The provisioning service refuses to start where it did not derive the newest account's key.
                await pool.execute("DELETE FROM agentcache_accounts WHERE api_key = id::text")
    finally:
        await storage.close()
