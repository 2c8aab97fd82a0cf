"""Tenants' doors: upload, download, stream, list, get, name, delete."""

from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from fastapi.security.utils import get_authorization_scheme_param
from pydantic import BaseModel, Field

from jettythunder.errors import AssetNotFound, InvalidField, JettyThunderError, RangeNotSatisfiable
from jettythunder.web import problem
from storage_gateway import domain
from storage_gateway.access import Access, CurrentTenant
from storage_gateway.domain import ByteRange
from storage_gateway.form import Form
from storage_gateway.repository import Row
from storage_gateway.service.assets import Assets
from storage_gateway.service.closing import Result

router = APIRouter(prefix="/api/storage", tags=["storage"])

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
                        "pipeline_id": {"type": "string", "format": "uuid"},
                        "expires_at": {"type": "string", "format": "date-time"},
                        "ttl_seconds": {"type": "integer", "minimum": 1},
                        "content_hash": {"type": "string", "description": "SHA-256, checked on arrival"},
                    },
                }
            }
        },
    }
}

# PostgreSQL's text holds every character but this one.
_NO_NUL = r"^[^\x00]*$"

# A tenant's file is never run as part of this origin, whatever content type it claims.
_INERT_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


class BulkDelete(BaseModel):
    asset_ids: list[UUID] = Field(min_length=1, max_length=1000)


class Naming(BaseModel):
    filename: str | None = Field(default=None, min_length=1, max_length=1024)
    cache_key: str | None = Field(default=None, min_length=1, max_length=512)


@router.post("/upload", status_code=201, openapi_extra=_FORM_SCHEMA)
async def upload(tenant: CurrentTenant, request: Request) -> JSONResponse:
    """Store a file (multipart/form-data, field `file`) as an asset; equal bytes are stored once."""
    form = Form(request, timeout_seconds=request.app.state.receive_timeout_seconds)
    try:
        result = await request.app.state.uploads.receive_form(tenant, form)
    except JettyThunderError:
        await form.drain()
        raise
    return result_answer(result, request)


@router.get("/download")
async def download(
    tenant: CurrentTenant,
    request: Request,
    asset_id: UUID | None = None,
    key: Annotated[str | None, Query(max_length=1024, pattern=_NO_NUL)] = None,
    cache_key: Annotated[str | None, Query(max_length=512, pattern=_NO_NUL)] = None,
    redirect: bool = False,
) -> Response:
    """A presigned link to an asset (by one of asset_id, key, cache_key); `redirect=true` goes there."""
    assets: Assets = request.app.state.assets
    asset = await assets.find(tenant.account_id, asset_id=asset_id, s3_key=key, cache_key=cache_key)
    link = await assets.sign_download(tenant.account_id, asset)
    if redirect:
        return RedirectResponse(link.url, 302)
    answer = {"success": True, "url": link.url, "expires_at": link.expires_at.isoformat()}
    stream_url = _stream_link(request, asset["id"], int(link.expires_at.timestamp()))
    return JSONResponse(
        answer | {"stream_url": stream_url, "asset": asset_answer(asset, request, cache_key=cache_key)}
    )


