"""What `bench_servers` has an ASGI server run: bodies are hashed as they arrive, and blocks are sent."""

from __future__ import annotations

import hashlib
from typing import Any

BLOCK = bytes(256 * 1024)


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """POST takes any body; GET answers with as many bytes as its path says."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    if scope["method"] == "POST":
        sha256, more = hashlib.sha256(), True
        while more:
            message = await receive()
            sha256.update(message.get("body", b""))
            more = message.get("more_body", False)
        await _answer(send, sha256.hexdigest().encode())
        return
    left = int(scope["path"].lstrip("/") or 0)
    await _begin(send, left)
    while left > len(BLOCK):
        await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
        left -= len(BLOCK)
    await send({"type": "http.response.body", "body": BLOCK[:left]})


async def _live(receive: Any, send: Any) -> None:
    while True:
        kind = (await receive())["type"].removeprefix("lifespan.")
        await send({"type": f"lifespan.{kind}.complete"})
        if kind == "shutdown":
            return


async def _answer(send: Any, body: bytes) -> None:
    await _begin(send, len(body))
    await send({"type": "http.response.body", "body": body})


async def _begin(send: Any, size_bytes: int) -> None:
    headers = [(b"content-length", str(size_bytes).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
