"""Handing chunks to the chunk-workers, and waiting until the object storage has them."""

import asyncio
import time
from uuid import UUID

from pydantic import TypeAdapter

from jettythunder import telemetry
from jettythunder.broker import topology
from jettythunder.broker.rpc import RpcClient
from jettythunder.chunk_urls import ChunkUrls
from jettythunder.contracts.replies import Denied
from jettythunder.contracts.uploads import ChunkStored, UploadChunkV2
from jettythunder.errors import BrokerUnavailable, DatabaseUnavailable
from jettythunder.storage import StoredPart
from storage_gateway.errors import ChunkUploadFailed
from storage_gateway.messages import SOURCE
from storage_gateway.uploads.spool import SpooledChunk
from storage_gateway.uploads.store import UploadStore

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
        store: UploadStore,
        rpc: RpcClient,
        urls: ChunkUrls,
        *,
        internal_url: str,
        timeout_seconds: float,
    ) -> None:
        self._store = store
        self._rpc = rpc
        self._urls = urls
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
            BrokerUnavailable: the broker could not be reached in all that time.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._timeout_seconds
        command = UploadChunkV2(
            upload_id=upload_id,
            account_id=account_id,
            number=chunk.number,
            size_bytes=chunk.size_bytes,
            checksum=str(chunk.checksum),
            source_url=self._source_url(upload_id, chunk.number),
            s3_bucket=s3_bucket,
            s3_key=s3_key,
            s3_upload_id=s3_upload_id,
        )
        pause = _FIRST_PAUSE_SECONDS
        while True:
            left = deadline - clock()
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
            if clock() + pause > deadline:
                raise failure
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _ask(self, command: UploadChunkV2, *, timeout_seconds: float) -> StoredPart | Denied:
        try:
            body = await self._rpc.call(
                command, exchange=topology.COMMANDS, source=SOURCE, timeout_seconds=max(0.1, timeout_seconds)
            )
        except (BrokerUnavailable, TimeoutError):
            # The worker's answer may be lost though the chunk was stored: then its row is there.
            if (recorded := await self._recorded(command)) is not None:
                return recorded
            raise
        reply = _reply.validate_json(body)
        return StoredPart(reply.number, reply.etag) if isinstance(reply, ChunkStored) else reply

    async def _recorded(self, command: UploadChunkV2) -> StoredPart | None:
        try:
            chunk = await self._store.fetch_chunk(upload_id=command.upload_id, number=command.number)
        except DatabaseUnavailable:
            return None
        if chunk is None or chunk.checksum != command.checksum:
            return None
        return StoredPart(command.number, chunk.etag)

    def _source_url(self, upload_id: UUID, number: int) -> str:
        expires_at = int(time.time() + self._timeout_seconds) + 60
        return self._urls.signed(self._internal_url, upload_id, number, expires_at=expires_at)
