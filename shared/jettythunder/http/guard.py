"""Routes that check who calls before anything of a request's body is read or parsed."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

Check = Callable[[Request], Awaitable[None]]


def guarded(check: Check) -> type[APIRoute]:
    """A route class for :class:`fastapi.APIRouter` whose requests pass ``check`` first.

    FastAPI reads and parses a body before it runs dependencies, so a dependency would come too late. The
    errors that ``check`` is marked with (:func:`jettythunder.http.documents.raises`) are those of its routes.
    """
    checked_by = check

    class Guarded(APIRoute):
        check = staticmethod(checked_by)

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def checked(request: Request) -> Response:
                await check(request)
                return await handle(request)

            return checked

    return Guarded
