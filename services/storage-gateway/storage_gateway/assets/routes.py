"""Tenants' calls for assets: download, stream, list, get, name, verify, delete."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, Field

from jettythunder import security_log
from jettythunder.errors import (
    LinkExpired,
    LinkInvalid,
    LinkRevoked,
    RateLimited,
    StorageUnavailable,
    Unauthenticated,
)
from jettythunder.http import Route, provided, raises
from jettythunder.security_log import SecurityEvent
from storage_gateway.access.credentials import Access, CurrentTenant, TenantRoute, with_tenants_pair
from storage_gateway.assets.answers import asset_answer
from storage_gateway.assets.delete import Deleter
from storage_gateway.assets.find import Finder
from storage_gateway.assets.links import Links
from storage_gateway.assets.model import Asset, Reason
from storage_gateway.assets.representation import answer_for
from storage_gateway.assets.stream import StreamAnswer, Streams
from storage_gateway.assets.verify import Verifier
from storage_gateway.errors import (
    AccountSuspended,
    AssetNotFound,
    BandwidthQuotaExceeded,
    PreconditionFailed,
    RangeNotSatisfiable,
    TooManyCacheKeys,
    TooManyStreams,
    VerificationUnavailable,
)

router = APIRouter(prefix="/api/storage", tags=["storage"], route_class=TenantRoute)
stream_router = APIRouter(prefix="/api/storage", tags=["storage"], route_class=Route)

AnyFinder = Annotated[Finder, Depends(provided(Finder))]
AnyLinks = Annotated[Links, Depends(provided(Links))]
AnyDeleter = Annotated[Deleter, Depends(provided(Deleter))]
AnyVerifier = Annotated[Verifier, Depends(provided(Verifier))]

# PostgreSQL's text holds every character but this one.
_NO_NUL = r"^[^\x00]*$"
CacheKeyParameter = Annotated[str | None, Query(max_length=512, pattern=_NO_NUL)]

# What collects logs cuts long lines.
_IDS_OF_A_LINE = 100

# A signed link gives access by itself, never a cookie, so pages of any origin may use it.
_OPEN_TO_PAGES = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Accept-Ranges, Content-Length, Content-Range, ETag, Last-Modified",
}


_REDIRECT: dict[int | str, dict[str, Any]] = {302: {"description": "To the asset, where `redirect=true`"}}

_ANY_TYPE = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The asset's bytes", "content": _ANY_TYPE},
    206: {"description": "The range of bytes that was asked for", "content": _ANY_TYPE},
    304: {"description": "The client has the asset already, as its conditions say"},
}


class BulkDelete(BaseModel):
    asset_ids: list[UUID] = Field(min_length=1, max_length=1000)


class Naming(BaseModel):
    filename: str | None = Field(default=None, min_length=1, max_length=1024)
    cache_key: str | None = Field(default=None, min_length=1, max_length=512)


class Copying(BaseModel):
    cache_key: str = Field(min_length=1, max_length=512, description="The cache key that the copy has")


@router.head("/download", include_in_schema=False)
@router.get("/download", responses=_REDIRECT)
@raises(AssetNotFound, BandwidthQuotaExceeded)
async def download(
    request: Request,
    tenant: CurrentTenant,
    finder: AnyFinder,
    links: AnyLinks,
    asset_id: UUID | None = None,
    key: Annotated[str | None, Query(max_length=1024, pattern=_NO_NUL)] = None,
    cache_key: CacheKeyParameter = None,
    redirect: bool = False,
    metered: Annotated[
        bool, Query(description="Whether url leads through the gateway, which counts what it sends")
    ] = False,
    expires_in: Annotated[
        int | None, Query(ge=1, le=604_800, description="Seconds; at most what the installation allows")
    ] = None,
) -> Response:
    """A link to an asset (by one of asset_id, key, cache_key), presigned unless `metered=true`;
    `redirect=true` goes there."""
    asset = await finder.find(tenant.account_id, asset_id=asset_id, s3_key=key, cache_key=cache_key)
    if request.method == "HEAD":
        # No link is given, for one counts as a download.
        return RedirectResponse(links.plain(asset.id), 302) if redirect else JSONResponse({})
    link = (
        links.metered(asset, epoch=tenant.epoch, expires_in=expires_in)
        if metered
        else await links.download(asset, epoch=tenant.epoch, expires_in=expires_in)
    )
    if redirect:
        return RedirectResponse(link.url, 302)
    answer = {"success": True, "url": link.url, "stream_url": link.stream_url}
    if link.cdn_url is not None:
        answer["cdn_url"] = link.cdn_url
    return JSONResponse(
        answer
        | {
            "expires_at": link.expires_at.isoformat(),
            "asset": asset_answer(asset, links, cache_key=cache_key),
        }
    )


@router.get("/assets")
async def list_assets(
    tenant: CurrentTenant,
    finder: AnyFinder,
    links: AnyLinks,
    prefix: Annotated[
        str | None, Query(max_length=255, pattern=_NO_NUL, description="Start of the file name")
    ] = None,
    cache_key: CacheKeyParameter = None,
    pipeline_id: UUID | None = None,
    cursor: Annotated[str | None, Query(max_length=256)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> dict[str, Any]:
    """The account's assets, newest first, in pages; pass next_cursor as cursor for the next one."""
    page = await finder.page(
        tenant.account_id,
        prefix=prefix,
        cache_key=cache_key,
        pipeline_id=pipeline_id,
        cursor=cursor,
        limit=limit,
    )
    found = [asset_answer(asset, links) for asset in page.assets]
    return {"success": True, "assets": found, "next_cursor": page.next_cursor}


