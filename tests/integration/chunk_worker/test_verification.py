"""Hashes of what the object storage has, by command."""

import asyncio
import hashlib
from uuid import UUID, uuid4

import psutil
import pytest
from tests.support.infrastructure import RunningService
from tests.support.uploads import random_chunk

from jettythunder.contracts.assets import AssetVerified, VerifyAssetV1

from .conftest import Gateway

MIB = 1 << 20
ASSET = UUID(int=1)

pytestmark = pytest.mark.usefixtures("worker")


def command(gateway: Gateway, key: str, *, size_bytes: int = 0) -> VerifyAssetV1:
    return VerifyAssetV1(
        account_id=uuid4(),
        asset_id=ASSET,
        s3_bucket=gateway.uploads.storage.bucket,
        s3_key=key,
        size_bytes=size_bytes,
    )


@pytest.mark.parametrize("data", [b"", b"bytes"])
async def test_an_object_is_answered_with_its_hash_and_size(gateway: Gateway, data: bytes) -> None:
    key = f"tests/{uuid4()}"
    await gateway.uploads.storage.put(key, data, content_type="application/octet-stream")
    answer = await gateway.call(command(gateway, key))
    assert answer == AssetVerified(
        asset_id=ASSET, content_hash=hashlib.sha256(data).hexdigest(), size_bytes=len(data)
    )


async def test_a_missing_object_has_a_code_of_its_own(gateway: Gateway) -> None:
    refusal = await gateway.denied(command(gateway, f"tests/{uuid4()}"))
    assert (refusal.code, refusal.retryable) == ("object_missing", False)


async def test_a_large_object_is_not_held_in_memory(gateway: Gateway, worker: RunningService) -> None:
    upload, chunks = await gateway.uploads.begin(), [random_chunk() for _ in range(20)]
    for number, chunk in enumerate(chunks, 1):
        await gateway.stored(gateway.command(upload, chunk, number=number))
    whole = await gateway.uploads.object_of(upload)
    process = psutil.Process(worker.pid)
    await gateway.call(command(gateway, upload.s3_key))
    before_bytes = process.memory_info().rss
    verified = asyncio.create_task(gateway.call(command(gateway, upload.s3_key)))
    most_bytes = before_bytes
    while not verified.done():
        most_bytes = max(most_bytes, process.memory_info().rss)
        await asyncio.sleep(0.01)
    answer = await verified
    assert isinstance(answer, AssetVerified)
    assert (answer.content_hash, answer.size_bytes) == (hashlib.sha256(whole).hexdigest(), len(whole))
    assert most_bytes - before_bytes < 24 * MIB
