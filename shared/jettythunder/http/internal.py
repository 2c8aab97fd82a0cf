"""Paths that are not for the public: a listener of their own serves them, and nothing else."""

from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from jettythunder.errors import NotFound
from jettythunder.http.problems import problem

_HEALTH = ("/healthz", "/readyz")


class Internal:
    """What is internal: a port, and paths with everything below them.

    Args:
        port: where the internal listener listens; None where there is none.
    """

    def __init__(self, port: int | None, paths: Sequence[str]) -> None:
        self._port = port
        self._paths = frozenset(paths)
        self._folders = tuple(f"{path}/" for path in paths)

    def has(self, path: str) -> bool:
        """Whether a path is internal."""
        return path in self._paths or path.startswith(self._folders)

    def received(self, scope: Scope) -> bool:
        """Whether a request came to the internal port; where there is none, whether its path is internal."""
        if self._port is None:
            return self.has(scope["path"])
        server = scope.get("server")
        return server is not None and server[1] == self._port


class InternalPaths:
    """Middleware that answers internal paths on the internal port only, and all others on other ports only.

    Health and readiness are answered on both.
    """

    def __init__(self, app: ASGIApp, *, internal: Internal) -> None:
        self._app = app
        self._internal = internal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_served(scope):
            await problem(NotFound())(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_served(self, scope: Scope) -> bool:
        path = scope["path"]
        return path in _HEALTH or self._internal.has(path) is self._internal.received(scope)
