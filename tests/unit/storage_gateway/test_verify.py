"""Verifying claimed hashes of assets."""

import pytest

from storage_gateway.assets.model import Asset
from storage_gateway.errors import AssetNotFound, VerificationUnavailable

from .fakes import ACCOUNT_ID, Gateway, made_asset, sha256_of

CONTENT = b"content"


def claimed(gateway: Gateway, *, content_hash: str = sha256_of(CONTENT), content: bytes = CONTENT) -> Asset:
    """An asset with this claim, and its object."""
    asset = made_asset(content_hash=content_hash, content_hash_verified=False)
    gateway.storage.objects[asset.s3_key] = content
    return gateway.state.add_asset(asset, serves=False)


async def test_a_true_claim_becomes_a_verified_hash_and_serves_duplicates() -> None:
    gateway = Gateway()
    asset = claimed(gateway)
    assert asset.etag == f"asset-{asset.id}"
    verified = await gateway.verifier.verify(ACCOUNT_ID, asset.id)
    assert (verified.content_hash_verified, verified.etag) == (True, sha256_of(CONTENT))
    assert gateway.state.serving == {asset.id}


async def test_a_wrong_claim_is_replaced_by_the_true_hash() -> None:
    gateway = Gateway()
    asset = claimed(gateway, content_hash="0" * 64)
    assert (await gateway.verifier.verify(ACCOUNT_ID, asset.id)).content_hash == sha256_of(CONTENT)


async def test_a_verified_hash_is_not_computed_again() -> None:
    gateway = Gateway()
    asset = gateway.state.add_asset(made_asset())
    assert await gateway.verifier.verify(ACCOUNT_ID, asset.id) == asset
    assert gateway.worker.asked == []


async def test_of_two_assets_with_the_same_bytes_one_serves_duplicates() -> None:
    gateway = Gateway()
    first, second = claimed(gateway), claimed(gateway)
    await gateway.verifier.verify(ACCOUNT_ID, second.id)
    await gateway.verifier.verify(ACCOUNT_ID, first.id)
    assert gateway.state.serving == {second.id}


async def test_an_object_of_another_size_verifies_nothing() -> None:
    gateway = Gateway()
    asset = claimed(gateway, content=b"other bytes")
    with pytest.raises(VerificationUnavailable, match="11 bytes"):
        await gateway.verifier.verify(ACCOUNT_ID, asset.id)
    assert gateway.state.assets[asset.id] == asset


async def test_without_an_answer_the_caller_may_ask_again() -> None:
    gateway = Gateway()
    asset = claimed(gateway)
    gateway.worker.failure = TimeoutError()
    with pytest.raises(VerificationUnavailable):
        await gateway.verifier.verify(ACCOUNT_ID, asset.id)


async def test_another_account_s_asset_is_not_verified() -> None:
    gateway = Gateway()
    with pytest.raises(AssetNotFound):
        await gateway.verifier.verify(made_asset().id, claimed(gateway).id)


async def test_an_asset_that_is_deleted_while_it_is_read_is_not_found() -> None:
    gateway = Gateway()
    asset = claimed(gateway)
    gateway.worker.before_answer = lambda: gateway.state.delete_asset(asset.id)
    with pytest.raises(AssetNotFound):
        await gateway.verifier.verify(ACCOUNT_ID, asset.id)


async def test_in_idle_time_one_asset_is_verified_a_run() -> None:
    gateway = Gateway()
    for _ in range(3):
        claimed(gateway)
    for verified in (1, 2, 3, 3):
        await gateway.verifier.verify_one()
        assert sum(asset.content_hash_verified for asset in gateway.state.assets.values()) == verified
