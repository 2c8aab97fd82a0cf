"""Assets as tenants see them."""

from typing import Any

from storage_gateway.assets.links import Links
from storage_gateway.assets.model import Asset


def asset_answer(asset: Asset, links: Links, *, cache_key: str | None = None) -> dict[str, Any]:
    """An asset as JSON, under the cache key it was asked for by: it may have several."""
    speed = asset.upload_speed_mbps
    return {
        "id": str(asset.id),
        "s3_key": asset.s3_key,
        "s3_bucket": asset.s3_bucket,
        "url": links.plain(asset.id),
        "filename": asset.filename,
        "size_bytes": asset.size_bytes,
        "content_type": asset.content_type,
        "content_hash": asset.content_hash,
        "content_hash_verified": asset.content_hash_verified,
        "cache_key": cache_key or asset.cache_key,
        "pipeline_id": str(asset.agentcache_pipeline_id) if asset.agentcache_pipeline_id else None,
        "hit_count": asset.hit_count,
        "last_accessed": asset.last_accessed.isoformat() if asset.last_accessed else None,
        "expires_at": asset.expires_at.isoformat() if asset.expires_at else None,
        "uploaded_via": asset.uploaded_via,
        "upload_speed_mbps": float(speed) if speed is not None else None,
        "created_at": asset.created_at.isoformat(),
    }
