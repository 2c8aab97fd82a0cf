"""Assets over HTTP: by id, by cache key, by signed link; health, figures, pins."""

import asyncio
import hashlib
import re
import sqlite3
import time
from contextlib import suppress
from io import FileIO

from aiohttp import hdrs, web

from jettythunder_cdn.account import Account
from jettythunder_cdn.errors import BadRequest, Changed, LinkEnded, NotFound
from jettythunder_cdn.model import Asset, Credential, Span
from jettythunder_cdn.ranges import is_known, names, parse_range
from jettythunder_cdn.reading.cache import Cache, Reading
from jettythunder_cdn.reading.grants import Freshness
from jettythunder_cdn.web import FOREIGN_ORIGIN, TOKENS, open_to, require_token
from jettythunder_client.cdn import account_digest, proof
from jettythunder_client.errors import ClientError

CACHE = web.AppKey("cache", Cache)
ACCOUNT = web.AppKey("account", Account)

routes = web.RouteTableDef()

_ASSET_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_WHOLE = re.compile(r"[0-9]{1,15}")
_SIGNATURE = re.compile(r"[A-Za-z0-9._-]{1,512}")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{16,128}")
_IN_MEMORY_BYTES = 64 * 1024
_LISTED = 200

# A browser must not run a tenant's file as part of this origin, whatever its content type.
_INERT = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}


@routes.get("/v1/assets/{asset_id}")
async def asset(request: web.Request) -> web.StreamResponse:
    """An asset's bytes, by its id."""
    require_token(request)
    return await _answer(request, _asset_id(request), request.app[ACCOUNT].credential)


@routes.get("/v1/cache/{cache_key:.+}")
async def named_asset(request: web.Request) -> web.StreamResponse:
    """The bytes of the asset that a cache key names."""
    require_token(request)
    credential = request.app[ACCOUNT].credential
    asset_id, old = await request.app[CACHE].find(request.match_info["cache_key"], credential)
    return await _answer(request, asset_id, credential, stale_name=old)


@routes.get("/v1/stream/{asset_id}")
@routes.get("/api/storage/stream/{asset_id}")
async def signed_asset(request: web.Request) -> web.StreamResponse:
    """An asset's bytes, by a link that the gateway signed; the same path as the gateway's."""
    return await _answer(request, _asset_id(request), _link(request))


@routes.get("/healthz")
async def health(request: web.Request) -> web.Response:
    """That it runs; for a challenge, a proof that it has this machine's token, and of which account."""
    answer = {"status": "ok", "service": "jettythunder-cdn"}
    challenge = request.query.get("challenge", "")
    config = request.app[ACCOUNT].signed_in
    if _CHALLENGE.fullmatch(challenge):
        account = account_digest(config) if config is not None else ""
        answer["proof"] = proof(request.app[TOKENS].machine, challenge=challenge, account=account)
    headers = {"Cache-Control": "no-store"}
    if origin := request[FOREIGN_ORIGIN]:
        headers |= open_to(origin)
    return web.json_response(answer, headers=headers)


@routes.get("/stats")
async def stats(request: web.Request) -> web.Response:
    """What is kept, and what that saved."""
    require_token(request)
    return web.json_response(figures(request.app[CACHE]))


@routes.get("/v1/contents")
async def contents(request: web.Request) -> web.Response:
    """What is kept, used last first."""
    require_token(request)
    return web.json_response({"contents": listed(request.app[CACHE])})


@routes.post("/v1/pins/{asset_id}")
async def pin(request: web.Request) -> web.Response:
    """Fetch an asset as a whole, and keep it from being evicted."""
    require_token(request)
    cache, credential = request.app[CACHE], request.app[ACCOUNT].credential
    asset_id = _asset_id(request)
    found, _ = await cache.asset(asset_id, credential)
    await cache.fetch_all(found, credential)
    if found.size_bytes and cache.store.index.content(found.content) is None:
        raise ClientError("The asset does not fit into the cache: raise JETTYTHUNDER_CDN_MAX_MB.")
    cache.store.index.pin(found.content, pinned=True)
    return web.json_response({"success": True, "asset_id": asset_id, "size_bytes": found.size_bytes})


