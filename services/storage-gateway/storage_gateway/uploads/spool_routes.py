"""The chunks that wait in the spool, for chunk-workers with a signed URL."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse

from jettythunder.chunk_urls import ChunkUrls
from jettythunder.http import Route, provided
from storage_gateway.uploads.spool import Spool

router = APIRouter(prefix="/internal", include_in_schema=False, route_class=Route)


@router.get("/chunks/{upload_id}/{number}")
async def chunk(
    upload_id: UUID,
    number: int,
    expires_at: int,
    signature: str,
    spool: Annotated[Spool, Depends(provided(Spool))],
    urls: Annotated[ChunkUrls, Depends(provided(ChunkUrls))],
) -> StreamingResponse:
    """The bytes of a chunk that waits in the spool."""
    urls.check(upload_id, number, expires_at=expires_at, signature=signature)
    held = spool.find(upload_id, number)
    headers = {"Content-Length": str(held.size_bytes)}
    return StreamingResponse(held.blocks(), headers=headers, media_type="application/octet-stream")
