"""Load on the balancer's address by a client that repeats what it is told to repeat, and records all else."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import httpx
from tests.support.waiting import eventually

from jettythunder.broker import topology
from jettythunder.broker.publisher import Publisher
from jettythunder.contracts.agentcache import UserSignedUpV1
from jettythunder.errors import BrokerUnavailable

CHUNK_BYTES = 6_000_000
SLOW_CLIENTS = 2
NO_SERVER = "the balancer's 503"
Body: TypeAlias = bytes | AsyncIterator[bytes]

_FORM = {"Content-Type": "multipart/form-data; boundary=drain"}
_PIECE_BYTES = 250_000
_ATTEMPTS = 20
_UPLOADS_SECONDS = 120.0
_PAUSE_SECONDS = 0.1


@dataclass
class Load:
    """Uploads, reads and sign-ups until it is stopped.

    Calls refused with one of the codes ``repeatable`` are repeated after Retry-After, as the answer says.
    ``failures`` are calls that failed in any other way, and those that were refused again and again. An event
    that was not confirmed is published again, under its id.
    """

    http: httpx.AsyncClient
    publisher: Publisher
    base_url: str
    webhook_secret: str
    repeatable: frozenset[str] = frozenset({"shutting_down"})
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    announced_users: set[str] = field(default_factory=set)
    sha256_by_asset: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, *, users_at_once: int) -> None:
        """Run until :meth:`stop`."""
        self.headers = await self._sign_up()
        async with asyncio.TaskGroup() as group:
            for number in range(users_at_once):
                group.create_task(self._use(random.Random(number)))
            for _ in range(SLOW_CLIENTS):
                group.create_task(self._upload_slowly())
            group.create_task(self._announce())

    @property
    def uploads(self) -> int:
        """How many uploads were acknowledged."""
        return len(self.sha256_by_asset)

    async def more_uploads(self, count: int) -> None:
        """Wait until so many more are acknowledged."""
        enough = self.uploads + count
        await eventually(lambda: self.uploads >= enough, timeout_seconds=_UPLOADS_SECONDS)

    def stop(self) -> None:
        """Let calls under way end, and begin no others."""
        self._stopping.set()

    async def verify(self) -> int:
        """Read every acknowledged asset; how many there are."""
        for asset_id in self.sha256_by_asset:
            await self._read(asset_id)
        return self.uploads

    async def _use(self, chance: random.Random) -> None:
        while not self._stopping.is_set():
            if chance.random() < 0.6 or not self.sha256_by_asset:
                # Two thirds have several chunks, which workers fetch from the gateway.
                await self._upload(chance.randrange(1, 3 * CHUNK_BYTES))
            else:
                await self._read(chance.choice(list(self.sha256_by_asset)))

    async def _sign_up(self) -> dict[str, str]:
        body = {"agentcache_user_id": uuid4().hex, "agentcache_email": "a@example.com", "tier": "enterprise"}
        token = {"Authorization": f"Bearer {self.webhook_secret}"}
        answer = await self._call("POST", "/api/agentcache/provision", headers=token, json=body)
        assert answer is not None, self.failures
        account = answer.json()["account"]
        return {"Authorization": f"Bearer {account['api_key']}", "X-API-Secret": account["api_secret"]}

    async def _upload(self, size_bytes: int) -> None:
        content = os.urandom(size_bytes)
        await self._post(content, lambda: _form(content))
        self.counts["uploads"] += 1

    async def _upload_slowly(self) -> None:
        """Uploads that take some seconds, so that whatever gateway is stopped has one of them."""
        while not self._stopping.is_set():
            content = os.urandom(3 * CHUNK_BYTES)
            await self._post(content, lambda: _in_pieces(_form(content)))  # noqa: B023
            self.counts["slow uploads"] += 1

    async def _post(self, content: bytes, body: Callable[[], Body]) -> None:
        """Upload ``content``, which ``body`` gives anew for each attempt."""
        answer = await self._call("POST", "/api/storage/upload", headers=self.headers | _FORM, body=body)
        if answer is not None:
            self.sha256_by_asset[answer.json()["asset"]["id"]] = hashlib.sha256(content).hexdigest()

    async def _read(self, asset_id: str) -> None:
        answer = await self._call("GET", f"/api/storage/stream/{asset_id}", headers=self.headers)
        if answer is not None:
            self.counts["reads"] += 1
            if hashlib.sha256(answer.content).hexdigest() != self.sha256_by_asset[asset_id]:
                self.damaged.append(asset_id)

    async def _announce(self) -> None:
        while not self._stopping.is_set():
            user, event_id = f"drain-{uuid4().hex}", uuid4()
            data = UserSignedUpV1(user_id=user, email="a@example.com", tier="pro")
            event = {"specversion": "1.0", "id": str(event_id), "source": "/agentcache"}
            body = {**event, "type": data.TYPE, "data": data.model_dump()}
            await self._publish(httpx.Request("POST", "http://x", json=body).content, data.TYPE, event_id)
            self.announced_users.add(user)
            self.counts["sign-ups by event"] += 1
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _publish(self, body: bytes, event_type: str, event_id: UUID) -> None:
        while True:
            try:
                await self.publisher.publish(
                    body,
                    exchange=topology.AGENTCACHE_EVENTS,
                    routing_key=event_type,
                    event_type=event_type,
                    message_id=str(event_id),
                )
            except BrokerUnavailable:
                self.counts["events not confirmed, and published again"] += 1
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                return

    async def _call(
        self, method: str, path: str, *, body: Callable[[], Body] | None = None, **how: Any
    ) -> httpx.Response | None:
        """The answer of success; None where there was none, which is a failure."""
        call = f"{method} {path}"
        for _ in range(_ATTEMPTS):
            try:
                content = body() if body is not None else None
                answer = await self.http.request(method, self.base_url + path, content=content, **how)
            except httpx.HTTPError as error:
                self.failures.append(f"{call}: {type(error).__name__}")
                return None
            if answer.is_success:
                return answer
            code = _refusal(answer)
            if code not in self.repeatable:
                self.failures.append(f"{call}: {answer.status_code} {answer.text[:200]}")
                return None
            self.counts[f"refused with {code}, and repeated"] += 1
            await asyncio.sleep(float(answer.headers.get("retry-after", 1)))
        self.failures.append(f"{call}: refused {_ATTEMPTS} times")
        return None


def _form(content: bytes) -> bytes:
    head = b'--drain\r\nContent-Disposition: form-data; name="file"; filename="drain.bin"\r\n\r\n'
    return head + content + b"\r\n--drain--\r\n"


async def _in_pieces(body: bytes) -> AsyncIterator[bytes]:
    """A body as a client behind a slow line sends it."""
    for start in range(0, len(body), _PIECE_BYTES):
        yield body[start : start + _PIECE_BYTES]
        await asyncio.sleep(_PAUSE_SECONDS)


def _refusal(answer: httpx.Response) -> str:
    """The code of a refusal; NO_SERVER where it is the balancer's own."""
    if answer.status_code != 503:
        return ""
    if "problem+json" not in answer.headers.get("content-type", ""):
        return NO_SERVER
    return str(answer.json()["code"])
