"""Routes: what is checked before a handler is asked."""

import json
import re
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from jettythunder.errors import BadRequest

Check = Callable[[Request], Awaitable[None]]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class Route(APIRoute):
    """A route that refuses JSON whose text is no Unicode; the route class of every router.

    JSON can name half of a surrogate pair (RFC 8259, section 8.2), which nothing behind a handler takes.
    """

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def with_unicode(request: Request) -> Response:
            return await handle(_UnicodeRequest(request.scope, request.receive))

        return with_unicode


class _UnicodeRequest(Request):
    async def json(self) -> Any:
        try:
            text = (await self.body()).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise BadRequest("The body is not UTF-8, as JSON has to be.") from None
        parsed = json.loads(text)
        # Both halves stand for a character; so only where there are any, all text is looked at.
        if _SURROGATE.search(text) and not _is_unicode(parsed):
            raise BadRequest("The body holds text that is no Unicode: half of a surrogate pair.")
        return parsed


def _is_unicode(value: object) -> bool:
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, list):
        return all(map(_is_unicode, value))
    return not isinstance(value, dict) or all(map(_is_unicode, [*value.keys(), *value.values()]))


def guarded(check: Check) -> type[Route]:
    """A route class for :class:`fastapi.APIRouter` whose requests pass ``check`` first.

    FastAPI reads and parses a body before it runs dependencies, so a dependency would come too late. The
    errors that ``check`` is marked with (:func:`jettythunder.http.documents.raises`) are those of its routes.
    """
    checked_by = check

    class Guarded(Route):
        check = staticmethod(checked_by)

        def get_route_handler(self) -> Handler:
            handle = super().get_route_handler()

            async def checked(request: Request) -> Response:
                await check(request)
                return await handle(request)

            return checked

    return Guarded
