"""Tenants' calls for uploads: forms, and sessions for JettySpeed."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from jettythunder import security_log
from jettythunder.errors import (
    InvalidField,
    ShuttingDown,
    StorageUnavailable,
    TruncatedBody,
    UploadNotFound,
    UploadNotOpen,
    UploadTimedOut,
)
from jettythunder.http import provided, raises
from jettythunder.inputs import JSON_NUMBER
from jettythunder.security_log import SecurityEvent
from storage_gateway.access.credentials import CurrentTenant, TenantRoute
from storage_gateway.assets.links import Links
from storage_gateway.assets.model import HASH_PATTERN, checked_hash
from storage_gateway.edges.known import Edges
from storage_gateway.errors import (
    ChunkUploadFailed,
    ContentHashMismatch,
    FileTooLarge,
    GatewayBusy,
    JettySpeedNotIncluded,
    MalformedForm,
    MissingFile,
    MultipleFiles,
    SpoolFull,
    StorageNotIncluded,
    StorageQuotaExceeded,
    TooManyCacheKeys,
    TooManySessions,
    TooManyUploads,
    UnsupportedMediaType,
    UploadIncomplete,
    VerificationUnavailable,
)
from storage_gateway.settings import Settings
from storage_gateway.uploads.answers import result_answer, session_answer, upload_answer
from storage_gateway.uploads.form import Form
from storage_gateway.uploads.model import MAX_CHUNKS, MAX_TTL_SECONDS, Result, parse_options
from storage_gateway.uploads.receive import FormUploads
from storage_gateway.uploads.sessions import NewSession, Session, Sessions

router = APIRouter(prefix="/api/storage", route_class=TenantRoute)

AnySessions = Annotated[Sessions, Depends(provided(Sessions))]
AnyLinks = Annotated[Links, Depends(provided(Links))]
AnyEdges = Annotated[Edges, Depends(provided(Edges))]

# An empty value is one that was not given, as in forms.
_OR_EMPTY_UUID: dict[str, Any] = {"anyOf": [{"format": "uuid"}, {"maxLength": 0}]}
_OR_EMPTY_TIME: dict[str, Any] = {
    "description": "ISO 8601, such as 2030-01-31T12:00:00Z; not together with ttl_seconds",
    "anyOf": [{"format": "date-time"}, {"maxLength": 0}],
}

_DEDUPLICATED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The account had these bytes already: the asset that holds them.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}

_FORM_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "cache_key": {"type": "string", "maxLength": 512},
                        "pipeline_id": {"type": "string", **_OR_EMPTY_UUID},
                        "expires_at": {"type": "string", **_OR_EMPTY_TIME},
                        "ttl_seconds": {"type": "integer", "minimum": 1, "maximum": MAX_TTL_SECONDS},
                        "content_hash": {
                            "type": "string",
                            "description": "SHA-256, checked on arrival",
                            "pattern": HASH_PATTERN,
                        },
                    },
                }
            }
        },
    }
}


ContentHash = Annotated[
    str, Field(description="SHA-256 of the file, hexadecimal", json_schema_extra={"pattern": HASH_PATTERN})
]


class CreateSession(BaseModel):
    filename: str = Field(min_length=1, max_length=1024)
    size_bytes: Annotated[int, Field(ge=1, description="Empty files are uploaded as forms"), JSON_NUMBER]
    content_type: str | None = Field(default=None, max_length=255)
    content_hash: ContentHash | None = None
    cache_key: str | None = Field(default=None, max_length=512)
    pipeline_id: Annotated[str, Field(json_schema_extra=_OR_EMPTY_UUID)] | None = None
    expires_at: Annotated[str, Field(json_schema_extra=_OR_EMPTY_TIME)] | None = None
    ttl_seconds: Annotated[int, Field(ge=1, le=MAX_TTL_SECONDS), JSON_NUMBER] | None = None
    chunk_size_bytes: Annotated[int, Field(ge=1), JSON_NUMBER] | None = Field(
        default=None,
        description="A wish: it is raised to 5 MiB, lowered to the installation's limit (64 MiB by "
        "default), and raised to what keeps 10,000 chunks",
    )

    def parsed(self) -> NewSession:
        """What is asked for, with its options checked."""
        fields = self.model_dump(
            include={"content_hash", "cache_key", "pipeline_id", "expires_at", "ttl_seconds"},
            exclude_none=True,
        )
        options = parse_options({name: str(value) for name, value in fields.items()}, now=datetime.now(UTC))
        return NewSession(self.filename, self.size_bytes, self.content_type, self.chunk_size_bytes, options)


class Numbers(BaseModel):
    numbers: list[Annotated[int, Field(ge=1, le=MAX_CHUNKS), JSON_NUMBER]] = Field(
        min_length=1, max_length=1000
    )


class Completion(BaseModel):
    content_hash: ContentHash | None = None
    parts_md5: str | None = Field(
        default=None, pattern="^[0-9a-fA-F]{32}$", description="MD5 of the chunks' binary MD5s in order"
    )


@router.post(
    "/upload", status_code=201, responses=_DEDUPLICATED, openapi_extra=_FORM_SCHEMA, tags=["storage"]
)
@raises(
    TruncatedBody,
    MalformedForm,
    MissingFile,
    MultipleFiles,
    UnsupportedMediaType,
    InvalidField,
    ContentHashMismatch,
    UploadTimedOut,
    UploadNotOpen,
    StorageNotIncluded,
    StorageQuotaExceeded,
    FileTooLarge,
    TooManyCacheKeys,
    TooManyUploads,
    StorageUnavailable,
    GatewayBusy,
    ChunkUploadFailed,
    ShuttingDown,
    SpoolFull,
)
async def upload(
    tenant: CurrentTenant,
    request: Request,
    uploads: Annotated[FormUploads, Depends(provided(FormUploads))],
    links: AnyLinks,
) -> JSONResponse:
    """Store a file (multipart/form-data, field `file`) as an asset; equal bytes are stored once."""
    settings: Settings = request.app.state.settings
    form = Form(
        request,
        timeout_seconds=settings.receive_timeout_seconds,
        least_bytes_per_second=settings.upload_min_bytes_per_second,
    )
    return result_answer(await uploads.receive_form(tenant, form), links)


@router.post("/uploads", status_code=201, responses=_DEDUPLICATED, tags=["upload sessions"])
@raises(
    JettySpeedNotIncluded,
    StorageNotIncluded,
    StorageQuotaExceeded,
    FileTooLarge,
    TooManyCacheKeys,
    TooManySessions,
    StorageUnavailable,
)
async def create(
    body: CreateSession, tenant: CurrentTenant, sessions: AnySessions, edges: AnyEdges, links: AnyLinks
) -> JSONResponse:
    """Begin an upload session: storage is reserved and the file planned in chunks."""
    made = await sessions.create(tenant, body.parsed())
    if isinstance(made, Result):
        return result_answer(made, links)
    return JSONResponse(await _with_edges(made, edges), 201)


@router.get("/uploads", tags=["upload sessions"])
async def list_sessions(
    tenant: CurrentTenant,
    sessions: AnySessions,
    status: Literal["open", "all"] = "open",
    cursor: Annotated[str | None, Query(max_length=256)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> dict[str, Any]:
    """The account's sessions, newest first, in pages."""
    found, next_cursor = await sessions.page(
        tenant.account_id, open_only=status == "open", cursor=cursor, limit=limit
    )
    return {"success": True, "uploads": [upload_answer(one) for one in found], "next_cursor": next_cursor}


