"""Assets whose object is gone: deleted and credited, once, and only where the storage says so itself."""

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from jettythunder.contracts.assets import AssetDeletedV1
from jettythunder.errors import StorageUnavailable

from .fakes import ACCOUNT_ID, Gateway, made_asset

CONTENT = b"content"
NOW = datetime.now(UTC)


async def test_an_asset_without_its_object_is_deleted_and_credited() -> None:
    gateway = Gateway()
    lost, kept = (gateway.state.add_asset(made_asset()) for _ in range(2))
    gateway.storage.objects[kept.s3_key] = CONTENT
    await gateway.lost.check(uuid4(), event_time=NOW, account_id=ACCOUNT_ID, asset_id=lost.id)
    await gateway.lost.check(uuid4(), event_time=NOW, account_id=ACCOUNT_ID, asset_id=kept.id)
    assert list(gateway.state.assets) == [kept.id]
    assert gateway.state.events == [
        AssetDeletedV1(
            account_id=ACCOUNT_ID, asset_id=lost.id, size_bytes=lost.size_bytes, reason="object_missing"
        )
    ]


async def test_the_same_event_again_has_no_effect() -> None:
    gateway = Gateway()
    asset = gateway.state.add_asset(made_asset())
    gateway.storage.objects[asset.s3_key] = CONTENT
    event_id = uuid4()
    await gateway.lost.check(event_id, event_time=NOW, account_id=ACCOUNT_ID, asset_id=asset.id)
    gateway.storage.objects.clear()
    await gateway.lost.check(event_id, event_time=NOW, account_id=ACCOUNT_ID, asset_id=asset.id)
    assert list(gateway.state.assets) == [asset.id]


async def test_the_same_event_twice_at_once_credits_once() -> None:
    gateway = Gateway()
    asset = gateway.state.add_asset(made_asset())
    event_id = uuid4()
    await asyncio.gather(
        *(
            gateway.lost.check(event_id, event_time=NOW, account_id=ACCOUNT_ID, asset_id=asset.id)
            for _ in range(3)
        )
    )
    assert gateway.told == ["asset.deleted"]


async def test_an_object_of_another_size_is_left_alone_with_its_asset() -> None:
    gateway = Gateway()
    asset = gateway.state.add_asset(made_asset())
    gateway.storage.objects[asset.s3_key] = b"shorter"[:3]
    await gateway.lost.check(uuid4(), event_time=NOW, account_id=ACCOUNT_ID, asset_id=asset.id)
    assert (list(gateway.state.assets), gateway.state.events) == ([asset.id], [])


async def test_a_storage_that_does_not_answer_proves_nothing() -> None:
    gateway = Gateway()
    asset = gateway.state.add_asset(made_asset())
    gateway.storage.is_down = True
    event_id = uuid4()
    with pytest.raises(StorageUnavailable):
        await gateway.lost.check(event_id, event_time=NOW, account_id=ACCOUNT_ID, asset_id=asset.id)
    assert list(gateway.state.assets) == [asset.id]
    # It is looked at again when the event is.
    gateway.storage.is_down = False
    await gateway.lost.check(event_id, event_time=NOW, account_id=ACCOUNT_ID, asset_id=asset.id)
    assert gateway.state.assets == {}


async def test_another_account_s_asset_is_not_touched() -> None:
    gateway = Gateway()
    asset = gateway.state.add_asset(made_asset(account_id=uuid4()))
    await gateway.lost.check(uuid4(), event_time=NOW, account_id=ACCOUNT_ID, asset_id=asset.id)
    assert list(gateway.state.assets) == [asset.id]
