"""The page and its calls. All of them need a session, but for the page itself and signing in."""

import hmac
import secrets
import time
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from aiohttp import hdrs, web

from jettythunder_cdn.account import Account
from jettythunder_cdn.desktop.overview import Overview
from jettythunder_cdn.desktop.uploads import Uploads, plain_name
from jettythunder_cdn.errors import BadRequest, NotFound, OtherAccount, TokenMissing
from jettythunder_cdn.routes import ACCOUNT
from jettythunder_cdn.web import TOKENS, require_token
from jettythunder_client.client import AsyncClient
from jettythunder_client.config import Config, base_url

UPLOADS = web.AppKey("uploads", Uploads)
OVERVIEW = web.AppKey("overview", Overview)
CODES = web.AppKey("codes", dict[str, float])

routes = web.RouteTableDef()

_CODE_SECONDS = 60.0
_CHECK_SECONDS = 3.0
_FILES = {
    "": ("index.html", "text/html"),
    "desktop/app.js": ("app.js", "text/javascript"),
    "desktop/style.css": ("style.css", "text/css"),
    "desktop/icon.svg": ("icon.svg", "image/svg+xml"),
}
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


@routes.get("/{name:|desktop/[a-z.]+}")
async def page(request: web.Request) -> web.Response:
    """The page, and what belongs to it."""
    try:
        name, content_type = _FILES[request.match_info["name"]]
    except KeyError:
        raise NotFound from None
    content = files("jettythunder_cdn.desktop").joinpath("static", name).read_bytes()
    return web.Response(body=content, content_type=content_type, charset="utf-8", headers=_PAGE_HEADERS)


@routes.post("/desktop/api/codes")
async def make_code(request: web.Request) -> web.Response:
    """A code that signs the page in once, for this machine's programs."""
    if not request.app[TOKENS].is_machine(request.headers.get(hdrs.AUTHORIZATION)):
        raise TokenMissing
    code = secrets.token_urlsafe(24)
    codes, now = request.app[CODES], time.monotonic()
    for old in [old for old, ends_at in codes.items() if ends_at < now]:
        del codes[old]
    codes[code] = now + _CODE_SECONDS
    return web.json_response({"code": code})


@routes.post("/desktop/api/session")
async def sign_in(request: web.Request) -> web.Response:
    """Sign the page in: by a code of this machine, or by the account's key and secret."""
    body = await _body(request)
    if (code := body.get("code")) is not None:
        if request.app[CODES].pop(str(code), 0.0) < time.monotonic():
            raise TokenMissing("The code has been used, or is too old: run `jettythunder cdn open` again.")
    else:
        await _check_credentials(request.app[ACCOUNT], body)
    return web.json_response({"token": request.app[TOKENS].begin_session()})


@routes.delete("/desktop/api/session")
async def sign_out(request: web.Request) -> web.Response:
    """Sign out: the page in every browser, and the account on this machine."""
    require_token(request)
    await request.app[UPLOADS].pause_all()
    request.app[TOKENS].end_sessions()
    request.app[ACCOUNT].forget()
    request.app[OVERVIEW].forget()
    return web.json_response({"success": True})


@routes.get("/desktop/api/state")
async def state(request: web.Request) -> web.Response:
    """Everything that the page shows."""
    account = request.app[ACCOUNT]
    if not request.app[TOKENS].is_session(request.headers.get(hdrs.AUTHORIZATION)):
        has_account = account.signed_in is not None
        return web.json_response({"signed_in": False, "has_account": has_account, "api_url": account.api_url})
    uploads = request.app[UPLOADS]
    overview = await request.app[OVERVIEW].now(uploads_done=uploads.done_count)
    return web.json_response({"signed_in": True, **overview, "uploads": uploads.listed()})


@routes.post("/desktop/api/uploads")
async def create_upload(request: web.Request) -> web.Response:
    """Begin to receive a file."""
    require_token(request)
    body = await _body(request)
    path = str(body.get("path") or body.get("name") or "")
    folder = path.replace("\\", "/").rpartition("/")[0]
    try:
        size_bytes, modified_ms = int(body["size_bytes"]), int(body.get("modified_ms", 0))
    except (KeyError, TypeError, ValueError):
        raise BadRequest("A file has a name and a size.") from None
    upload = request.app[UPLOADS].create(
        name=plain_name(path), folder=folder, size_bytes=size_bytes, modified_ms=modified_ms
    )
    return web.json_response(upload, status=201)


@routes.put("/desktop/api/uploads/{id}/content")
async def receive(request: web.Request) -> web.Response:
    """Take a file's bytes, from an offset on."""
    require_token(request)
    offset = request.query.get("offset", "")
    if not (offset.isascii() and offset.isdigit()):
        raise BadRequest("Say from which offset on the bytes are.")
    pieces = request.content.iter_any()
    return web.json_response(
        await request.app[UPLOADS].receive(request.match_info["id"], int(offset), pieces)
    )


@routes.post("/desktop/api/uploads/{id}/pause")
async def pause(request: web.Request) -> web.Response:
    """Stop sending a file."""
    require_token(request)
    await request.app[UPLOADS].pause(request.match_info["id"])
    return web.json_response({"success": True})


@routes.post("/desktop/api/uploads/{id}/resume")
async def resume(request: web.Request) -> web.Response:
    """Go on sending a file."""
    require_token(request)
    request.app[UPLOADS].resume(request.match_info["id"])
    return web.json_response({"success": True})


@routes.delete("/desktop/api/uploads/{id}")
async def remove(request: web.Request) -> web.Response:
    """Give an upload up, or remove it from the list."""
    require_token(request)
    await request.app[UPLOADS].remove(request.match_info["id"])
    return web.json_response({"success": True})


async def _body(request: web.Request) -> Mapping[str, Any]:
    # Of another type than a form's, pages of other origins would have to ask first.
    if request.content_type != "application/json":
        raise BadRequest("Send JSON.")
    try:
        body = await request.json()
    except ValueError:
        raise BadRequest("Send JSON.") from None
    if not isinstance(body, dict):
        raise BadRequest("Send a JSON object.")
    return body


async def _check_credentials(account: Account, body: Mapping[str, Any]) -> None:
    """Check credentials with the gateway, and keep them.

    Raises:
        OtherAccount: this machine is signed in already, as another account.
        ClientError: what the gateway says.
    """
    key, secret = str(body.get("api_key", "")).strip(), str(body.get("api_secret", "")).strip()
    if not key or not secret:
        raise BadRequest("Give the account's key and secret.")
    known = account.signed_in
    if known is not None and not hmac.compare_digest(known.api_key.encode(), key.encode()):
        raise OtherAccount
    if known is not None and hmac.compare_digest(known.api_secret.encode(), secret.encode()):
        return
    # Who is signed in can't be led to another gateway by somebody who only reaches this port.
    url = known.api_url if known is not None else base_url(str(body.get("api_url") or account.api_url))
    config = Config(url, key, secret, retry_seconds=_CHECK_SECONDS)
    async with AsyncClient(config) as client:
        await client.api.fetch_quota()
    account.keep(api_url=url, api_key=key, api_secret=secret)