@router.get("/uploads/{upload_id}", tags=["upload sessions"])
@raises(UploadNotFound, StorageUnavailable)
async def session_status(
    upload_id: UUID, tenant: CurrentTenant, sessions: AnySessions, edges: AnyEdges
) -> dict[str, Any]:
    """How far a session is, and which chunks are missing."""
    return await _with_edges(await sessions.find(tenant.account_id, upload_id), edges)


async def _with_edges(session: Session, edges: Edges) -> dict[str, Any]:
    """A session, and the edges that take its chunks."""
    listed = await edges.answer(chunk_bytes=session.upload.plan.chunk_size_bytes)
    return {"success": True, "upload": session_answer(session), "edges": listed}


@router.post("/uploads/{upload_id}/tokens", tags=["upload sessions"])
@raises(UploadNotFound, UploadNotOpen)
async def tokens(
    upload_id: UUID, body: Numbers, tenant: CurrentTenant, sessions: AnySessions
) -> dict[str, Any]:
    """Tokens that let any edge take these chunks; ask again before they expire."""
    tickets, expires_at = await sessions.tickets(tenant, upload_id, body.numbers)
    given = [asdict(ticket) for ticket in tickets]
    return {"success": True, "expires_at": expires_at.isoformat(), "tokens": given}


@router.post(
    "/uploads/{upload_id}/complete", status_code=201, responses=_DEDUPLICATED, tags=["upload sessions"]
)
@raises(
    UploadNotFound,
    UploadNotOpen,
    UploadIncomplete,
    TooManyCacheKeys,
    ContentHashMismatch,
    StorageUnavailable,
    VerificationUnavailable,
)
async def complete(
    upload_id: UUID, body: Completion, tenant: CurrentTenant, sessions: AnySessions, links: AnyLinks
) -> JSONResponse:
    """Join the chunks into an asset; safe to repeat."""
    result = await sessions.complete(
        tenant.account_id,
        upload_id,
        content_hash=checked_hash(body.content_hash),
        parts_md5=body.parts_md5,
    )
    return result_answer(result, links)


@router.delete("/uploads/{upload_id}", tags=["upload sessions"])
@raises(UploadNotFound, UploadNotOpen, StorageUnavailable)
async def abort(upload_id: UUID, tenant: CurrentTenant, sessions: AnySessions) -> dict[str, Any]:
    """Give a session up; its reservation is released and its chunks are dropped."""
    await sessions.abort(tenant.account_id, upload_id)
    security_log.record(SecurityEvent.UPLOAD_ABORTED, upload_id=str(upload_id))
    return {"success": True, "aborted": True}
