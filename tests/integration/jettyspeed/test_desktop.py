"""The desktop CDN with the real gateway and edges: its page's uploads, and downloads that read through it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest_asyncio
from tests.integration.jettyspeed.conftest import Account, Site, hash_of
from tests.support.waiting import eventually

MEGABYTE = 1_000_000


@dataclass
class Desktop:
    """The desktop CDN of an account, started by its command, and its page's calls."""

    account: Account
    http: aiohttp.ClientSession
    url: str
    pid: int = 0
    token: str = ""

    async def start(self) -> None:
        self.pid = (await self.account.done("cdn", "start"))["pid"]

    async def sign_in(self) -> None:
        opened = await self.account.done("cdn", "open")
        self.token = (await self.call("POST", "session", {"code": opened["url"].partition("#code=")[2]}))[
            "token"
        ]

    async def call(self, method: str, path: str, body: Any = None, **query: Any) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.token}"}
        how = {"data": body} if isinstance(body, bytes) else {"json": body}
        url = f"{self.url}/desktop/api/{path}"
        async with self.http.request(method, url, headers=headers, params=query, **how) as response:
            answer: dict[str, Any] = await response.json()
            assert response.status < 300, answer
            return answer

    async def upload(self, upload_id: str) -> dict[str, Any]:
        """The upload as the page shows it."""
        uploads = (await self.call("GET", "state"))["uploads"]
        found: dict[str, Any] = next(upload for upload in uploads if upload["id"] == upload_id)
        assert found["state"] != "failed", found
        return found


@pytest_asyncio.fixture(loop_scope="session")
async def desktop(site: Site, account: Account) -> AsyncIterator[Desktop]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    account.environment |= {
        "JETTYSPEED_CDN_URL": f"http://localhost:{port}",
        "JETTYTHUNDER_CDN_DIR": str(account.folder / "cache"),
        "JETTYTHUNDER_CDN_MIN_FREE_MB": "0",
        "JETTYTHUNDER_CDN_MAX_MB": "1000",
    }
    async with aiohttp.ClientSession() as http:
        running = Desktop(account, http, f"http://127.0.0.1:{port}")
        await running.start()
        yield running
        await account.done("cdn", "stop")


async def test_what_the_page_uploads_goes_over_edges_survives_a_kill_and_is_read_from_here(
    site: Site, account: Account, desktop: Desktop
) -> None:
    await desktop.sign_in()
    file = account.file(40 * MEGABYTE)
    content = file.read_bytes()
    about = {"path": "films/film.mp4", "size_bytes": len(content), "modified_ms": 1}
    upload_id = (await desktop.call("POST", "uploads", about))["id"]
    half = len(content) // 2
    received = await desktop.call("PUT", f"uploads/{upload_id}/content", content[:half], offset=0)
    assert (received["state"], received["received_bytes"]) == ("receiving", half)
    await desktop.call("PUT", f"uploads/{upload_id}/content", content[half:], offset=half)

    async def lanes() -> bool:
        edges = (await desktop.upload(upload_id))["edges"]
        return len([edge for edge in edges if edge["acknowledged_bytes"]]) >= 2

    await eventually(lanes, timeout_seconds=60)
    await desktop.call("POST", f"uploads/{upload_id}/pause")
    assert (await desktop.upload(upload_id))["state"] == "paused"
    before = len(set(site.chunk_numbers))
    await desktop.call("POST", f"uploads/{upload_id}/resume")
    await account.reached(0.3)
    os.kill(desktop.pid, signal.SIGKILL)

    async def gone() -> bool:
        return (await account.run("cdn", "status")).code == 3

    await eventually(gone)
    site.set_rate(None)
    await desktop.start()

    async def done() -> dict[str, Any] | None:
        found = await desktop.upload(upload_id)
        return found if found["state"] == "done" else None

    uploaded = await eventually(done, timeout_seconds=60)
    assert uploaded["route"] == "jettyspeed"
    assert before > 0
    state = await desktop.call("GET", "state")
    assert state["quota"]["jetty_speed_enabled"]
    # It is in the cache now, and no longer among the uploads.
    await eventually(lambda: not list(account.folder.glob("state/cdn/uploads/*/content")))

    bandwidth = (await account.get("/api/agentcache/quota"))["bandwidth"]["used_bytes"]
    for name in ("one.mp4", "two.mp4"):
        target = account.folder / name
        await account.done("download", uploaded["asset_id"], "--output", str(target))
        assert hash_of(target) == hash_of(file)
    status = await account.done("cdn", "status")
    assert status["stats"]["saved_bytes"] >= 2 * len(content)
    assert (await account.get("/api/agentcache/quota"))["bandwidth"]["used_bytes"] == bandwidth
    assert await account.stored_hash(uploaded["asset_id"]) == hash_of(file)
    assert (await account.done("cdn", "pin", uploaded["asset_id"]))["size_bytes"] == len(content)
    await account.done("cdn", "clear", "--yes")
    assert (await account.done("cdn", "status"))["contents"][0]["pinned"]
    await account.done("cdn", "unpin", uploaded["asset_id"])
    assert (await account.done("cdn", "clear", "--yes"))["freed_bytes"] >= len(content)
