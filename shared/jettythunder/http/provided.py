"""Handlers get what they need from the service's registry."""

from collections.abc import Callable
from typing import TypeVar

import svcs
from fastapi import Request

Kind = TypeVar("Kind")


def provided(kind: type[Kind]) -> Callable[[Request], Kind]:
    """A FastAPI dependency that gives what the service has registered as ``kind``.

    >>> AnyUploads = Annotated[Uploads, Depends(provided(Uploads))]
    """

    def find(request: Request) -> Kind:
        # A value needs no clean-up, so the container can be left to itself.
        return svcs.Container(request_registry(request)).get(kind)

    return find


def request_registry(request: Request) -> svcs.Registry:
    """The registry of the application that serves a request."""
    found: svcs.Registry = request.state.svcs_registry
    return found
