"""Paths that are not for the public: a listener of their own serves them, and nothing else."""

from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from jettythunder.errors import NotFound
from jettythunder.http.problems import problem

_HEALTH = ("/healthz", "/readyz")


class InternalPaths:
    """Middleware that answers internal paths on the internal port only, and all others on other ports only.

    Health and readiness are answered on both.

    Args:
        port: where the internal listener listens.
        paths: what is internal, with everything below it.
    """

    def __init__(self, app: ASGIApp, *, port: int, paths: Sequence[str]) -> None:
        self._app = app
        self._port = port
        self._paths = frozenset(paths)
        self._folders = tuple(f"{path}/" for path in paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_served(scope):
            await problem(NotFound())(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_served(self, scope: Scope) -> bool:
        path = scope["path"]
        if path in _HEALTH:
            return True
        is_internal = path in self._paths or path.startswith(self._folders)
        server = scope.get("server")
        return is_internal is (server is not None and server[1] == self._port)