@router.api_route("/stream/{asset_id}", methods=["GET", "HEAD"], response_class=StreamingResponse)
async def stream(
    asset_id: UUID, request: Request, expires_at: int | None = None, signature: str | None = None
) -> Response:
    """The asset's bytes, with ranges, for a tenant or the bearer of a signed link."""
    assets: Assets = request.app.state.assets
    account_id = await _reader(request, asset_id, expires_at, signature)
    asset = await assets.find(account_id, asset_id=asset_id)
    headers = _stream_headers(asset)
    if _matches(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    try:
        wanted = _wanted(request, asset, headers["ETag"])
    except RangeNotSatisfiable as error:
        answer = problem(error)
        answer.headers["Content-Range"] = f"bytes */{asset['size_bytes']}"
        return answer
    return await _send(assets, asset, wanted, headers, head=request.method == "HEAD")


@router.get("/assets")
async def list_assets(
    tenant: CurrentTenant,
    request: Request,
    prefix: Annotated[
        str | None, Query(max_length=255, pattern=_NO_NUL, description="Start of the file name")
    ] = None,
    cache_key: Annotated[str | None, Query(max_length=512, pattern=_NO_NUL)] = None,
    pipeline_id: UUID | None = None,
    cursor: Annotated[str | None, Query(max_length=256)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> dict[str, Any]:
    """The account's assets, newest first, in pages; pass next_cursor as cursor for the next one."""
    page = await request.app.state.assets.page(
        tenant.account_id,
        prefix=prefix,
        cache_key=cache_key,
        pipeline_id=pipeline_id,
        cursor=cursor,
        limit=limit,
    )
    found = [asset_answer(asset, request) for asset in page.assets]
    return {"success": True, "assets": found, "next_cursor": page.next_cursor}


@router.get("/assets/{asset_id}")
async def get_asset(asset_id: UUID, tenant: CurrentTenant, request: Request) -> dict[str, Any]:
    """One asset's record."""
    asset = await request.app.state.assets.find(tenant.account_id, asset_id=asset_id)
    return {"success": True, "asset": asset_answer(asset, request)}


@router.patch("/assets/{asset_id}")
async def rename_asset(
    asset_id: UUID, body: Naming, tenant: CurrentTenant, request: Request
) -> dict[str, Any]:
    """Rename an asset, or let a cache key name it; its bytes and id stay."""
    asset = await request.app.state.assets.rename(
        tenant.account_id, asset_id, filename=body.filename, cache_key=body.cache_key
    )
    return {"success": True, "asset": asset_answer(asset, request, cache_key=body.cache_key)}


@router.post("/assets/{asset_id}/copy")
async def copy_asset(asset_id: UUID, body: Naming, tenant: CurrentTenant, request: Request) -> dict[str, Any]:
    """Copy an asset to another cache key. Equal bytes are stored once, so the copy is the same asset."""
    if body.cache_key is None:
        raise InvalidField("Give the cache_key that the copy shall have.", field="cache_key")
    asset = await request.app.state.assets.rename(
        tenant.account_id, asset_id, filename=None, cache_key=body.cache_key
    )
    copied = asset_answer(asset, request, cache_key=body.cache_key)
    return {"success": True, "asset": copied | {"deduplicated": True}}


@router.delete("/assets/{asset_id}")
async def delete_asset(asset_id: UUID, tenant: CurrentTenant, request: Request) -> dict[str, Any]:
    """Delete an asset; its storage is free again."""
    if not await request.app.state.assets.delete(tenant.account_id, [asset_id], reason="request"):
        raise AssetNotFound
    return {"success": True, "deleted": [str(asset_id)]}


@router.post("/assets/bulk-delete")
async def bulk_delete(body: BulkDelete, tenant: CurrentTenant, request: Request) -> dict[str, Any]:
    """Delete up to 1000 assets; those that were not there are listed."""
    gone = await request.app.state.assets.delete(tenant.account_id, body.asset_ids, reason="request")
    missing = [str(asset_id) for asset_id in body.asset_ids if asset_id not in set(gone)]
    return {"success": True, "deleted": [str(asset_id) for asset_id in gone], "not_found": missing}


def result_answer(result: Result, request: Request) -> JSONResponse:
    """What an upload came to: 201 for a new asset, 200 for one the account already had."""
    asset = asset_answer(result.asset, request, cache_key=result.cache_key)
    answer = {
        "success": True,
        "upload_id": str(result.upload_id),
        "deduplicated": result.deduplicated,
        "asset": asset | {"deduplicated": result.deduplicated},
    }
    return JSONResponse(answer, 200 if result.deduplicated else 201)


def asset_answer(row: Row, request: Request, *, cache_key: str | None = None) -> dict[str, Any]:
    """An asset as tenants see it, under the cache key it was asked for by: it may have several."""
    speed = row["upload_speed_mbps"]
    return {
        "id": str(row["id"]),
        "s3_key": row["s3_key"],
        "s3_bucket": row["s3_bucket"],
        "url": f"{request.app.state.public_url}/api/storage/stream/{row['id']}",
        "filename": row["filename"],
        "size_bytes": row["size_bytes"],
        "content_type": row["content_type"],
        "content_hash": row["content_hash"],
        "cache_key": cache_key or row["cache_key"],
        "pipeline_id": str(row["agentcache_pipeline_id"]) if row["agentcache_pipeline_id"] else None,
        "hit_count": row["hit_count"],
        "last_accessed": row["last_accessed"].isoformat() if row["last_accessed"] else None,
        "expires_at": row["expires_at"].isoformat() if row["expires_at"] else None,
        "uploaded_via": row["uploaded_via"],
        "upload_speed_mbps": float(speed) if speed is not None else None,
        "created_at": row["created_at"].isoformat(),
    }


def _stream_link(request: Request, asset_id: UUID, expires_at: int) -> str:
    signature = request.app.state.stream_signer.sign(asset_id, expires_at=expires_at)
    base = f"{request.app.state.public_url}/api/storage/stream/{asset_id}"
    return f"{base}?expires_at={expires_at}&signature={signature}"


async def _reader(request: Request, asset_id: UUID, expires_at: int | None, signature: str | None) -> UUID:
    """The account that may read: a signed link's owner, or the tenant of the credentials."""
    access: Access = request.app.state.access
    if expires_at is not None and signature is not None:
        request.app.state.stream_signer.check(asset_id, expires_at=expires_at, signature=signature)
        owner = await request.app.state.assets.owner_of(asset_id)
        await access.signed(request, owner)
        account_id: UUID = owner["account_id"]
        return account_id
    scheme, key = get_authorization_scheme_param(request.headers.get("authorization"))
    key = key if scheme.lower() == "bearer" else ""
    return (await access.tenant(request, key, request.headers.get("x-api-secret"))).account_id


def _stream_headers(asset: Row) -> dict[str, str]:
    return {
        "ETag": f'"{asset["content_hash"]}"',
        "Accept-Ranges": "bytes",
        "Content-Type": asset["content_type"],
        "Content-Disposition": domain.content_disposition("inline", asset["filename"]),
        "Last-Modified": asset["created_at"].strftime("%a, %d %b %Y %H:%M:%S GMT"),
        "Cache-Control": "private, max-age=0, must-revalidate",
        **_INERT_HEADERS,
    }


def _matches(header: str | None, etag: str) -> bool:
    if header is None:
        return False
    given = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in given or etag in given


def _wanted(request: Request, asset: Row, etag: str) -> ByteRange | None:
    """The range to send, or None for the whole; a range of an older version becomes the whole."""
    validator = request.headers.get("if-range")
    if validator is not None and validator.strip() not in (etag, _stream_headers(asset)["Last-Modified"]):
        return None
    return domain.parse_range(request.headers.get("range"), asset["size_bytes"])


async def _send(
    assets: Assets, asset: Row, wanted: ByteRange | None, headers: dict[str, str], *, head: bool
) -> Response:
    size = asset["size_bytes"]
    sent = wanted or ByteRange(0, size - 1, size)
    if wanted is not None:
        headers["Content-Range"] = wanted.content_range
    headers["Content-Length"] = str(sent.length_bytes)
    status = 206 if wanted is not None else 200
    if head or size == 0:
        return Response(status_code=status, headers=headers)
    content: AsyncIterator[bytes] = await assets.stream(asset, sent)
    return StreamingResponse(content, status, headers)
