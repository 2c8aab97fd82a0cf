"""The edge's HTTP API. Clients get tokens for their chunks from a gateway."""

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from chunk_worker.edge.ingest import EdgeIngest
from jettythunder import security_log
from jettythunder.errors import (
    ChecksumMismatch,
    EdgeBusy,
    LinkExpired,
    LinkInvalid,
    LinkRevoked,
    ShuttingDown,
    StorageUnavailable,
    TooManyAttempts,
    TruncatedBody,
    Unauthenticated,
    UploadNotFound,
    UploadNotOpen,
    UploadTimedOut,
)
from jettythunder.http import Route, provided, raises

router = APIRouter(prefix="/edge", tags=["edge"], route_class=Route)

_token = HTTPBearer(
    auto_error=False, scheme_name="ChunkToken", description="The chunk's token, from the upload session"
)

_BODY = {
    "required": True,
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}


@raises(Unauthenticated)
async def bearer(given: Annotated[HTTPAuthorizationCredentials | None, Depends(_token)]) -> str:
    """The token of a request.

    Raises:
        Unauthenticated: there is none.
    """
    security_log.identify("edge_token")
    if given is None:
        raise Unauthenticated("Send the chunk's token as Authorization: Bearer.")
    return given.credentials


@dataclass(frozen=True)
class StoredChunk:
    """A chunk that the object storage has. ``md5`` is hexadecimal."""

    number: int
    size_bytes: int
    md5: str
    etag: str
    edge: str


@router.put("/uploads/{upload_id}/chunks/{number}", openapi_extra={"requestBody": _BODY})
@raises(
    TruncatedBody,
    LinkExpired,
    LinkInvalid,
    LinkRevoked,
    UploadNotFound,
    UploadTimedOut,
    UploadNotOpen,
    ChecksumMismatch,
    TooManyAttempts,
    EdgeBusy,
    ShuttingDown,
    StorageUnavailable,
)
async def put_chunk(
    request: Request,
    upload_id: UUID,
    number: Annotated[int, Path(ge=1, le=10_000)],
    token: Annotated[str, Depends(bearer)],
    ingest: Annotated[EdgeIngest, Depends(provided(EdgeIngest))],
    content_md5: Annotated[str, Header(description="The chunk's MD5, base64 (RFC 1864)")],
    content_length: Annotated[int | None, Header(ge=0, include_in_schema=False)] = None,
) -> StoredChunk:
    """Store a chunk; the answer means that the object storage has it. Sending one again is harmless."""
    stored = await ingest.take(
        upload_id,
        number,
        token=token,
        content_md5=content_md5,
        length_bytes=content_length,
        body=request.stream(),
    )
    return StoredChunk(stored.number, stored.size_bytes, str(stored.checksum), stored.etag, stored.edge)


@router.get("/ping", status_code=204)
async def ping() -> Response:
    """Nothing, quickly: clients measure how far away this edge is. Open to all, for it reveals nothing."""
    return Response(status_code=204, headers={"Cache-Control": "no-store"})