@routes.delete("/v1/pins/{asset_id}")
async def unpin(request: web.Request) -> web.Response:
    """Let an asset be evicted again."""
    require_token(request)
    index, asset_id = request.app[CACHE].store.index, _asset_id(request)
    known = index.asset(asset_id)
    if known is None:
        raise NotFound("The asset is not kept here.")
    index.pin(known.content, pinned=False)
    return web.json_response({"success": True, "asset_id": asset_id})


@routes.post("/v1/clear")
async def clear(request: web.Request) -> web.Response:
    """Remove everything that is not pinned."""
    require_token(request)
    return web.json_response({"success": True, "freed_bytes": await request.app[CACHE].store.clear()})


def figures(cache: Cache) -> dict[str, object]:
    """The cache's figures, for programs."""
    with suppress(sqlite3.OperationalError):
        # On a full disk they are written down later.
        cache.store.flush()
    index, counted = cache.store.index, cache.figures
    saved, fetched = index.total()
    return {
        "kept": {
            "contents": index.content_count(),
            "allocated_bytes": cache.store.allocated_bytes,
            "budget_bytes": cache.store.budget.bytes,
            "min_free_bytes": cache.store.budget.min_free_bytes,
        },
        "saved_bytes": saved,
        "fetched_bytes": fetched,
        "days": [
            {"day": day, "saved_bytes": hit, "fetched_bytes": fetched} for day, hit, fetched in index.days(30)
        ],
        "since_start": {
            "answers": dict(counted.answers),
            "hit_bytes": counted.hit_bytes,
            "upstream_bytes": counted.upstream_bytes,
            "upstream_requests": counted.upstream_requests,
            "evicted_contents": counted.evicted_contents,
            "damaged_blocks": counted.damaged_blocks,
            "wrong_hashes": counted.wrong_hashes,
            "unstored_blocks": counted.unstored_blocks,
        },
    }


def listed(cache: Cache) -> list[dict[str, object]]:
    """What is kept, for programs."""
    return [
        {
            "asset_ids": kept.asset_ids,
            "disposition": kept.disposition,
            "content_type": kept.content_type,
            "size_bytes": kept.content.size_bytes,
            "allocated_bytes": kept.allocated_bytes,
            "verified": kept.content.verified,
            "pinned": kept.content.pinned,
            "used_at": kept.content.used_at,
        }
        for kept in cache.store.index.contents(_LISTED)
    ]


def _asset_id(request: web.Request) -> str:
    asset_id = request.match_info["asset_id"]
    if not _ASSET_ID.fullmatch(asset_id):
        raise NotFound("This is no asset's id.")
    return asset_id


def _link(request: web.Request) -> Credential:
    """The signed link that a request is."""
    given = [request.query.get(name, "") for name in ("epoch", "expires_at", "signature")]
    epoch, expires_at, signature = given
    if not (_WHOLE.fullmatch(epoch) and _WHOLE.fullmatch(expires_at) and _SIGNATURE.fullmatch(signature)):
        raise LinkEnded("The link has no signature, or is damaged. Ask the gateway for another one.")
    query = f"epoch={epoch}&expires_at={expires_at}&signature={signature}"
    digest = hashlib.sha256(query.encode()).hexdigest()
    return Credential(f"link:{digest}", query=query, expires_at=float(expires_at))


