"""Uploads as tenants see them."""

from typing import Any

from fastapi.responses import JSONResponse

from storage_gateway.assets.answers import asset_answer
from storage_gateway.assets.links import Links
from storage_gateway.uploads.model import Result, Upload
from storage_gateway.uploads.sessions import Session


def result_answer(result: Result, links: Links) -> JSONResponse:
    """The result of an upload: 201 for a new asset, 200 for one that the account had already."""
    answer = {
        "success": True,
        "upload_id": str(result.upload_id),
        "deduplicated": result.deduplicated,
        "asset": asset_answer(result.asset, links, cache_key=result.cache_key)
        | {"deduplicated": result.deduplicated},
    }
    return JSONResponse(answer, 200 if result.deduplicated else 201)


def upload_answer(upload: Upload) -> dict[str, Any]:
    """An upload session as JSON."""
    return {
        "id": str(upload.id),
        "status": upload.status,
        "filename": upload.filename,
        "content_type": upload.content_type,
        "size_bytes": upload.size_bytes,
        "chunk_size_bytes": upload.chunk_size_bytes,
        "chunk_count": upload.plan.count,
        "content_hash": upload.content_hash,
        "cache_key": upload.cache_key,
        "asset_id": str(upload.asset_id) if upload.asset_id else None,
        "failure_code": upload.failure_code,
        "expires_at": upload.expires_at.isoformat(),
        "created_at": upload.created_at.isoformat(),
    }


def session_answer(session: Session) -> dict[str, Any]:
    """An upload session with what was received of it."""
    return upload_answer(session.upload) | {
        "received_bytes": sum(chunk.size_bytes for chunk in session.chunks),
        "received": [
            {"number": chunk.number, "size_bytes": chunk.size_bytes, "md5": chunk.checksum}
            for chunk in session.chunks
        ],
        "missing": session.missing,
    }