@router.get("/assets/{asset_id}")
@raises(AssetNotFound)
async def get_asset(
    asset_id: UUID, tenant: CurrentTenant, finder: AnyFinder, links: AnyLinks
) -> dict[str, Any]:
    """One asset's record."""
    asset = await finder.find(tenant.account_id, asset_id=asset_id)
    return {"success": True, "asset": asset_answer(asset, links)}


@router.patch("/assets/{asset_id}")
@raises(AssetNotFound, TooManyCacheKeys)
async def rename_asset(
    asset_id: UUID, body: Naming, tenant: CurrentTenant, finder: AnyFinder, links: AnyLinks
) -> dict[str, Any]:
    """Rename an asset, or let a cache key name it; its bytes and id stay."""
    asset = await finder.rename(tenant.account_id, asset_id, filename=body.filename, cache_key=body.cache_key)
    return {"success": True, "asset": asset_answer(asset, links, cache_key=body.cache_key)}


@router.post("/assets/{asset_id}/copy")
@raises(AssetNotFound, TooManyCacheKeys)
async def copy_asset(
    asset_id: UUID, body: Copying, tenant: CurrentTenant, finder: AnyFinder, links: AnyLinks
) -> dict[str, Any]:
    """Copy an asset to another cache key. Equal bytes are stored once, so the copy is the same asset."""
    asset = await finder.rename(tenant.account_id, asset_id, filename=None, cache_key=body.cache_key)
    copied = asset_answer(asset, links, cache_key=body.cache_key)
    return {"success": True, "asset": copied | {"deduplicated": True}}


@router.post("/assets/{asset_id}/verify")
@raises(AssetNotFound, VerificationUnavailable)
async def verify_asset(
    asset_id: UUID, tenant: CurrentTenant, verifier: AnyVerifier, links: AnyLinks
) -> dict[str, Any]:
    """Have the asset's hash computed from its bytes, where the client only claimed it."""
    asset = await verifier.verify(tenant.account_id, asset_id)
    return {"success": True, "asset": asset_answer(asset, links)}


