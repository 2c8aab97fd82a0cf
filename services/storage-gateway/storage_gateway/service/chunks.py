"""Handing chunks to the chunk-workers, and waiting until the object storage has them."""

import asyncio
import time
from uuid import UUID

from pydantic import TypeAdapter

from jettythunder import telemetry
from jettythunder.auth import Signer
from jettythunder.broker import topology
from jettythunder.broker.rpc import RpcClient
from jettythunder.contracts.replies import Denied
from jettythunder.contracts.uploads import ChunkStored, UploadChunkV1
from jettythunder.database import CONNECTION_ERRORS, Pool
from jettythunder.errors import BrokerUnavailable, ChunkUploadFailed
from jettythunder.storage import StoredPart
from storage_gateway.repository import Repository
from storage_gateway.service import SOURCE
from storage_gateway.spool import SpooledChunk

log = telemetry.logger(__name__)

_reply: TypeAdapter[ChunkStored | Denied] = TypeAdapter(ChunkStored | Denied)

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0


class ChunkDispatcher:
    """Sends chunk.upload commands, again where broker, worker or storage fail, until a chunk is stored.

    Args:
        internal_url: where chunk-workers reach this gateway's spool.
        timeout_seconds: how long a chunk may take altogether.
    """

    def __init__(
        self,
        *,
        pool: Pool,
        repository: Repository,
        rpc: RpcClient,
        signer: Signer,
        internal_url: str,
        timeout_seconds: float,
    ) -> None:
        self._pool = pool
        self._repository = repository
        self._rpc = rpc
        self._signer = signer
        self._internal_url = internal_url
        self._timeout_seconds = timeout_seconds

    async def store(
        self,
        chunk: SpooledChunk,
        *,
        account_id: UUID,
        upload_id: UUID,
        s3_bucket: str,
        s3_key: str,
        s3_upload_id: str,
    ) -> StoredPart:
        """Have one spooled chunk stored.

        Raises:
            ChunkUploadFailed: no worker could, in time.
            BrokerUnavailable: the broker stayed away.
        """
        deadline = time.monotonic() + self._timeout_seconds
        command = UploadChunkV1(
            upload_id=upload_id,
            account_id=account_id,
            number=chunk.number,
            size_bytes=chunk.size_bytes,
            md5=chunk.md5,
            source_url=self._source_url(upload_id, chunk.number),
            s3_bucket=s3_bucket,
            s3_key=s3_key,
            s3_upload_id=s3_upload_id,
        )
        pause = _FIRST_PAUSE_SECONDS
        while True:
            left = deadline - time.monotonic()
            failure: Exception
            try:
                stored = await self._ask(command, timeout_seconds=left)
                if isinstance(stored, StoredPart):
                    return stored
                failure = ChunkUploadFailed(f"A part of the file could not be stored: {stored.code}.")
                if not stored.retryable:
                    raise failure
            except BrokerUnavailable as error:
                failure = error
            except TimeoutError:
                raise ChunkUploadFailed from None
            log.warning(
                "chunk sent again", upload_id=str(upload_id), number=chunk.number, reason=str(failure)
            )
            if time.monotonic() + pause > deadline:
                raise failure
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _ask(self, command: UploadChunkV1, *, timeout_seconds: float) -> StoredPart | Denied:
        try:
            body = await self._rpc.call(
                command, exchange=topology.COMMANDS, source=SOURCE, timeout_seconds=max(0.1, timeout_seconds)
            )
        except (BrokerUnavailable, TimeoutError):
            # The worker's answer may be lost though its work was done: its row tells.
            if (recorded := await self._recorded(command)) is not None:
                return recorded
            raise
        reply = _reply.validate_json(body)
        return StoredPart(reply.number, reply.etag) if isinstance(reply, ChunkStored) else reply

    async def _recorded(self, command: UploadChunkV1) -> StoredPart | None:
        try:
            row = await self._repository.fetch_chunk(
                self._pool, upload_id=command.upload_id, number=command.number
            )
        except CONNECTION_ERRORS:
            return None
        return StoredPart(command.number, row["etag"]) if row and row["md5"] == command.md5 else None

    def _source_url(self, upload_id: UUID, number: int) -> str:
        expires_at = int(time.time() + self._timeout_seconds) + 60
        signature = self._signer.sign(upload_id, number, expires_at=expires_at)
        return (
            f"{self._internal_url}/internal/chunks/{upload_id}/{number}"
            f"?expires_at={expires_at}&signature={signature}"
        )
