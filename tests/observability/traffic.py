"""Traffic of each kind, so that every metric has something to say."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

import httpx
import psycopg

_CHUNKED_BYTES = 12_000_000
_SESSION_BYTES = 6_000_000


@dataclass
class Receiver:
    """Takes webhooks, unless it refuses them."""

    url: str = ""
    taken: list[str] = field(default_factory=list)
    refuses: bool = False


@contextmanager
def running_receiver() -> Iterator[Receiver]:
    """A receiver of webhooks on a port of its own."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if not receiver.refuses:
                receiver.taken.append(self.headers["webhook-id"])
            self.send_response(503 if receiver.refuses else 204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}/webhooks"
    try:
        yield receiver
    finally:
        server.shutdown()


class Tenant:
    """An account that uploads and downloads.

    Args:
        variables: of the stack, as its env file has them.
    """

    def __init__(self, gateway_url: str, variables: dict[str, str]) -> None:
        self._variables = variables
        self._http = httpx.Client(base_url=gateway_url, timeout=60, trust_env=False)
        answer = self._http.post(
            "/api/agentcache/provision",
            headers={"Authorization": f"Bearer {variables['AGENTCACHE_WEBHOOK_SECRET']}"},
            json={
                "agentcache_user_id": f"watched-{uuid4()}",
                "agentcache_email": "watched@example.com",
                "tier": "enterprise",
            },
        )
        self._account = answer.raise_for_status().json()["account"]
        self._http.headers = httpx.Headers(
            {
                "Authorization": f"Bearer {self._account['api_key']}",
                "X-API-Secret": self._account["api_secret"],
            }
        )

    @property
    def account_id(self) -> str:
        """The account's id."""
        account_id: str = self._account["id"]
        return account_id

    def do_everything(self) -> None:
        """One upload of each kind, the same bytes twice, a download, a stream, lists, and a wrong secret."""
        small = os.urandom(10_000)
        for content in (small, small, os.urandom(_CHUNKED_BYTES)):
            asset = self.upload(content).raise_for_status().json()["asset"]
        self._upload_over_an_edge()
        link = self._http.get("/api/storage/download", params={"asset_id": asset["id"], "metered": True})
        httpx.get(link.raise_for_status().json()["url"], trust_env=False).raise_for_status()
        for path in ("/api/storage/assets", "/api/edges", "/api/agentcache/quota"):
            self._http.get(path).raise_for_status()
        self._http.delete(f"/api/storage/assets/{asset['id']}").raise_for_status()
        assert self._http.get("/api/edges", headers={"X-API-Secret": "wrong"}).status_code == 401

    def reach_quota(self) -> None:
        """Fill a quota to the brim, which is announced, and be refused then."""
        with psycopg.connect(self._variables["DATABASE_URL"], autocommit=True) as connection:
            connection.execute(
                "UPDATE account_usage"
                " SET storage_quota_bytes = storage_used_bytes + storage_reserved_bytes + 1000"
                " WHERE account_id = %s",
                [self._account["id"]],
            )
        self.upload(os.urandom(1000)).raise_for_status()
        assert self.upload(os.urandom(2000)).json()["code"] == "storage_quota_exceeded"

    def upload(self, content: bytes) -> httpx.Response:
        """A form upload; its answer, whatever that is."""
        return self._http.post("/api/storage/upload", files={"file": ("test.bin", content)})

    def _upload_over_an_edge(self) -> None:
        content = os.urandom(_SESSION_BYTES)
        asked = {"filename": "fast.bin", "size_bytes": len(content), "chunk_size_bytes": 5 * 1024 * 1024}
        opened = self._http.post("/api/storage/uploads", json=asked).raise_for_status().json()
        path = f"/api/storage/uploads/{opened['upload']['id']}"
        numbers = list(range(1, opened["upload"]["chunk_count"] + 1))
        tickets = self._http.post(f"{path}/tokens", json={"numbers": numbers}).raise_for_status().json()
        sent, checksums = 0, b""
        for ticket in tickets["tokens"]:
            chunk = content[sent : sent + ticket["size_bytes"]]
            sent += len(chunk)
            checksum = hashlib.md5(chunk, usedforsecurity=False).digest()
            checksums += checksum
            httpx.put(
                f"{opened['edges'][0]['url']}/edge/uploads/{opened['upload']['id']}/chunks/{ticket['number']}",
                content=chunk,
                headers={
                    "Authorization": f"Bearer {ticket['token']}",
                    "Content-MD5": base64.b64encode(checksum).decode(),
                },
                timeout=60,
                trust_env=False,
            ).raise_for_status()
        hashes = {
            "content_hash": hashlib.sha256(content).hexdigest(),
            "parts_md5": hashlib.md5(checksums, usedforsecurity=False).hexdigest(),
        }
        self._http.post(f"{path}/complete", json=hashes).raise_for_status()
