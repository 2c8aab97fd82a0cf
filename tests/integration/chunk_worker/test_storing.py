"""Chunks through the command queue: stored and recorded, or refused with a reason."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.support.infrastructure import Infrastructure, ServiceStarter
from tests.support.uploads import crc_of, md5_of, random_chunk
from tests.support.waiting import eventually

from jettythunder.contracts.uploads import ChunkFailedV1, ChunkUploadedV1, UploadChunkV1

from .conftest import Gateway

pytestmark = pytest.mark.usefixtures("worker")


async def test_a_chunk_is_answered_with_what_the_storage_acknowledged(gateway: Gateway) -> None:
    upload, data = await gateway.uploads.begin(), random_chunk()
    answer = await gateway.stored(gateway.command(upload, data, number=7))
    assert (answer.upload_id, answer.number, answer.md5) == (upload.id, 7, crc_of(data))
    assert answer.etag


async def test_stored_chunks_join_into_the_file(gateway: Gateway) -> None:
    upload, chunks = await gateway.uploads.begin(), [random_chunk() for _ in range(6)]
    commands = [gateway.command(upload, data, number=n) for n, data in enumerate(chunks, 1)]
    await asyncio.gather(*map(gateway.stored, commands))
    assert await gateway.uploads.object_of(upload) == b"".join(chunks)


async def test_a_stored_chunk_is_recorded(gateway: Gateway) -> None:
    upload, data = await gateway.uploads.begin(), random_chunk()
    answer = await gateway.stored(gateway.command(upload, data))
    (row,) = await gateway.uploads.rows(upload)
    assert (row["number"], row["size_bytes"], row["md5"], row["etag"]) == (
        1,
        len(data),
        crc_of(data),
        answer.etag,
    )


async def test_a_stored_chunk_is_told(gateway: Gateway) -> None:
    upload, data = await gateway.uploads.begin(), random_chunk()
    answer = await gateway.stored(gateway.command(upload, data))
    told = await gateway.only_event(ChunkUploadedV1.TYPE, upload)
    assert ChunkUploadedV1.model_validate(told) == ChunkUploadedV1(
        account_id=upload.account_id,
        upload_id=upload.id,
        number=1,
        size_bytes=len(data),
        md5=crc_of(data),
        etag=answer.etag,
        edge=told["edge"],
    )


async def test_a_chunk_sent_again_is_answered_without_being_fetched(gateway: Gateway) -> None:
    upload, data = await gateway.uploads.begin(), random_chunk()
    command = gateway.command(upload, data)
    first = await gateway.stored(command)
    assert await gateway.stored(command) == first
    assert gateway.spool.requests.count(f"/internal/chunks/{upload.id}/1") == 1


async def test_other_bytes_replace_the_chunk(gateway: Gateway) -> None:
    upload, data = await gateway.uploads.begin(), random_chunk()
    await gateway.stored(gateway.command(upload, random_chunk()))
    await gateway.stored(gateway.command(upload, data))
    assert await gateway.uploads.object_of(upload) == data


async def test_a_chunk_that_was_forgotten_is_stored_again(gateway: Gateway) -> None:
    upload, data = await gateway.uploads.begin(), random_chunk()
    command = gateway.command(upload, data)
    await gateway.stored(command)
    await gateway.uploads.forget(upload, 1)
    await gateway.stored(command)
    assert gateway.spool.requests.count(f"/internal/chunks/{upload.id}/1") == 2
    assert await gateway.uploads.object_of(upload) == data


async def test_corrupted_bytes_are_refused_and_not_recorded(gateway: Gateway) -> None:
    upload, data = await gateway.uploads.begin(), random_chunk()
    command = gateway.command(upload, bytes([data[0] ^ 1]) + data[1:], checksum=crc_of(data))
    refusal = await gateway.denied(command)
    assert (refusal.code, refusal.retryable) == ("checksum_mismatch", True)
    assert await gateway.uploads.rows(upload) == []


async def test_a_chunk_the_gateway_dropped_fails_for_good(gateway: Gateway) -> None:
    upload = await gateway.uploads.begin()
    command = gateway.command(upload, random_chunk())
    gateway.spool.chunks.clear()
    refusal = await gateway.denied(command)
    assert (refusal.code, refusal.retryable) == ("chunk_gone", False)
    told = await gateway.only_event(ChunkFailedV1.TYPE, upload)
    assert (told["number"], told["code"]) == (1, "chunk_gone")


async def test_a_gateway_that_is_away_may_be_asked_again(gateway: Gateway) -> None:
    upload = await gateway.uploads.begin()
    url = gateway.source_url(upload, base_url="http://127.0.0.1:9")
    refusal = await gateway.denied(gateway.command(upload, random_chunk(), source_url=url))
    assert (refusal.code, refusal.retryable) == ("chunk_source_unavailable", True)


async def test_a_chunk_shorter_than_commanded_is_refused(gateway: Gateway) -> None:
    upload, data = await gateway.uploads.begin(), random_chunk()
    refusal = await gateway.denied(gateway.command(upload, data, size_bytes=len(data) + 1))
    assert refusal.code == "truncated_body"
    assert await gateway.uploads.rows(upload) == []


async def test_an_ended_upload_takes_no_chunk(gateway: Gateway) -> None:
    upload = await gateway.uploads.begin()
    await gateway.uploads.set_status(upload, "aborted")
    refusal = await gateway.denied(gateway.command(upload, random_chunk()))
    assert (refusal.code, refusal.retryable) == ("upload_not_open", False)


async def test_an_upload_that_ends_meanwhile_records_no_chunk(gateway: Gateway) -> None:
    upload = await gateway.uploads.begin()
    path = f"/internal/chunks/{upload.id}/1"
    gateway.spool.held[path] = asyncio.Event()
    storing = asyncio.create_task(gateway.denied(gateway.command(upload, random_chunk())))
    await eventually(lambda: path in gateway.spool.requests)
    await gateway.uploads.set_status(upload, "completing")
    gateway.spool.held[path].set()
    assert (await storing).code == "upload_not_open"
    assert await gateway.uploads.rows(upload) == []


async def test_a_multipart_upload_aborted_in_the_storage_takes_no_chunk(gateway: Gateway) -> None:
    upload = await gateway.uploads.begin()
    await gateway.uploads.storage.abort_multipart(upload.s3_key, upload.s3_upload_id)
    refusal = await gateway.denied(gateway.command(upload, random_chunk()))
    assert refusal.code == "upload_not_open"


async def test_another_account_s_upload_is_not_found(gateway: Gateway) -> None:
    upload = await gateway.uploads.begin()
    refusal = await gateway.denied(gateway.command(upload, random_chunk(), account_id=uuid4()))
    assert refusal.code == "upload_not_found"


@pytest.mark.parametrize("other", [{"s3_key": "accounts/another/key"}, {"s3_upload_id": "another"}])
async def test_a_command_for_another_object_stores_nothing(gateway: Gateway, other: dict[str, Any]) -> None:
    upload = await gateway.uploads.begin()
    refusal = await gateway.denied(gateway.command(upload, random_chunk(), **other))
    assert (refusal.code, refusal.retryable) == ("link_invalid", False)
    assert await gateway.uploads.rows(upload) == []


@pytest.mark.parametrize(
    "url",
    [
        "{spool}/internal/chunks/{id}/1?expires_at=4102444800&signature=x",
        "{spool}/latest/meta-data/?expires_at=4102444800&signature=s",
        "{signed_for_2}",
        "{spool}/internal/chunks/{id}/1",
    ],
)
async def test_an_address_that_is_no_gateway_s_is_not_called(gateway: Gateway, url: str) -> None:
    upload = await gateway.uploads.begin()
    source_url = url.format(spool=gateway.spool.url, id=upload.id, signed_for_2=gateway.source_url(upload, 2))
    called = len(gateway.spool.requests)
    refusal = await gateway.denied(gateway.command(upload, random_chunk(), source_url=source_url))
    assert refusal.code == "link_invalid"
    assert len(gateway.spool.requests) == called


async def test_a_live_worker_needs_a_list_of_gateways(infrastructure: Infrastructure, tmp_path: Path) -> None:
    starter = ServiceStarter(infrastructure, tmp_path)
    refused = starter(
        "chunk-worker", {"JETTYTHUNDER_ENVIRONMENT": "live", "GATEWAY_INTERNAL_URLS": None}, wait=False
    )
    assert refused.wait_for_end() != 0
    assert "GATEWAY_INTERNAL_URLS is not set" in refused.log()
    starter.end()


async def test_a_chunk_for_another_bucket_is_refused(gateway: Gateway) -> None:
    upload = await gateway.uploads.begin()
    refusal = await gateway.denied(gateway.command(upload, random_chunk(), s3_bucket="elsewhere"))
    assert refusal.code == "configuration_error"


async def test_a_gateway_of_the_version_before_is_served(gateway: Gateway) -> None:
    upload, data = await gateway.uploads.begin(), random_chunk()
    command = gateway.command(upload, data).model_dump(exclude={"checksum"})
    answer = await gateway.stored(UploadChunkV1(**command, md5=md5_of(data)))
    assert (answer.number, answer.md5) == (1, md5_of(data))
    assert await gateway.uploads.object_of(upload) == data
