"""How an asset is answered with: status and headers by the request's conditions and range (RFC 9110)."""

from collections.abc import Mapping
from dataclasses import dataclass

from storage_gateway.assets import names
from storage_gateway.assets.conditions import Conditions
from storage_gateway.assets.model import Asset
from storage_gateway.assets.ranges import ByteRange, parse_range

# A browser must not run a tenant's file as part of this origin, whatever its content type.
_INERT_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


@dataclass(frozen=True)
class Answer:
    """An answer's head, and the bytes of the asset that follow it; ``sent`` is None where none do."""

    status: int
    headers: dict[str, str]
    sent: ByteRange | None


def answer_for(asset: Asset, method: str, asked: Mapping[str, str]) -> Answer:
    """The answer to a GET or HEAD with these headers, whose names are in lower case or found in any.

    Raises:
        PreconditionFailed, RangeNotSatisfiable: as their names say.
    """
    headers = _headers(asset)
    conditions = Conditions(asked, etags=asset.etags, modified_at=asset.created_at)
    if conditions.are_met_already():
        return Answer(304, headers, None)
    wanted = None
    if method == "GET" and conditions.let_range_apply():
        wanted = parse_range(asked.get("range"), asset.size_bytes)
    sent = wanted or ByteRange.whole(asset.size_bytes)
    if wanted is not None:
        headers["Content-Range"] = wanted.content_range
    headers["Content-Length"] = str(sent.length_bytes)
    has_body = method == "GET" and asset.size_bytes > 0
    return Answer(206 if wanted is not None else 200, headers, sent if has_body else None)


def _headers(asset: Asset) -> dict[str, str]:
    return {
        "ETag": f'"{asset.etag}"',
        "Accept-Ranges": "bytes",
        "Content-Type": asset.content_type,
        "Content-Disposition": names.content_disposition("inline", asset.filename),
        "Last-Modified": asset.created_at.strftime("%a, %d %b %Y %H:%M:%S GMT"),
        "Cache-Control": "private, max-age=0, must-revalidate",
        "Referrer-Policy": "no-referrer",
        **_INERT_HEADERS,
    }
