"""Calls of Workers: edges that have no database and no key of the object storage (docs/edges.md)."""

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from jettythunder import security_log
from jettythunder.checksums import Algorithm, Checksum
from jettythunder.chunks.model import RecordedChunk
from jettythunder.errors import (
    EdgeBusy,
    LinkExpired,
    LinkInvalid,
    LinkRevoked,
    TooManyAttempts,
    UploadNotFound,
    UploadNotOpen,
)
from jettythunder.http import provided, raises
from jettythunder.inputs import JSON_NUMBER
from storage_gateway.access.credentials import Access, EdgeRoute
from storage_gateway.assets.find import Finder
from storage_gateway.assets.links import Links
from storage_gateway.edges.chunks import EdgeChunks
from storage_gateway.edges.reads import EdgeReads
from storage_gateway.errors import (
    AccountSuspended,
    AssetNotFound,
    BandwidthQuotaExceeded,
    PreconditionFailed,
    RangeNotSatisfiable,
)

router = APIRouter(prefix="/api/edges", tags=["workers"], route_class=EdgeRoute)

AnyChunks = Annotated[EdgeChunks, Depends(provided(EdgeChunks))]
AnyReads = Annotated[EdgeReads, Depends(provided(EdgeReads))]

# The largest object of S3.
_MOST_BYTES = 5 * 2**40

_Md5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", description="Of the chunk, hexadecimal")]
_Token = Annotated[str, Field(max_length=4096, description="The chunk's token, as the client sent it")]


class GivenChunk(BaseModel):
    token: _Token


class AskedChunk(GivenChunk):
    md5: _Md5


class AcknowledgedChunk(AskedChunk):
    etag: str = Field(max_length=200, description="As the object storage answered it")
    edge: str = Field(min_length=1, max_length=100)


class AskedRead(BaseModel):
    """A link's parts, and the request that came with it."""

    asset_id: UUID
    epoch: Annotated[int, Field(ge=0, le=2**31 - 1), JSON_NUMBER]
    expires_at: Annotated[int, Field(ge=0, le=2**53 - 1), JSON_NUMBER]
    signature: str = Field(max_length=200)
    method: Literal["GET", "HEAD"]
    headers: dict[str, Annotated[str, Field(max_length=2000)]] = Field(
        default={}, max_length=10, description="Range and conditions, by their names in lower case"
    )


class EndedRead(BaseModel):
    account_id: UUID
    asset_id: UUID
    sent_bytes: Annotated[int, Field(ge=0, le=_MOST_BYTES), JSON_NUMBER]


@router.post("/chunks")
@raises(LinkExpired, LinkInvalid, LinkRevoked, UploadNotFound, UploadNotOpen, EdgeBusy, TooManyAttempts)
async def begin_chunk(body: AskedChunk, chunks: AnyChunks) -> dict[str, Any]:
    """Where the object storage takes a chunk, or what it is stored as already."""
    found = await chunks.begin(body.token, _checksum(body.md5))
    if isinstance(found, RecordedChunk):
        return {"stored": _recorded(found)}
    return {"part_url": found}


@router.post("/chunks/stored")
@raises(LinkExpired, LinkInvalid, UploadNotOpen)
async def chunk_stored(body: AcknowledgedChunk, chunks: AnyChunks) -> dict[str, Any]:
    """Record a chunk that the object storage acknowledged; safe to repeat."""
    checksum = _checksum(body.md5)
    return {"stored": _recorded(await chunks.stored(body.token, checksum, etag=body.etag, edge=body.edge))}


@router.post("/chunks/failed", status_code=204)
@raises(LinkExpired, LinkInvalid)
async def chunk_failed(body: GivenChunk, chunks: AnyChunks) -> None:
    """Make room for another chunk of the account, as this one was not stored; safe to repeat."""
    await chunks.failed(body.token)


@router.post("/reads")
@raises(
    AccountSuspended,
    LinkExpired,
    LinkInvalid,
    LinkRevoked,
    AssetNotFound,
    PreconditionFailed,
    RangeNotSatisfiable,
    BandwidthQuotaExceeded,
)
async def open_read(
    body: AskedRead,
    request: Request,
    reads: AnyReads,
    finder: Annotated[Finder, Depends(provided(Finder))],
    links: Annotated[Links, Depends(provided(Links))],
    access: Annotated[Access, Depends(provided(Access))],
) -> dict[str, Any]:
    """The head of the answer to a signed link's bearer, and where its bytes are."""
    security_log.identify("link")
    links.check(body.asset_id, epoch=body.epoch, expires_at=body.expires_at, signature=body.signature)
    account_id = await access.link_owner(request, body.asset_id, epoch=body.epoch)
    asset = await finder.find(account_id, asset_id=body.asset_id)
    opened = await reads.open(asset, body.method, body.headers)
    sent = opened.answer.sent
    return {
        "read_id": None if opened.id is None else str(opened.id),
        "account_id": str(account_id),
        "status": opened.answer.status,
        "headers": opened.answer.headers,
        "range": None if sent is None else {"start": sent.start, "end": sent.end},
        "size_bytes": asset.size_bytes,
        "etag": asset.etag,
        "source_url": opened.source_url,
    }


@router.post("/reads/{read_id}/sent", status_code=204)
async def read_sent(read_id: UUID, body: EndedRead, reads: AnyReads) -> None:
    """Count the bytes that a read has sent."""
    await reads.sent(read_id, account_id=body.account_id, asset_id=body.asset_id, sent_bytes=body.sent_bytes)


def _checksum(md5: str) -> Checksum:
    return Checksum(Algorithm.MD5, bytes.fromhex(md5))


def _recorded(chunk: RecordedChunk) -> dict[str, Any]:
    return {
        "number": chunk.number,
        "size_bytes": chunk.size_bytes,
        "md5": str(chunk.checksum),
        "etag": chunk.etag,
        "edge": chunk.edge,
    }
