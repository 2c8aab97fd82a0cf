"""The chunks that wait in the spool, for chunk-workers with a signed URL."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from jettythunder.chunk_urls import ChunkUrls
from jettythunder.http import Route, provided
from jettythunder.http.sending import file_sender
from storage_gateway.uploads.spool import Spool, SpooledChunk

router = APIRouter(prefix="/internal", include_in_schema=False, route_class=Route)


class ChunkAnswer(Response):
    """An answer whose body is a chunk."""

    def __init__(self, chunk: SpooledChunk) -> None:
        super().__init__(
            headers={"Content-Length": str(chunk.size_bytes)}, media_type="application/octet-stream"
        )
        self._chunk = chunk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        send_file = file_sender(scope)
        if send_file is None or not await self._chunk.send(send_file):
            async for block in self._chunk.blocks():
                await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@router.get("/chunks/{upload_id}/{number}")
async def chunk(
    upload_id: UUID,
    number: int,
    expires_at: int,
    signature: str,
    spool: Annotated[Spool, Depends(provided(Spool))],
    urls: Annotated[ChunkUrls, Depends(provided(ChunkUrls))],
) -> ChunkAnswer:
    """The bytes of a chunk that waits in the spool."""
    urls.check(upload_id, number, expires_at=expires_at, signature=signature)
    return ChunkAnswer(spool.find(upload_id, number))
