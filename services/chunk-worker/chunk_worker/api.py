"""The edge's doors. Clients get tokens for their chunks from a gateway."""

from dataclasses import asdict
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from jettythunder.errors import Unauthenticated

router = APIRouter(prefix="/edge", tags=["edge"])

_token = HTTPBearer(auto_error=False, description="The chunk's token, from the upload session")

_BODY = {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string"}}}}


@router.put("/uploads/{upload_id}/chunks/{number}", openapi_extra={"requestBody": _BODY})
async def put_chunk(
    request: Request,
    upload_id: UUID,
    number: Annotated[int, Path(ge=1, le=10_000)],
    token: Annotated[HTTPAuthorizationCredentials | None, Depends(_token)],
    content_md5: Annotated[str | None, Header(description="The chunk's MD5, base64 (RFC 1864)")] = None,
    content_length: Annotated[int | None, Header(ge=0)] = None,
) -> dict[str, Any]:
    """Store a chunk; the answer means that the object storage has it. Sending one again is harmless."""
    if token is None:
        raise Unauthenticated("Send the chunk's token as Authorization: Bearer.")
    stored = await request.app.state.ingest.take(
        upload_id,
        number,
        token=token.credentials,
        content_md5=content_md5,
        length_bytes=content_length,
        body=request.stream(),
    )
    return asdict(stored)


@router.get("/ping", status_code=204)
async def ping() -> Response:
    """Nothing, quickly: clients measure how far away this edge is. Open to all, for it tells nothing."""
    return Response(status_code=204, headers={"Cache-Control": "no-store"})
