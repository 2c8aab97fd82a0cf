"""Hashing what the object storage has, on fakes."""

import hashlib
import random

import pytest

from chunk_worker.errors import AssetObjectMissing
from chunk_worker.verification.verify import AssetVerifier
from jettythunder.errors import ConfigurationError, StorageUnavailable

from .fakes import BUCKET, FakeStorage


@pytest.mark.parametrize("size_bytes", [0, 1, 4 << 20, (9 << 20) + 1])
async def test_an_object_s_hash_and_size_are_found(size_bytes: int) -> None:
    data = random.Random(1).randbytes(size_bytes)
    verifier = AssetVerifier(FakeStorage(objects={"key": data}))
    found = await verifier.verify(s3_bucket=BUCKET, s3_key="key")
    assert (found.content_hash, found.size_bytes) == (hashlib.sha256(data).hexdigest(), size_bytes)


async def test_a_missing_object_has_a_code_of_its_own() -> None:
    with pytest.raises(AssetObjectMissing) as missing:
        await AssetVerifier(FakeStorage()).verify(s3_bucket=BUCKET, s3_key="key")
    assert (missing.value.code, missing.value.retryable) == ("object_missing", False)


async def test_an_object_that_is_cut_short_is_read_again_later() -> None:
    verifier = AssetVerifier(FakeStorage(objects={"key": b"bytes"}, cut_bytes=1))
    with pytest.raises(StorageUnavailable, match="4 of 5 bytes") as cut:
        await verifier.verify(s3_bucket=BUCKET, s3_key="key")
    assert cut.value.retryable


async def test_another_bucket_is_a_mistake_in_the_configuration() -> None:
    with pytest.raises(ConfigurationError, match="LYVE_BUCKET_NAME"):
        await AssetVerifier(FakeStorage()).verify(s3_bucket="elsewhere", s3_key="key")