@router.delete("/assets/{asset_id}")
@raises(AssetNotFound)
async def delete_asset(asset_id: UUID, tenant: CurrentTenant, deleter: AnyDeleter) -> dict[str, Any]:
    """Delete an asset; its storage is free again."""
    if not await deleter.delete(tenant.account_id, [asset_id], reason=Reason.REQUEST):
        raise AssetNotFound
    _record_deletion([asset_id])
    return {"success": True, "deleted": [str(asset_id)]}


@router.post("/assets/bulk-delete")
async def bulk_delete(body: BulkDelete, tenant: CurrentTenant, deleter: AnyDeleter) -> dict[str, Any]:
    """Delete up to 1000 assets; those that were not there are listed."""
    gone = await deleter.delete(tenant.account_id, body.asset_ids, reason=Reason.REQUEST)
    _record_deletion(gone)
    missing = [str(asset_id) for asset_id in body.asset_ids if asset_id not in set(gone)]
    return {"success": True, "deleted": [str(asset_id) for asset_id in gone], "not_found": missing}


def _record_deletion(gone: Sequence[UUID]) -> None:
    for start in range(0, len(gone), _IDS_OF_A_LINE):
        asset_ids = [str(asset_id) for asset_id in gone[start : start + _IDS_OF_A_LINE]]
        security_log.record(SecurityEvent.ASSETS_DELETED, count=len(asset_ids), asset_ids=asset_ids)


@stream_router.head("/stream/{asset_id}", include_in_schema=False)
@stream_router.get(
    "/stream/{asset_id}",
    response_class=StreamAnswer,
    responses=_BYTES,
    # Without credentials for a signed link.
    openapi_extra={"security": [{}]},
)
@raises(
    Unauthenticated,
    AccountSuspended,
    LinkExpired,
    LinkInvalid,
    LinkRevoked,
    AssetNotFound,
    PreconditionFailed,
    RangeNotSatisfiable,
    BandwidthQuotaExceeded,
    RateLimited,
    TooManyStreams,
    StorageUnavailable,
)
@with_tenants_pair
async def stream(
    asset_id: UUID,
    request: Request,
    finder: AnyFinder,
    streams: Annotated[Streams, Depends(provided(Streams))],
    links: AnyLinks,
    access: Annotated[Access, Depends(provided(Access))],
    epoch: int = 0,
    expires_at: int = 0,
    signature: str | None = None,
) -> Response:
    """The asset's bytes, with ranges, for a tenant or the bearer of a signed link."""
    if signature is not None:
        security_log.identify("link")
        links.check(asset_id, epoch=epoch, expires_at=expires_at, signature=signature)
        account_id = await access.link_owner(request, asset_id, epoch=epoch)
    else:
        account_id = (await access.tenant(request)).account_id
    asset = await finder.find(account_id, asset_id=asset_id)
    answer = await _answer(request, asset, streams, link=signature)
    if signature is not None:
        answer.headers.update(_OPEN_TO_PAGES)
    return answer


@stream_router.options("/stream/{asset_id}", include_in_schema=False)
async def stream_preflight(asset_id: UUID) -> Response:
    """Let pages of any origin read by signed links (https://fetch.spec.whatwg.org/#http-cors-protocol)."""
    allowed = {
        "Allow": "GET, HEAD, OPTIONS",
        "Access-Control-Allow-Methods": "GET, HEAD",
        "Access-Control-Allow-Headers": "Range, If-Range, If-Match, If-None-Match, If-Modified-Since",
        "Access-Control-Max-Age": "7200",
    }
    return Response(status_code=204, headers=_OPEN_TO_PAGES | allowed)


async def _answer(request: Request, asset: Asset, streams: Streams, *, link: str | None) -> Response:
    answer = answer_for(asset, request.method, request.headers)
    if answer.sent is None:
        return Response(status_code=answer.status, headers=answer.headers)
    return StreamAnswer(await streams.open(asset, answer.sent, link=link), answer.status, answer.headers)
