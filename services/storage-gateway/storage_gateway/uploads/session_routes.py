"""Tenants' doors to upload sessions (JettySpeed)."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from storage_gateway import domain
from storage_gateway.access import CurrentTenant
from storage_gateway.api.storage import result_answer
from storage_gateway.repository import Row
from storage_gateway.service.closing import Result
from storage_gateway.service.sessions import NewSession, Session, Sessions

router = APIRouter(prefix="/api", tags=["upload sessions"])


class CreateSession(BaseModel):
    filename: str = Field(min_length=1, max_length=1024)
    size_bytes: int = Field(ge=0)
    content_type: str | None = Field(default=None, max_length=255)
    content_hash: str | None = Field(default=None, description="SHA-256 of the file, hexadecimal")
    cache_key: str | None = Field(default=None, max_length=512)
    pipeline_id: str | None = None
    expires_at: str | None = None
    ttl_seconds: int | None = None
    chunk_size_bytes: int | None = Field(
        default=None, ge=1, description="A wish: it is raised to 5 MiB and to what keeps 10,000 chunks"
    )


class Numbers(BaseModel):
    numbers: list[Annotated[int, Field(ge=1, le=domain.MAX_CHUNKS)]] = Field(min_length=1, max_length=1000)


class Completion(BaseModel):
    content_hash: str | None = Field(default=None, description="SHA-256 of the file, hexadecimal")
    parts_md5: str | None = Field(
        default=None, pattern="^[0-9a-fA-F]{32}$", description="MD5 of the chunks' binary MD5s in order"
    )


@router.get("/edges", tags=["edges"])
async def edges(_: CurrentTenant, request: Request) -> dict[str, Any]:
    """The edges that take chunks now."""
    return {"success": True, "edges": await _edges(request)}


@router.post("/storage/uploads", status_code=201)
async def create(body: CreateSession, tenant: CurrentTenant, request: Request) -> JSONResponse:
    """Begin an upload session: storage is reserved and the file planned in chunks."""
    made = await _sessions(request).create(tenant, _wanted(body))
    if isinstance(made, Result):
        return result_answer(made, request)
    answer = {"success": True, "upload": _session(made), "edges": await _edges(request)}
    return JSONResponse(answer, 201)


@router.get("/storage/uploads")
async def list_sessions(
    tenant: CurrentTenant,
    request: Request,
    status: Literal["open", "all"] = "open",
    cursor: Annotated[str | None, Query(max_length=256)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> dict[str, Any]:
    """The account's sessions, newest first, in pages."""
    rows, next_cursor = await _sessions(request).page(
        tenant.account_id, open_only=status == "open", cursor=cursor, limit=limit
    )
    return {"success": True, "uploads": [_upload(row) for row in rows], "next_cursor": next_cursor}


@router.get("/storage/uploads/{upload_id}")
async def session_status(upload_id: UUID, tenant: CurrentTenant, request: Request) -> dict[str, Any]:
    """How far a session is, and which chunks are missing."""
    session = await _sessions(request).find(tenant.account_id, upload_id)
    return {"success": True, "upload": _session(session), "edges": await _edges(request)}


@router.post("/storage/uploads/{upload_id}/tokens")
async def tokens(upload_id: UUID, body: Numbers, tenant: CurrentTenant, request: Request) -> dict[str, Any]:
    """Tokens that let any edge take these chunks; ask again before they expire."""
    tickets, expires_at = await _sessions(request).tickets(tenant.account_id, upload_id, body.numbers)
    given = [asdict(ticket) for ticket in tickets]
    return {"success": True, "expires_at": expires_at.isoformat(), "tokens": given}


@router.post("/storage/uploads/{upload_id}/complete", status_code=201)
async def complete(
    upload_id: UUID, body: Completion, tenant: CurrentTenant, request: Request
) -> JSONResponse:
    """Join the chunks into an asset; safe to repeat."""
    result = await _sessions(request).complete(
        tenant.account_id,
        upload_id,
        content_hash=domain.checked_hash(body.content_hash),
        parts_md5=body.parts_md5,
    )
    return result_answer(result, request)


@router.delete("/storage/uploads/{upload_id}")
async def abort(upload_id: UUID, tenant: CurrentTenant, request: Request) -> dict[str, Any]:
    """Give a session up; its reservation is released and its chunks are dropped."""
    await _sessions(request).abort(tenant.account_id, upload_id)
    return {"success": True, "aborted": True}


def _sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


def _wanted(body: CreateSession) -> NewSession:
    fields = body.model_dump(
        include={"content_hash", "cache_key", "pipeline_id", "expires_at", "ttl_seconds"}, exclude_none=True
    )
    options = domain.parse_options(
        {name: str(value) for name, value in fields.items()}, now=datetime.now(UTC)
    )
    return NewSession(body.filename, body.size_bytes, body.content_type, body.chunk_size_bytes, options)


async def _edges(request: Request) -> list[dict[str, str]]:
    return [asdict(edge) for edge in await request.app.state.edges.known()]


def _upload(row: Row) -> dict[str, Any]:
    plan = domain.ChunkPlan(row["size_bytes"], row["chunk_size_bytes"])
    return {
        "id": str(row["id"]),
        "status": row["status"],
        "filename": row["filename"],
        "content_type": row["content_type"],
        "size_bytes": row["size_bytes"],
        "chunk_size_bytes": row["chunk_size_bytes"],
        "chunk_count": plan.count,
        "content_hash": row["content_hash"],
        "cache_key": row["cache_key"],
        "asset_id": str(row["asset_id"]) if row["asset_id"] else None,
        "failure_code": row["failure_code"],
        "expires_at": row["expires_at"].isoformat(),
        "created_at": row["created_at"].isoformat(),
    }


def _session(session: Session) -> dict[str, Any]:
    return _upload(session.upload) | {
        "received_bytes": sum(chunk.size_bytes for chunk in session.chunks),
        "received": [
            {"number": chunk.number, "size_bytes": chunk.size_bytes, "md5": chunk.md5}
            for chunk in session.chunks
        ],
        "missing": session.missing,
    }
