"""Handlers get what they need from the service's registry."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import svcs
from fastapi import Request

from jettythunder.http.documents import OF_SERVERS, raises

Kind = TypeVar("Kind")


def provided(kind: type[Kind]) -> Callable[[Request], Awaitable[Kind]]:
    """A FastAPI dependency that gives what the service has registered as ``kind``.

    >>> AnyUploads = Annotated[Uploads, Depends(provided(Uploads))]
    """

    # A plain function would be sent to a thread for every call.
    @raises(*OF_SERVERS)
    async def provide(request: Request) -> Kind:
        return find(request, kind)

    return provide


def find(request: Request, kind: type[Kind]) -> Kind:
    """What the service that serves a request has registered as ``kind``."""
    # A value needs no clean-up, so the container can be left to itself.
    return svcs.Container(registry_of(request)).get(kind)


def registry_of(request: Request) -> svcs.Registry:
    """The registry of the application that serves a request."""
    found: svcs.Registry = request.state.svcs_registry
    return found
