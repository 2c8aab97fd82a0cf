"""The door of the spool, for chunk-workers with a signed URL."""

from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

router = APIRouter(prefix="/internal", include_in_schema=False)


@router.get("/chunks/{upload_id}/{number}")
async def chunk(
    upload_id: UUID, number: int, expires_at: int, signature: str, request: Request
) -> StreamingResponse:
    """The bytes of a chunk that waits in the spool."""
    request.app.state.chunk_signer.check(upload_id, number, expires_at=expires_at, signature=signature)
    held = request.app.state.spool.find(upload_id, number)
    headers = {"Content-Length": str(held.size_bytes)}
    return StreamingResponse(held.blocks(), headers=headers, media_type="application/octet-stream")
