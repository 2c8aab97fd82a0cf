"""Fill a running stack with everything that an upgrade must keep, and write down what was put there.

It needs nothing but the public contract and `tests.support`, and runs with the Python, the `tests.support`
and the environment of the version that is filled, from a checkout of that version:

    . .jettythunder/env
    PYTHONPATH=. .venv/bin/python /path/to/tests/upgrade/fill.py manifest.json
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import random
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import aio_pika
import asyncpg
import httpx
from pydantic import BaseModel
from tests.support.gateway import Tenant
from tests.support.waiting import eventually

SETTLE_SECONDS = 60
CHUNK_BYTES = 5 << 20  # the smallest part that S3 joins with others
RETRY_DELAY_MS = 120_000  # one of the delays that services have by default
RETRY_SECONDS = 90  # as long as the message waits: the delay, less its jitter


class Content(BaseModel):
    """Bytes that can be made again from a number."""

    seed: int
    size_bytes: int

    @property
    def bytes(self) -> bytes:
        return random.Random(self.seed).randbytes(self.size_bytes)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.bytes).hexdigest()


class StoredAsset(BaseModel):
    """An asset, and what its bytes are."""

    account: str
    id: str
    content: Content
    cache_keys: list[str] = []


class OpenSession(BaseModel):
    """An upload session, and the chunks of it that are stored."""

    account: str
    id: str
    content: Content
    stored: list[int]


class Manifest(BaseModel):
    """What a filled stack holds. Accounts are as `provision` answered, by a name of their own."""

    accounts: dict[str, dict[str, Any]]
    quotas: dict[str, dict[str, Any]]
    statuses: dict[str, str]
    previous_credentials: dict[str, dict[str, str]]
    form_assets: dict[str, StoredAsset]
    session_assets: dict[str, StoredAsset]
    expiring_asset: StoredAsset
    deleted_asset: StoredAsset
    open_session: OpenSession
    aborted_session_id: str
    stream_link: str
    dead_sign_up: dict[str, str]
    dead_tier_change: dict[str, str]
    waiting_user: str


def content(size_bytes: int) -> Content:
    """Bytes nobody else has."""
    return Content(seed=random.getrandbits(48), size_bytes=size_bytes)


async def open_session(tenant: Tenant, file: Content) -> dict[str, Any]:
    """Begin an upload session."""
    wanted = {"filename": "film.mp4", "size_bytes": file.size_bytes, "chunk_size_bytes": CHUNK_BYTES}
    answer = await tenant.call("POST", "/api/storage/uploads", json=wanted)
    assert answer.status_code == 201, answer.text
    upload: dict[str, Any] = answer.json()["upload"]
    return upload


async def send_chunk(tenant: Tenant, upload_id: str, file: Content, number: int) -> None:
    """Send one chunk of a session to an edge."""
    path = f"/api/storage/uploads/{upload_id}"
    edges = (await tenant.get(path)).json()["edges"]
    token = (await tenant.call("POST", f"{path}/tokens", json={"numbers": [number]})).json()["tokens"][0]
    chunk = file.bytes[(number - 1) * CHUNK_BYTES : number * CHUNK_BYTES]
    md5 = hashlib.md5(chunk, usedforsecurity=False).digest()
    async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
        answer = await http.put(
            f"{edges[0]['url']}/edge/uploads/{upload_id}/chunks/{number}",
            content=chunk,
            headers={
                "Authorization": f"Bearer {token['token']}",
                "Content-MD5": base64.b64encode(md5).decode(),
            },
        )
    assert answer.status_code == 200, answer.text


async def complete_session(tenant: Tenant, upload_id: str, file: Content, **more: str) -> dict[str, Any]:
    """Make an asset of a session whose chunks are all stored."""
    body = {"content_hash": file.sha256, **more}
    answer = await tenant.call("POST", f"/api/storage/uploads/{upload_id}/complete", json=body)
    assert answer.status_code in (200, 201), answer.text
    asset: dict[str, Any] = answer.json()["asset"]
    return asset


async def read(tenant: Tenant, asset_id: str, **headers: str) -> bytes:
    """The bytes of an asset, through the gateway."""
    answer = await tenant.get(f"/api/storage/stream/{asset_id}", headers=headers)
    assert answer.status_code in (200, 206), answer.text
    return answer.content


class Filler:
    """Puts things into the services that an environment names."""

    def __init__(
        self,
        environment: Mapping[str, str],
        http: httpx.AsyncClient,
        pool: asyncpg.Pool[asyncpg.Record],
        channel: aio_pika.abc.AbstractChannel,
    ) -> None:
        self._base_url = environment["JETTYTHUNDER_API_URL"].removesuffix("/api/agentcache")
        self._webhook_secret = environment["AGENTCACHE_WEBHOOK_SECRET"]
        self._http = http
        self._pool = pool
        self._channel = channel
        self._accounts: dict[str, dict[str, Any]] = {}
        self._tenants: dict[str, Tenant] = {}

    async def fill(self) -> Manifest:
        """Everything; what has to wait in the broker comes last."""
        for tier in ("free", "starter", "pro", "business", "enterprise"):
            await self._provision(tier, tier)
        for name in ("over_quota", "suspended", "suspended_over_quota", "rotated"):
            await self._provision(name, "pro")
        previous = {"rotated": await self._rotate("rotated")}

        form_assets = {
            "small": await self._store("starter", 1000, cache_key="answer:1"),
            "multipart": await self._store("pro", 25_000_000),
            "again": await self._store("enterprise", 70_000, cache_key="first"),
            "suspended": await self._store("suspended", 2000),
            "rotated": await self._store("rotated", 3000, cache_key="kept"),
        }
        again = form_assets["again"]
        duplicate = await self._tenants["enterprise"].store(again.content.bytes, cache_key="second")
        assert (duplicate["deduplicated"], duplicate["id"]) == (True, again.id)
        again.cache_keys.append("second")
        session_assets = {
            "claimed": await self._store_by_session("business", cache_key="film"),
            "lonely": await self._store_by_session("business"),
        }
        expiring = await self._store("pro", 4000, ttl_seconds="3600")
        deleted = await self._store("pro", 5000)
        answer = await self._tenants["pro"].call("DELETE", f"/api/storage/assets/{deleted.id}")
        assert answer.is_success, answer.text

        stream_link = await self._read("pro", form_assets["multipart"])
        opened = await self._begin_session("business", stored=[1, 3])
        aborted = await self._begin_session("business", stored=[2])
        answer = await self._tenants["business"].call("DELETE", f"/api/storage/uploads/{aborted.id}")
        assert answer.is_success, answer.text

        for name in ("over_quota", "suspended_over_quota"):
            await self._exceed(name)
        await self._is_settled(opened.id)
        # This version has no command that suspends: operators wrote the column.
        await self._pool.execute(
            "UPDATE agentcache_accounts SET status = 'suspended' WHERE id = ANY ($1::uuid[])",
            [self._accounts[name]["id"] for name in ("suspended", "suspended_over_quota")],
        )
        return Manifest(
            accounts=self._accounts,
            quotas=await self._quotas(),
            statuses=await self._statuses(),
            previous_credentials=previous,
            form_assets=form_assets,
            session_assets=session_assets,
            expiring_asset=expiring,
            deleted_asset=deleted,
            open_session=opened,
            aborted_session_id=aborted.id,
            stream_link=stream_link,
            dead_sign_up=await self._bury_sign_up(),
            dead_tier_change=await self._bury_tier_change(),
            waiting_user=await self._let_sign_up_wait(),
        )

    async def _provision(self, name: str, tier: str) -> None:
        answer = await self._agentcache(
            "provision",
            {
                "agentcache_user_id": f"upgrade-{name}-{uuid4().hex}",
                "agentcache_email": f"{name}@example.com",
                "tier": tier,
            },
        )
        self._accounts[name] = answer["account"]
        self._tenants[name] = Tenant(self._http, self._base_url, answer["account"])

    async def _agentcache(self, call: str, body: Mapping[str, str]) -> dict[str, Any]:
        answer = await self._http.post(
            f"{self._base_url}/api/agentcache/{call}",
            headers={"Authorization": f"Bearer {self._webhook_secret}"},
            json=body,
        )
        assert answer.is_success, answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def _store(self, account: str, size_bytes: int, **fields: str) -> StoredAsset:
        file = content(size_bytes)
        asset = await self._tenants[account].store(file.bytes, **fields)
        keys = [fields["cache_key"]] if "cache_key" in fields else []
        return StoredAsset(account=account, id=asset["id"], content=file, cache_keys=keys)

    async def _begin_session(self, account: str, *, stored: list[int]) -> OpenSession:
        file = content(2 * CHUNK_BYTES + 1000)
        upload = await open_session(self._tenants[account], file)
        for number in stored:
            await send_chunk(self._tenants[account], upload["id"], file, number)
        return OpenSession(account=account, id=upload["id"], content=file, stored=stored)

    async def _store_by_session(self, account: str, **more: str) -> StoredAsset:
        session = await self._begin_session(account, stored=[3, 1, 2])
        tenant = self._tenants[account]
        asset = await complete_session(tenant, session.id, session.content)
        for cache_key in more.values():
            named = await tenant.call(
                "PATCH", f"/api/storage/assets/{asset['id']}", json={"cache_key": cache_key}
            )
            assert named.is_success, named.text
        return StoredAsset(
            account=account, id=asset["id"], content=session.content, cache_keys=list(more.values())
        )

    async def _read(self, account: str, asset: StoredAsset) -> str:
        """Read an asset in every way; its signed stream link."""
        tenant = self._tenants[account]
        assert await read(tenant, asset.id) == asset.content.bytes
        assert len(await read(tenant, asset.id, Range="bytes=100-299")) == 200
        answer = await tenant.get("/api/storage/download", params={"asset_id": asset.id})
        assert answer.status_code == 200, answer.text
        link: str = answer.json()["stream_url"]
        return link

    async def _exceed(self, name: str) -> None:
        """Store something and move the account to a tier that has no room for it."""
        await self._store(name, 6000)
        user = self._accounts[name]["agentcache_user_id"]
        await self._agentcache("upgrade", {"agentcache_user_id": user, "new_tier": "free"})

        async def exceeded() -> bool:
            return (await self._statuses())[name] == "over_quota"

        await eventually(exceeded, timeout_seconds=SETTLE_SECONDS)

    async def _is_settled(self, open_upload_id: str) -> None:
        """Wait until everything but the open session is booked, published and rolled up."""

        async def settled() -> bool:
            unsettled: bool = await self._pool.fetchval(
                "SELECT EXISTS (SELECT FROM outbox) OR EXISTS (SELECT FROM usage_rollup_queue)"
                " OR EXISTS (SELECT FROM object_deletions)"
                " OR EXISTS (SELECT FROM usage_reservations WHERE id <> $1)",
                open_upload_id,
            )
            return not unsettled

        await eventually(settled, timeout_seconds=SETTLE_SECONDS)

    async def _quotas(self) -> dict[str, dict[str, Any]]:
        rows = await self._pool.fetch(
            "SELECT account_id, storage_used_bytes, storage_reserved_bytes, storage_quota_bytes,"
            " bandwidth_used_bytes, bandwidth_reserved_bytes, bandwidth_quota_bytes, request_count"
            " FROM account_usage"
        )
        by_id = {str(row["account_id"]): dict(row) for row in rows}
        return {
            name: {key: value for key, value in by_id[account["id"]].items() if key != "account_id"}
            for name, account in self._accounts.items()
        }

    async def _statuses(self) -> dict[str, str]:
        rows = await self._pool.fetch("SELECT id, status FROM agentcache_accounts")
        by_id = {str(row["id"]): row["status"] for row in rows}
        return {name: by_id[account["id"]] for name, account in self._accounts.items()}

    async def _publish(
        self,
        exchange: str,
        event_type: str,
        data: Mapping[str, Any],
        *,
        routing_key: str | None = None,
        **properties: Any,
    ) -> str:
        """Publish an event, and have it confirmed; its id."""
        event_id = str(uuid4())
        event = {
            "specversion": "1.0",
            "id": event_id,
            "source": "/agentcache",
            "type": event_type,
            "time": "2026-01-31T12:00:00Z",
            "datacontenttype": "application/json",
            "data": data,
        }
        message = aio_pika.Message(
            json.dumps(event).encode(),
            message_id=event_id,
            type=event_type,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            **properties,
        )
        await (await self._channel.get_exchange(exchange)).publish(message, routing_key or event_type)
        return event_id

    async def _rotate(self, name: str) -> dict[str, str]:
        """Give an account its next credentials; the ones before, which are valid for another day."""
        before = self._accounts[name]
        replies = await self._channel.declare_queue(f"agentcache.replies.{uuid4().hex}", exclusive=True)
        await self._publish(
            "jettythunder.commands",
            "jettythunder.account.rotate_credentials.v1",
            {"agentcache_user_id": before["agentcache_user_id"], "grace_seconds": 86_400},
            reply_to=replies.name,
            correlation_id=uuid4().hex,
        )

        async def reply() -> aio_pika.abc.AbstractIncomingMessage | None:
            return await replies.get(fail=False, no_ack=True)

        after = json.loads((await eventually(reply, timeout_seconds=SETTLE_SECONDS)).body)
        assert after["outcome"] == "account", after
        current = {"api_key": after["api_key"], "api_secret": after["api_secret"]}
        self._accounts[name] = {**before, **current}
        self._tenants[name] = Tenant(self._http, self._base_url, self._accounts[name])
        return {"api_key": before["api_key"], "api_secret": before["api_secret"]}

    async def _bury_sign_up(self) -> dict[str, str]:
        """A sign-up with a tier that there is not: a dead letter."""
        user = f"upgrade-dead-{uuid4().hex}"
        told = {"user_id": user, "email": "dead@example.com", "tier": "gold"}
        message_id = await self._publish("agentcache.events", "agentcache.user.signed_up.v1", told)
        await self._is_dead("provisioning.agentcache-events")
        return {"user": user, "message_id": message_id}

    async def _bury_tier_change(self) -> dict[str, str]:
        """A tier change of a user who has no account yet: a dead letter that can be retried later."""
        user = f"upgrade-late-{uuid4().hex}"
        message_id = await self._publish(
            "jettythunder.commands",
            "jettythunder.account.change_tier.v1",
            {"agentcache_user_id": user, "tier": "business"},
        )
        await self._is_dead("provisioning.commands")
        return {"user": user, "message_id": message_id}

    async def _is_dead(self, consumer: str) -> None:
        async def buried() -> bool:
            queue = await self._channel.declare_queue(f"{consumer}.dead-letters", passive=True)
            return bool(queue.declaration_result.message_count)

        await eventually(buried, timeout_seconds=SETTLE_SECONDS)

    async def _let_sign_up_wait(self) -> str:
        """A sign-up that failed a few times and waits for its next attempt, as the consumer leaves it."""
        user = f"upgrade-waiting-{uuid4().hex}"
        await self._publish(
            f"retry.{RETRY_DELAY_MS}",
            "agentcache.user.signed_up.v1",
            {"user_id": user, "email": "waiting@example.com", "tier": "pro"},
            routing_key="provisioning.agentcache-events",
            expiration=RETRY_SECONDS,
            headers={
                "x-jt-attempts": 4,
                "x-jt-first-failed-at": "2026-01-31T12:00:00+00:00",
                "x-jt-last-failed-at": "2026-01-31T12:00:40+00:00",
                "x-jt-error-type": "jettythunder.errors.StorageUnavailable",
                "x-jt-error-code": "storage_unavailable",
                "x-jt-error-message": "The object storage can't be reached.",
                "x-jt-fingerprint": "0123456789ab",
            },
        )
        return user


async def fill(environment: Mapping[str, str]) -> Manifest:
    """Fill the services that the environment names."""
    async with AsyncExitStack() as opened:
        http = await opened.enter_async_context(httpx.AsyncClient(timeout=120, trust_env=False))
        pool = await opened.enter_async_context(
            asyncpg.create_pool(environment["DATABASE_URL"], min_size=1, max_size=2)
        )
        broker = await opened.enter_async_context(await aio_pika.connect(environment["RABBITMQ_URL"]))
        return await Filler(environment, http, pool, await broker.channel()).fill()


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(asyncio.run(fill(os.environ)).model_dump_json(indent=2))
