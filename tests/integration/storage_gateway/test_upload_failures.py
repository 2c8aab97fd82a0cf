"""Uploads that fail: a clear error where someone is there to read it, and nothing left in any case."""

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.gateway import MEGABYTE, Backstage, RawUpload, Tenant, World, form, part_head, problem
from tests.support.infrastructure import RunningService, ServiceStarter
from tests.support.waiting import eventually

HEAD = part_head("file", "film.mp4")


async def chunked(upload: RawUpload, content: bytes) -> None:
    """Send bytes as chunks of a body of unknown length."""
    for start in range(0, len(content), MEGABYTE):
        block = content[start : start + MEGABYTE]
        await upload.send(f"{len(block):x}\r\n".encode() + block + b"\r\n")


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    """A body of unknown length."""
    for start in range(0, len(body), MEGABYTE):
        yield body[start : start + MEGABYTE]


def file_form(size: int) -> bytes:
    return b"".join(form(("file", "film.mp4", os.urandom(size))))


@pytest.mark.parametrize("sent", [1000, 25 * MEGABYTE])
async def test_a_client_that_goes_away_leaves_nothing(
    tenant: Tenant, backstage: Backstage, sent: int
) -> None:
    async with tenant.raw_upload(length=40 * MEGABYTE) as upload:
        await upload.send(HEAD + os.urandom(sent))
        await eventually(lambda: backstage.open_uploads(tenant))
        upload.vanish()
    await backstage.holds_exactly(tenant)
    assert (await backstage.last_upload(tenant))["failure_code"] == "truncated_body"


@pytest.mark.parametrize("size", [1000, 12 * MEGABYTE])
async def test_a_body_that_ends_before_its_form_is_refused(
    tenant: Tenant, backstage: Backstage, size: int
) -> None:
    answer = await tenant.post_form(file_form(size)[:-30])
    assert problem(answer) == (400, "truncated_body")
    assert answer.json()["retryable"] is True
    await backstage.holds_exactly(tenant)


async def test_a_file_over_the_tier_s_size_is_refused_before_it_is_sent(
    world: World, backstage: Backstage
) -> None:
    tenant = await world.tenant("starter")
    async with tenant.raw_upload(length=60 * MEGABYTE) as upload:
        await upload.send(HEAD + b"first bytes")
        status, body = await upload.answer()
    assert (status, body["code"], body["max_file_size_bytes"]) == (413, "file_too_large", 50 * MEGABYTE)
    assert "50 MB" in body["detail"]
    await backstage.holds_exactly(tenant)


async def test_a_file_of_just_the_tier_s_size_is_taken_and_one_byte_more_is_not(
    world: World, backstage: Backstage
) -> None:
    tenant = await world.tenant("starter")
    asset = await tenant.store(os.urandom(50 * MEGABYTE))
    assert problem(await tenant.post_form(file_form(50 * MEGABYTE + 1))) == (413, "file_too_large")
    await backstage.holds_exactly(tenant, asset)


async def test_a_file_of_unknown_length_is_stopped_at_the_tier_s_size(
    world: World, backstage: Backstage
) -> None:
    tenant = await world.tenant("starter")
    answer = await tenant.post_form(in_pieces(file_form(51 * MEGABYTE)))
    assert problem(answer) == (413, "file_too_large")
    await backstage.holds_exactly(tenant)


async def test_a_client_that_falls_silent_is_given_up(
    tenant: Tenant, backstage: Backstage, impatient_gateway: RunningService
) -> None:
    async with tenant.at(impatient_gateway.url).raw_upload(length=40 * MEGABYTE) as upload:
        await upload.send(HEAD + os.urandom(7 * MEGABYTE))
        status, body = await upload.answer()
    assert (status, body["code"], body["retryable"]) == (408, "upload_timed_out", True)
    await backstage.holds_exactly(tenant)


async def test_an_upload_of_unknown_length_holds_what_has_arrived(
    tenant: Tenant, backstage: Backstage
) -> None:
    async with tenant.raw_upload() as upload:
        await chunked(upload, HEAD + os.urandom(12 * MEGABYTE))

        async def reserved() -> bool:
            held = (await backstage.usage(tenant))["storage_reserved_bytes"]
            assert held >= 11 * MEGABYTE
            assert held <= 30 * MEGABYTE
            return True

        await eventually(reserved)
        upload.vanish()
    await backstage.holds_exactly(tenant)


async def test_an_upload_of_unknown_length_may_fill_the_quota_to_the_byte(
    tenant: Tenant, backstage: Backstage
) -> None:
    await backstage.set_quota(tenant, storage_quota_bytes=15_000_001)
    answer = await tenant.post_form(in_pieces(file_form(15_000_001)))
    assert answer.status_code == 201, answer.text
    await backstage.holds_exactly(tenant, answer.json()["asset"])


async def test_an_upload_of_unknown_length_is_stopped_at_the_quota(
    tenant: Tenant, backstage: Backstage
) -> None:
    await backstage.set_quota(tenant, storage_quota_bytes=15_000_000)
    answer = await tenant.post_form(in_pieces(file_form(15_000_001)))
    assert problem(answer) == (402, "storage_quota_exceeded")
    await backstage.holds_exactly(tenant)


async def test_an_upload_without_room_is_refused_with_the_figures(
    tenant: Tenant, backstage: Backstage
) -> None:
    asset = await tenant.store(os.urandom(600))
    await backstage.holds_exactly(tenant, asset)
    await backstage.set_quota(tenant, storage_quota_bytes=1000)
    answer = await tenant.post_form(file_form(401))
    assert problem(answer) == (402, "storage_quota_exceeded")
    figures: dict[str, Any] = {
        "used_bytes": 600,
        "reserved_bytes": 0,
        "quota_bytes": 1000,
        "requested_bytes": 401,
    }
    assert figures.items() <= answer.json().items()
    await backstage.holds_exactly(tenant, asset)


async def test_the_last_byte_of_the_quota_can_be_used(tenant: Tenant, backstage: Backstage) -> None:
    await backstage.set_quota(tenant, storage_quota_bytes=1000)
    await backstage.holds_exactly(tenant, await tenant.store(os.urandom(1000)))


async def test_the_free_tier_is_told_that_it_has_no_storage(world: World, backstage: Backstage) -> None:
    tenant = await world.tenant("free")
    answer = await tenant.upload(b"x")
    assert problem(answer) == (402, "storage_not_included")
    assert "Upgrade to starter" in answer.json()["detail"]
    assert answer.json()["tier"] == "free"
    await backstage.holds_exactly(tenant)


async def test_a_suspended_account_is_refused(tenant: Tenant, backstage: Backstage) -> None:
    await backstage.pool.execute(
        "UPDATE agentcache_accounts SET suspended_at = now() WHERE id = $1", tenant.account_id
    )
    assert problem(await tenant.upload(b"x")) == (403, "account_suspended")


async def test_an_upload_whose_gateway_died_is_given_up(
    tenant: Tenant, backstage: Backstage, start_service: ServiceStarter, impatient_gateway: RunningService
) -> None:
    doomed = start_service("storage-gateway", {"UPLOAD_LEASE_SECONDS": "5"})
    async with tenant.at(doomed.url).raw_upload(length=40 * MEGABYTE) as upload:
        await upload.send(HEAD + os.urandom(15 * MEGABYTE))
        await eventually(lambda: backstage.parts(tenant))
        doomed.kill()
    await backstage.holds_exactly(tenant)
    assert (await backstage.last_upload(tenant))["status"] == "expired"
