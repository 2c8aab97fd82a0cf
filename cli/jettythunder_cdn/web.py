"""What every request passes: the guard, and errors as problem details (RFC 9457)."""

import json
import logging
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from jettythunder_cdn.errors import NotFound, OriginRefused, RangeNotSatisfiable, TokenMissing
from jettythunder_cdn.guard import Guard, Tokens
from jettythunder_client.errors import ClientError

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

GUARD = web.AppKey("guard", Guard)
TOKENS = web.AppKey("tokens", Tokens)
FOREIGN_ORIGIN = web.RequestKey("foreign_origin", str)

# Read by pages of other origins: by signed links, and to find out whether a desktop CDN runs.
_OPEN_PATHS = ("/api/storage/stream/", "/v1/stream/", "/healthz")

_EXPOSED = "Accept-Ranges, Age, Content-Length, Content-Range, ETag, Last-Modified, Server-Timing, X-Cache"


@web.middleware
async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Check Host, then Origin, then go on; errors become problem details."""
    guard = request.app[GUARD]
    try:
        hosts = request.headers.getall(hdrs.HOST, [])
        guard.check_host(hosts[0] if len(hosts) == 1 else None)
        foreign = guard.check_origin(
            request.headers.get(hdrs.ORIGIN), own_only=not request.path.startswith(_OPEN_PATHS)
        )
        if foreign is None and request.headers.get("Sec-Fetch-Site") == "cross-site":
            # Without an Origin a page can only show it: by a signed link, or come here as to any page.
            _check_navigation(request)
        if request.method == hdrs.METH_OPTIONS:
            return _preflight(foreign)
        request[FOREIGN_ORIGIN] = foreign or ""
        return await handler(request)
    except ClientError as error:
        return problem(error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return problem(NotFound(f"{error.reason}.") if error.status == 404 else _as_client_error(error))
    except (ConnectionError, TimeoutError):
        # The reader is gone.
        raise
    except Exception:
        log.exception("a request failed")
        return problem(ClientError("The desktop CDN failed. Its log says why."))


def _check_navigation(request: web.Request) -> None:
    opens_page = request.path == "/" and request.headers.get("Sec-Fetch-Mode") == "navigate"
    if not (opens_page or request.path.startswith(_OPEN_PATHS)):
        raise OriginRefused


def _preflight(foreign: str | None) -> web.Response:
    headers = {"Allow": "GET, HEAD, OPTIONS"}
    if foreign is not None:
        headers |= open_to(foreign) | {
            "Access-Control-Allow-Methods": "GET, HEAD",
            "Access-Control-Allow-Headers": "Range, If-Range, If-Match, If-None-Match",
            "Access-Control-Max-Age": "7200",
        }
    return web.Response(status=204, headers=headers)


def open_to(origin: str) -> dict[str, str]:
    """Headers that let pages of an origin read an answer."""
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": _EXPOSED,
        "Vary": "Origin",
    }


def require_token(request: web.Request) -> None:
    """Let only this machine's programs and its signed-in page go on.

    Raises:
        TokenMissing: the request has the token of neither.
    """
    authorization = request.headers.get(hdrs.AUTHORIZATION)
    tokens = request.app[TOKENS]
    if not (tokens.is_machine(authorization) or tokens.is_session(authorization)):
        raise TokenMissing


def problem(error: ClientError) -> web.Response:
    """An error as an answer."""
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(round(error.retry_after_seconds))
    if isinstance(error, RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{error.size_bytes}"
    content = {
        "type": "about:blank",
        "title": error.code.replace("_", " ").capitalize(),
        "status": error.status,
        "code": error.code,
        "detail": error.detail,
        "retryable": error.retryable,
        **error.extra,
    }
    return web.Response(
        status=error.status,
        headers=headers,
        text=json.dumps(content),
        content_type="application/problem+json",
    )


def _as_client_error(error: web.HTTPException) -> ClientError:
    found = ClientError(f"{error.reason}.")
    found.status, found.code = error.status, error.reason.lower().replace(" ", "_")
    return found
