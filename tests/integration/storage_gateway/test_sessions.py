"""Upload sessions over HTTP: planned, continued anywhere, completed once, and given up."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from tests.support.gateway import Backstage, Tenant, World, problem
from tests.support.infrastructure import RunningService

CHUNK_BYTES = 5 * 1024 * 1024
SIZE = 2 * CHUNK_BYTES + 1000


class Session:
    """A session of a tenant, and the file that belongs to it."""

    def __init__(self, tenant: Tenant, content: bytes, answer: dict[str, Any]) -> None:
        self.tenant = tenant
        self.content = content
        self.upload = answer["upload"]
        self.edges = answer["edges"]
        self.path = f"/api/storage/uploads/{self.upload['id']}"

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def parts_md5(self) -> str:
        count = self.upload["chunk_count"]
        return md5(b"".join(md5(self.chunk(number)) for number in range(1, count + 1))).hex()

    def chunk(self, number: int) -> bytes:
        size = self.upload["chunk_size_bytes"]
        return self.content[(number - 1) * size : number * size]

    async def ticket(self, number: int) -> dict[str, Any]:
        answer = await self.tenant.call("POST", f"{self.path}/tokens", json={"numbers": [number]})
        assert answer.status_code == 200, answer.text
        ticket: dict[str, Any] = answer.json()["tokens"][0]
        return ticket

    async def send(self, number: int, *, edge: int = 0, content: bytes | None = None) -> httpx.Response:
        """Send a chunk to an edge."""
        return await self.send_with(await self.ticket(number), number, edge=edge, content=content)

    async def send_with(
        self, ticket: dict[str, Any], number: int, *, edge: int = 0, content: bytes | None = None
    ) -> httpx.Response:
        """Send a chunk to an edge with a ticket that was given before."""
        url = f"{self.edges[edge]['url']}/edge/uploads/{self.upload['id']}/chunks/{number}"
        return await put(url, self.chunk(number) if content is None else content, ticket["token"])

    async def send_direct(self, number: int) -> None:
        """Send a chunk to the object storage."""
        answer = await put((await self.ticket(number))["direct_url"], self.chunk(number))
        assert answer.status_code == 200, answer.text

    async def status(self, *, at: str | None = None) -> dict[str, Any]:
        answer = await (self.tenant.at(at) if at else self.tenant).get(self.path)
        assert answer.status_code == 200, answer.text
        upload: dict[str, Any] = answer.json()["upload"]
        return upload

    async def complete(self, **changed: str) -> httpx.Response:
        body = {"content_hash": self.digest, "parts_md5": self.parts_md5, **changed}
        return await self.tenant.call("POST", f"{self.path}/complete", json=body)


def md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


async def put(url: str, content: bytes, token: str | None = None) -> httpx.Response:
    headers = {"Content-MD5": base64.b64encode(md5(content)).decode()}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(timeout=60) as http:
        return await http.put(url, content=content, headers=headers)


async def create(tenant: Tenant, content: bytes, **wanted: Any) -> httpx.Response:
    body = {"filename": "film.mp4", "size_bytes": len(content), "chunk_size_bytes": 1, **wanted}
    return await tenant.call("POST", "/api/storage/uploads", json=body)


async def begin(tenant: Tenant, content: bytes | None = None, **wanted: Any) -> Session:
    content = os.urandom(SIZE) if content is None else content
    answer = await create(tenant, content, **wanted)
    assert answer.status_code == 201, answer.text
    return Session(tenant, content, answer.json())


async def test_a_session_is_planned_in_chunks_the_storage_takes(tenant: Tenant) -> None:
    session = await begin(tenant)
    assert session.upload["chunk_size_bytes"] == CHUNK_BYTES
    assert session.upload["chunk_count"] == 3
    assert session.upload["missing"] == [[1, 3]]
    assert {edge["kind"] for edge in session.edges} == {"worker"}


async def test_chunks_over_any_edge_become_the_asset(tenant: Tenant, backstage: Backstage) -> None:
    session = await begin(tenant)
    for number in (3, 1, 2):
        assert (await session.send(number, edge=number % 2)).status_code == 200
    answer = await session.complete()
    assert answer.status_code == 201, answer.text
    asset = answer.json()["asset"]
    assert (await tenant.get(f"/api/storage/stream/{asset['id']}")).content == session.content
    await backstage.holds_exactly(tenant, asset)


async def test_completing_again_answers_the_same(tenant: Tenant) -> None:
    session = await begin(tenant)
    for number in (1, 2, 3):
        await session.send(number)
    first, again = await session.complete(), await session.complete()
    assert again.status_code in (200, 201)
    assert again.json()["asset"]["id"] == first.json()["asset"]["id"]


async def test_any_gateway_continues_a_session(tenant: Tenant, impatient_gateway: RunningService) -> None:
    session = await begin(tenant)
    await session.send(2)
    elsewhere = await session.status(at=impatient_gateway.url)
    assert elsewhere["missing"] == [[1, 1], [3, 3]]
    assert elsewhere["received"] == [
        {"number": 2, "size_bytes": CHUNK_BYTES, "md5": md5(session.chunk(2)).hex()}
    ]


async def test_an_incomplete_session_says_what_is_missing_and_stays_open(tenant: Tenant) -> None:
    session = await begin(tenant)
    await session.send(1)
    answer = await session.complete()
    assert problem(answer) == (409, "upload_incomplete")
    assert answer.json()["missing"] == [[2, 3]]
    for number in (2, 3):
        assert (await session.send(number)).status_code == 200
    assert (await session.complete()).status_code == 201


async def test_other_bytes_than_the_clients_are_not_joined(tenant: Tenant) -> None:
    session = await begin(tenant)
    await session.send(1)
    await session.send(2, content=os.urandom(CHUNK_BYTES))
    await session.send(3)
    assert problem(await session.complete())[1] == "content_hash_mismatch"
    await session.send(2)
    assert (await session.complete()).status_code == 201


async def test_what_the_account_has_already_is_not_sent(tenant: Tenant, backstage: Backstage) -> None:
    content = os.urandom(SIZE)
    asset = await tenant.store(content)
    answer = await create(tenant, content, content_hash=hashlib.sha256(content).hexdigest())
    assert answer.status_code == 200
    assert answer.json()["asset"]["id"] == asset["id"]
    await backstage.holds_exactly(tenant, asset)


async def test_a_session_is_its_accounts_alone(tenant: Tenant, world: World) -> None:
    session = await begin(tenant)
    stranger = await world.tenant()
    for method, path, body in (
        ("GET", session.path, None),
        ("POST", f"{session.path}/tokens", {"numbers": [1]}),
        ("POST", f"{session.path}/complete", {"content_hash": session.digest}),
        ("DELETE", session.path, None),
    ):
        answer = await stranger.call(method, path, json=body)
        assert problem(answer) == (404, "upload_not_found"), path
    assert (await stranger.get("/api/storage/uploads")).json()["uploads"] == []


async def test_a_tier_without_jettyspeed_is_told_so(world: World, backstage: Backstage) -> None:
    tenant = await world.tenant("starter")
    answer = await create(tenant, os.urandom(SIZE))
    assert problem(answer) == (403, "jetty_speed_not_included")
    assert "starter" in answer.json()["detail"] or answer.json()["tier"] == "starter"
    await backstage.holds_exactly(tenant)


async def test_giving_up_frees_what_was_reserved(tenant: Tenant, backstage: Backstage) -> None:
    session = await begin(tenant)
    await session.send(1)
    for _ in range(2):
        assert (await tenant.call("DELETE", session.path)).json()["aborted"] is True
    answer = await tenant.call("POST", f"{session.path}/tokens", json={"numbers": [2]})
    assert problem(answer) == (409, "upload_not_open")
    await backstage.holds_exactly(tenant)


@pytest.mark.parametrize("number", [4, 10_000])
async def test_there_are_no_tokens_for_chunks_that_are_not(tenant: Tenant, number: int) -> None:
    session = await begin(tenant)
    answer = await tenant.call("POST", f"{session.path}/tokens", json={"numbers": [number]})
    assert problem(answer) == (422, "invalid_field")


async def test_an_unknown_session_is_not_found(tenant: Tenant) -> None:
    assert problem(await tenant.get(f"/api/storage/uploads/{uuid4()}")) == (404, "upload_not_found")


async def test_chunks_sent_straight_to_the_storage_count(
    tenant: Tenant, direct_gateway: RunningService, backstage: Backstage
) -> None:
    session = await begin(tenant.at(direct_gateway.url))
    await session.send_direct(1)
    await session.send(2)
    status = await session.status()
    assert status["missing"] == [[3, 3]]
    assert [chunk["md5"] for chunk in status["received"]] == [md5(session.chunk(n)).hex() for n in (1, 2)]
    await session.send_direct(3)
    asset = (await session.complete()).json()["asset"]
    assert (await tenant.get(f"/api/storage/stream/{asset['id']}")).content == session.content
    await backstage.holds_exactly(tenant, asset)


async def test_a_spoilt_chunk_is_refused_by_the_storage_too(
    tenant: Tenant, direct_gateway: RunningService
) -> None:
    session = await begin(tenant.at(direct_gateway.url))
    url = (await session.ticket(1))["direct_url"]
    spoilt = bytearray(session.chunk(1))
    spoilt[1000] ^= 1
    announced = {"Content-MD5": base64.b64encode(md5(session.chunk(1))).decode()}
    async with httpx.AsyncClient(timeout=60) as http:
        answer = await http.put(url, content=bytes(spoilt), headers=announced)
    assert answer.status_code in (400, 422)
    assert (await session.status())["missing"] == [[1, 3]]


async def test_without_the_setting_there_are_no_direct_urls(tenant: Tenant) -> None:
    session = await begin(tenant)
    assert (await session.ticket(1))["direct_url"] is None


async def test_five_completions_at_once_give_the_same_asset(tenant: Tenant, backstage: Backstage) -> None:
    session = await begin(tenant)
    for number in (1, 2, 3):
        assert (await session.send(number)).status_code == 200
    answers = await asyncio.gather(*(session.complete() for _ in range(5)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["asset"]["id"] for answer in answers}) == 1
    await backstage.holds_exactly(tenant, answers[0].json()["asset"])


async def test_a_chunk_that_the_storage_lacks_is_named_and_stored_again(
    tenant: Tenant, backstage: Backstage
) -> None:
    session = await begin(tenant)
    for number in (1, 2, 3):
        await session.send(number)
    # The record and the object storage disagree, as after a part was lost.
    await backstage.pool.execute(
        "UPDATE upload_chunks SET etag = $2 WHERE upload_id = $1 AND number = 1",
        UUID(session.upload["id"]),
        f'"{"0" * 32}"',
    )
    refused = await session.complete()
    assert problem(refused) == (409, "upload_incomplete")
    assert refused.json()["missing"] == [[1, 1]]
    assert (await session.send(1)).status_code == 200
    completed = await session.complete()
    assert completed.status_code == 201
    await backstage.holds_exactly(tenant, completed.json()["asset"])


async def test_a_false_claim_stands_for_no_other_file(tenant: Tenant, backstage: Backstage) -> None:
    genuine = os.urandom(1000)
    session = await begin(tenant)
    for number in (1, 2, 3):
        await session.send(number)
    claimed = (await session.complete(content_hash=hashlib.sha256(genuine).hexdigest())).json()["asset"]
    assert claimed["content_hash_verified"] is False
    # The claim is verified now that it matters, and found to be wrong.
    stored = await tenant.upload(genuine)
    assert stored.status_code == 201
    asset = stored.json()["asset"]
    assert (await tenant.get(f"/api/storage/stream/{asset['id']}")).content == genuine
    corrected = (await tenant.get(f"/api/storage/assets/{claimed['id']}")).json()["asset"]
    assert (corrected["content_hash"], corrected["content_hash_verified"]) == (session.digest, True)
    await backstage.holds_exactly(tenant, asset, claimed)


async def test_a_claim_is_verified_when_the_tenant_asks(tenant: Tenant) -> None:
    session = await begin(tenant)
    for number in (1, 2, 3):
        await session.send(number)
    asset = (await session.complete()).json()["asset"]
    before = await tenant.call("HEAD", f"/api/storage/stream/{asset['id']}")
    verified = await tenant.call("POST", f"/api/storage/assets/{asset['id']}/verify")
    after = await tenant.call("HEAD", f"/api/storage/stream/{asset['id']}")
    assert verified.json()["asset"]["content_hash_verified"] is True
    assert before.headers["etag"] == f'"asset-{asset["id"]}"'
    assert after.headers["etag"] == f'"{session.digest}"'
    unchanged = await tenant.get(
        f"/api/storage/stream/{asset['id']}", headers={"If-None-Match": before.headers["etag"]}
    )
    assert unchanged.status_code == 304
