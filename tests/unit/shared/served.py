"""An application that needs no servers, for tests that start it as a process."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator

import svcs
from fastapi import FastAPI, Response
from starlette.types import Receive, Scope, Send
from tests.unit.shared.content import content_of

from jettythunder import http
from jettythunder.drain import UnderWay
from jettythunder.http.sending import file_sender
from jettythunder.settings import ServiceSettings

_under_way = UnderWay()
_release = asyncio.Event()
_works: list[str] = []


@svcs.fastapi.lifespan
async def _lifespan(app: FastAPI, registry: svcs.Registry) -> AsyncGenerator[None, None]:
    app.state.drain.add(_under_way.drain)
    yield


app = http.create_app("Served", description="", settings=ServiceSettings, lifespan=_lifespan)


@app.get("/public")
async def public() -> None:
    """Something for clients."""


class FileAnswer(Response):
    """The bytes of a file from ``begin`` on, sent by the kernel in two steps."""

    def __init__(self, begin: int, size_bytes: int) -> None:
        super().__init__(headers={"Content-Length": str(size_bytes - begin)})
        self._begin = begin
        self._size_bytes = size_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        send_file = file_sender(scope)
        assert send_file is not None
        with tempfile.TemporaryFile() as file:
            file.write(content_of(self._size_bytes))
            file.flush()
            middle = (self._begin + self._size_bytes) // 2
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send_file(file.fileno(), self._begin, middle - self._begin)
            await send_file(file.fileno(), middle, self._size_bytes - middle)
            await send({"type": "http.response.body", "body": b""})


@app.get("/file")
async def file(begin: int, size_bytes: int) -> FileAnswer:
    """A file for clients."""
    return FileAnswer(begin, size_bytes)


@app.get("/work")
async def work() -> str:
    """Work that is finished when it is released."""
    with _under_way.begun():
        _works.append("begun")
        await _release.wait()
    return "done"


@app.get("/release")
async def release() -> None:
    """Let the work be finished."""
    _release.set()


@app.get("/works")
async def works() -> int:
    """How many pieces of work have begun."""
    return len(_works)