async def _answer(
    request: web.Request, asset_id: str, credential: Credential, *, stale_name: bool = False
) -> web.StreamResponse:
    """The answer to a GET or HEAD for an asset's bytes (RFC 9110: conditions, then ranges)."""
    cache = request.app[CACHE]
    for final in (False, True):
        began = time.perf_counter()
        found, freshness = await cache.asset(asset_id, credential)
        if stale_name:
            freshness = "stale"
        authorised = time.perf_counter()
        headers = _headers(request, found)
        conditions = {
            "if_match": request.headers.get(hdrs.IF_MATCH),
            "if_none_match": request.headers.get(hdrs.IF_NONE_MATCH),
        }
        if is_known(**conditions, etag=found.etag):
            return web.Response(status=304, headers=headers)
        wanted = _range(request, found)
        span = wanted or Span(0, found.size_bytes - 1)
        headers[hdrs.CONTENT_LENGTH] = str(span.length_bytes)
        if wanted is not None:
            headers[hdrs.CONTENT_RANGE] = f"bytes {span.start}-{span.end}/{found.size_bytes}"
        status = 206 if wanted is not None else 200
        if request.method == hdrs.METH_HEAD or found.size_bytes == 0:
            return web.Response(status=status, headers=headers)
        try:
            with cache.read(found, credential, span, freshness) as reading:
                await reading.prepare()
                cache.figures.answers[reading.outcome] += 1
                headers |= _cache_headers(cache, reading, freshness, authorised - began)
                return await _send(request, reading, status, headers)
        except Changed:
            if final:
                raise
    raise AssertionError("the last round returns or raises")


def _range(request: web.Request, found: Asset) -> Span | None:
    if request.method != hdrs.METH_GET:
        return None
    if (known := request.headers.get(hdrs.IF_RANGE)) is not None:
        date_is_known = known == found.modified and bool(known)
        if not (date_is_known or (known != "*" and names(known, found.etag, weak=False))):
            return None
    return parse_range(request.headers.get(hdrs.RANGE), found.size_bytes)


def _headers(request: web.Request, found: Asset) -> dict[str, str]:
    origin = request[FOREIGN_ORIGIN]
    by_link = hdrs.AUTHORIZATION not in request.headers
    return {
        hdrs.ETAG: f'"{found.etag}"',
        hdrs.ACCEPT_RANGES: "bytes",
        hdrs.CONTENT_TYPE: found.content_type,
        hdrs.CONTENT_DISPOSITION: found.disposition,
        **({hdrs.LAST_MODIFIED: found.modified} if found.modified else {}),
        hdrs.CACHE_CONTROL: "private, max-age=0, must-revalidate",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "cross-origin" if by_link else "same-origin",
        **_INERT,
        **(open_to(origin) if origin else {hdrs.VARY: "Origin"}),
    }


def _cache_headers(
    cache: Cache, reading: Reading, freshness: Freshness, authorise_seconds: float
) -> dict[str, str]:
    content = cache.store.index.content(reading.asset.content)
    outcome = reading.outcome
    headers = {
        "X-Cache": outcome,
        "Server-Timing": (
            f'cache;desc="{outcome}", right;desc="{freshness}";dur={authorise_seconds * 1000:.1f},'
            f" first;dur={reading.first_seconds * 1000:.1f}"
        ),
    }
    if content is not None and outcome in ("HIT", "PARTIAL", "STALE", "REVALIDATED"):
        headers[hdrs.AGE] = str(max(0, int(cache.clock() - content.stored_at)))
    return headers


async def _send(
    request: web.Request, reading: Reading, status: int, headers: dict[str, str]
) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers=headers)
    await response.prepare(request)
    try:
        await reading.send(_Connection(request, response))
    except ClientError:
        # An answer that is too short must not look like a whole one.
        _abort(request)
    except (ConnectionError, RuntimeError):
        # The reader hung up.
        _abort(request)
    else:
        await response.write_eof()
    return response


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


class _Connection:
    """Sends to one client; large pieces go from the file to the socket, through no memory of this process."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self._request = request
        self._response = response

    async def write(self, piece: bytes) -> None:
        """See `Sink.write`."""
        await self._response.write(piece)

    async def send_file(self, file: FileIO, offset: int, count: int) -> None:
        """See `Sink.send_file`."""
        if count <= _IN_MEMORY_BYTES:
            file.seek(offset)
            await self._response.write(file.read(count))
            return
        if (transport := self._request.transport) is None:
            raise ConnectionResetError
        loop = asyncio.get_running_loop()
        if await loop.sendfile(transport, file, offset, count) != count:
            raise BadRequest("A block ended too early.")
