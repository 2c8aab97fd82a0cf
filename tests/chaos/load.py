"""Load over the public API, which records what was acknowledged."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
from pamqp import commands
from tests.support.raw_amqp import BAD_PROPERTIES, publish_raw

from jettythunder.broker import topology
from jettythunder.broker.connection import CONNECTION_ERRORS
from jettythunder.broker.publisher import Publisher
from jettythunder.contracts.agentcache import UserSignedUpV1
from jettythunder.errors import BrokerUnavailable

CHUNK_BYTES = 6_000_000
_AWAY: tuple[type[Exception], ...] = (httpx.HTTPError, BrokerUnavailable)
_PAUSE_SECONDS = 0.2

# What is counted.
ONE_CHUNK, MORE_CHUNKS = "uploads of one chunk", "uploads of more chunks"

# Leases and retries short enough that what a kill cuts off is cleaned up while the test looks on.
ENVIRONMENT = {
    "JETTYSPEED_CHUNK_SIZE_MB": str(CHUNK_BYTES // 1_000_000),
    "UPLOAD_LEASE_SECONDS": "10",
    "LATE_WRITE_SECONDS": "10",
    "CLEANUP_RETRY_SECONDS": "2",
    "HOUSEKEEPING_INTERVAL_SECONDS": "2",
    "RETRY_DELAYS_SECONDS": "[1, 2, 5, 10, 30]",
    "RATE_LIMIT_MAX_REQUESTS": "1000000",
    "USAGE_SWEEP_SECONDS": "2",
}


@dataclass
class Account:
    """A signed-up user with the assets that must be there."""

    user: str
    account_id: str
    headers: dict[str, str]
    sha256_by_asset: dict[str, str] = field(default_factory=dict)
    # A delete without an answer: the asset may be there or not.
    doubtful: set[str] = field(default_factory=set)


@dataclass
class Load:
    """Signs up, uploads, downloads and deletes until it is stopped, whatever fails.

    A call that fails is no finding: servers are being killed. What was acknowledged is what counts.
    """

    http: httpx.AsyncClient
    publisher: Publisher
    rabbitmq_url: str
    # The gateways, called in turn.
    base_urls: list[str]
    webhook_secret: str
    accounts: list[Account] = field(default_factory=list)
    announced_users: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    damaged: list[str] = field(default_factory=list)
    in_flight: Counter[str] = field(default_factory=Counter)
    # Poisonous messages whose publishing was confirmed, and all that may have arrived.
    poisoned: int = 0
    perhaps_poisoned: int = 0
    _calls: int = 0
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, *, users_at_once: int) -> None:
        """Run until :meth:`stop`."""
        async with asyncio.TaskGroup() as group:
            for number in range(users_at_once):
                group.create_task(self._use(random.Random(number)))
            group.create_task(self._announce())
            group.create_task(self._poison())

    @property
    def uploads(self) -> int:
        """How many uploads were acknowledged."""
        return self.counts[ONE_CHUNK] + self.counts[MORE_CHUNKS]

    @property
    def failures(self) -> int:
        """How many calls and publishes failed."""
        return sum(count for name, count in self.counts.items() if name.startswith("failed"))

    def stop(self) -> None:
        """Let calls under way end, and begin no others."""
        self._stopping.set()

    async def _use(self, chance: random.Random) -> None:
        account: Account | None = None
        while not self._stopping.is_set():
            try:
                if account is None or chance.random() < 0.1:
                    account = await self._sign_up()
                else:
                    await self._act(account, chance)
            except _AWAY as error:
                self.counts[f"failed: {type(error).__name__}"] += 1
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _act(self, account: Account, chance: random.Random) -> None:
        dice = chance.random()
        if dice < 0.5 or not account.sha256_by_asset:
            await self._upload(account, chance.randrange(1, 200_000))
        elif dice < 0.6:
            await self._upload(account, CHUNK_BYTES + chance.randrange(1, CHUNK_BYTES))
        elif dice < 0.85:
            await self._download(account, chance.choice(list(account.sha256_by_asset)))
        else:
            await self._delete(account, chance.choice(list(account.sha256_by_asset)))

    async def _sign_up(self) -> Account:
        user = f"chaos-{uuid4().hex}"
        body = {"agentcache_user_id": user, "agentcache_email": "a@example.com", "tier": "enterprise"}
        while True:
            # Repeated until it is answered, as AgentCache does: the answer is the same account each time.
            answer = await self._call(
                "POST",
                "/api/agentcache/provision",
                headers={"Authorization": f"Bearer {self.webhook_secret}"},
                json=body,
            )
            if answer is not None and answer.is_success:
                break
            await asyncio.sleep(_PAUSE_SECONDS)
        given = answer.json()["account"]
        headers = {"Authorization": f"Bearer {given['api_key']}", "X-API-Secret": given["api_secret"]}
        account = Account(user, given["id"], headers)
        self.accounts.append(account)
        self.counts["signups"] += 1
        return account

    async def _announce(self) -> None:
        """Sign-ups by event; a confirmed publish is an acknowledgement."""
        while not self._stopping.is_set():
            user, event_id = f"chaos-event-{uuid4().hex}", uuid4()
            data = UserSignedUpV1(user_id=user, email="a@example.com", tier="pro")
            body = {"specversion": "1.0", "id": str(event_id), "source": "/agentcache"}
            event = {**body, "type": data.TYPE, "data": data.model_dump()}
            try:
                await self.publisher.publish(
                    httpx.Request("POST", "http://x", json=event).content,
                    exchange=topology.AGENTCACHE_EVENTS,
                    routing_key=data.TYPE,
                    event_type=data.TYPE,
                    message_id=str(event_id),
                )
                self.announced_users.add(user)
                self.counts["signups by event"] += 1
            except BrokerUnavailable:
                self.counts["failed: publish"] += 1
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _poison(self) -> None:
        """Messages that can't be decoded, or mean nothing, among the sign-ups."""
        bodies = [b"no JSON", b"{}", b"\xff", b"[" * 10_000]
        kinds = [(properties, b"{}") for _, properties in BAD_PROPERTIES]
        kinds += [
            (commands.Basic.Properties(message_id=f"poison {n}"), body) for n, body in enumerate(bodies)
        ]
        for properties, body in itertools.cycle(kinds):
            if self._stopping.is_set():
                return
            self.perhaps_poisoned += 1
            try:
                await publish_raw(
                    self.rabbitmq_url,
                    properties,
                    exchange=topology.AGENTCACHE_EVENTS,
                    routing_key=UserSignedUpV1.TYPE,
                    body=body,
                )
                self.poisoned += 1
            except CONNECTION_ERRORS:
                self.counts["failed: poison"] += 1
            await asyncio.sleep(5 * _PAUSE_SECONDS)

    async def _upload(self, account: Account, size_bytes: int) -> None:
        content = os.urandom(size_bytes)
        answer = await self._call(
            "POST",
            "/api/storage/upload",
            headers=account.headers,
            files={"file": ("chaos.bin", content, "application/octet-stream")},
        )
        if answer is not None and answer.is_success:
            asset_id = answer.json()["asset"]["id"]
            account.sha256_by_asset[asset_id] = hashlib.sha256(content).hexdigest()
            self.counts[ONE_CHUNK if size_bytes <= CHUNK_BYTES else MORE_CHUNKS] += 1

    async def _download(self, account: Account, asset_id: str) -> None:
        expected = account.sha256_by_asset[asset_id]
        answer = await self._call(
            "GET", "/api/storage/download", headers=account.headers, params={"asset_id": asset_id}
        )
        if answer is None or not answer.is_success:
            return
        content = await self.http.get(answer.json()["url"])
        if content.is_success and asset_id not in account.doubtful:
            self.counts["downloads"] += 1
            if hashlib.sha256(content.content).hexdigest() != expected:
                self.damaged.append(asset_id)

    async def _delete(self, account: Account, asset_id: str) -> None:
        account.doubtful.add(asset_id)
        answer = await self._call("DELETE", f"/api/storage/assets/{asset_id}", headers=account.headers)
        if answer is not None and (answer.is_success or answer.status_code == 404):
            account.sha256_by_asset.pop(asset_id, None)
            account.doubtful.discard(asset_id)
            self.counts["deletes"] += 1

    async def verify(self, *, at_once: int) -> tuple[int, list[str]]:
        """Read every acknowledged asset through the gateway: how many were, and which are not byte-equal."""
        wrong: list[str] = []
        checked = 0
        room = asyncio.Semaphore(at_once)

        async def check(account: Account, asset_id: str, expected: str) -> None:
            nonlocal checked
            async with room:
                answer = await self.http.get(
                    f"{self._next_url()}/api/storage/stream/{asset_id}", headers=account.headers
                )
            if answer.status_code == 404 and asset_id in account.doubtful:
                return
            checked += 1
            if not answer.is_success or hashlib.sha256(answer.content).hexdigest() != expected:
                wrong.append(f"{asset_id}: {answer.status_code}")

        async with asyncio.TaskGroup() as group:
            for account in self.accounts:
                for asset_id, expected in account.sha256_by_asset.items():
                    group.create_task(check(account, asset_id, expected))
        return checked, wrong

    def _next_url(self) -> str:
        self._calls += 1
        return self.base_urls[self._calls % len(self.base_urls)]

    async def _call(
        self, method: str, path: str, *, headers: Mapping[str, str], **how: Any
    ) -> httpx.Response | None:
        """An answer of any status, or None where there was none."""
        call = f"{method} {path}"
        self.in_flight[call] += 1
        try:
            answer = await self.http.request(method, self._next_url() + path, headers=headers, **how)
        except httpx.HTTPError as error:
            self.counts[f"failed: {type(error).__name__}"] += 1
            await asyncio.sleep(_PAUSE_SECONDS)
            return None
        finally:
            self.in_flight -= Counter([call])
        if answer.status_code >= 500:
            self.counts[f"failed: {answer.status_code} {_code_of(answer)}"] += 1
            await asyncio.sleep(_PAUSE_SECONDS)
        return answer


def _code_of(answer: httpx.Response) -> str:
    """The stable code of a problem document."""
    try:
        return str(answer.json()["code"])
    except (ValueError, KeyError, TypeError):
        return "without a code"
