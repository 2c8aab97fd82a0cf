"""Deleting assets and their objects."""

from datetime import timedelta
from uuid import uuid4

from jettythunder.contracts.assets import AssetDeletedV1
from storage_gateway.assets.model import Asset, Reason
from storage_gateway.assets.store import UnwantedObject

from .fakes import ACCOUNT_ID, BUCKET, LATE_WRITE_SECONDS, NOW, Gateway, made_asset

PAST = NOW - timedelta(seconds=1)


def stored(gateway: Gateway, count: int, **columns: object) -> list[Asset]:
    """Assets with their objects."""
    assets = [gateway.state.add_asset(made_asset(**columns), serves=False) for _ in range(count)]
    gateway.storage.objects.update({asset.s3_key: b"content" for asset in assets})
    return assets


async def test_an_asset_is_deleted_with_its_object_and_credited() -> None:
    gateway = Gateway()
    asset, kept = stored(gateway, 2)
    assert await gateway.deleter.delete(ACCOUNT_ID, [asset.id], reason=Reason.REQUEST) == [asset.id]
    assert (list(gateway.state.assets), list(gateway.storage.objects)) == ([kept.id], [kept.s3_key])
    assert gateway.state.due == []
    assert gateway.state.events == [
        AssetDeletedV1(
            account_id=ACCOUNT_ID, asset_id=asset.id, size_bytes=asset.size_bytes, reason="request"
        )
    ]


async def test_what_is_not_the_account_s_is_not_deleted() -> None:
    gateway = Gateway()
    (other,) = stored(gateway, 1, account_id=uuid4())
    assert await gateway.deleter.delete(ACCOUNT_ID, [other.id, uuid4()], reason=Reason.REQUEST) == []
    assert list(gateway.state.assets) == [other.id]
    assert gateway.state.events == []


async def test_an_asset_that_is_named_twice_is_credited_once() -> None:
    gateway = Gateway()
    (asset,) = stored(gateway, 1)
    assert await gateway.deleter.delete(ACCOUNT_ID, [asset.id] * 2, reason=Reason.REQUEST) == [asset.id]
    assert gateway.told == ["asset.deleted"]


async def test_an_object_that_can_not_be_deleted_delays_no_other() -> None:
    gateway = Gateway()
    assets = stored(gateway, 10)
    gateway.storage.failing_keys.add(assets[0].s3_key)
    await gateway.deleter.delete(ACCOUNT_ID, [asset.id for asset in assets], reason=Reason.REQUEST)
    assert list(gateway.storage.objects) == [assets[0].s3_key]
    assert gateway.state.due == [UnwantedObject(BUCKET, assets[0].s3_key)]
    gateway.storage.failing_keys.clear()
    await gateway.deleter.delete_objects()
    assert (gateway.storage.objects, gateway.state.due) == ({}, [])


async def test_an_object_is_deleted_once_more_when_nothing_can_be_on_its_way_any_more() -> None:
    gateway = Gateway()
    (asset,) = stored(gateway, 1)
    await gateway.deleter.delete(ACCOUNT_ID, [asset.id], reason=Reason.REQUEST)
    # It was not deleted, though that was acknowledged; or an attempt to store it is carried out now.
    gateway.storage.objects[asset.s3_key] = b"content"
    gateway.state.wait(LATE_WRITE_SECONDS - 1)
    await gateway.deleter.delete_objects()
    assert list(gateway.storage.objects) == [asset.s3_key]
    gateway.state.wait(1)
    await gateway.deleter.delete_objects()
    assert (gateway.storage.objects, gateway.state.deletions) == ({}, {})


async def test_an_object_that_can_not_be_deleted_the_last_time_stays_noted() -> None:
    gateway = Gateway()
    (asset,) = stored(gateway, 1)
    await gateway.deleter.delete(ACCOUNT_ID, [asset.id], reason=Reason.REQUEST)
    gateway.state.wait(LATE_WRITE_SECONDS)
    gateway.storage.failing_keys.add(asset.s3_key)
    await gateway.deleter.delete_objects()
    assert list(gateway.state.deletions) == [UnwantedObject(BUCKET, asset.s3_key)]


async def test_most_objects_of_a_bulk_deletion_are_left_to_housekeeping() -> None:
    gateway = Gateway()
    assets = stored(gateway, 100)
    gone = await gateway.deleter.delete(ACCOUNT_ID, [asset.id for asset in assets], reason=Reason.REQUEST)
    assert gone == [asset.id for asset in assets]
    assert (len(gateway.storage.objects), len(gateway.state.due)) == (84, 84)
    assert len(gateway.state.events) == 100
    while await gateway.deleter.delete_objects() == 0:
        pass
    assert (gateway.storage.objects, gateway.state.due) == ({}, [])


async def test_assets_whose_time_is_over_are_deleted_by_account() -> None:
    gateway = Gateway()
    other_account = uuid4()
    expired = [
        *stored(gateway, 2, expires_at=PAST),
        *stored(gateway, 1, expires_at=PAST, account_id=other_account),
    ]
    (kept,) = stored(gateway, 1, expires_at=NOW + timedelta(hours=1))
    assert await gateway.deleter.expire() is None
    assert list(gateway.state.assets) == [kept.id]
    events = [event for event in gateway.state.events if isinstance(event, AssetDeletedV1)]
    assert {(event.account_id, event.asset_id, event.reason) for event in events} == {
        (asset.account_id, asset.id, "expired") for asset in expired
    }
    # The objects are noted, and deleted by the next run.
    assert len(gateway.state.due) == 3


async def test_a_full_batch_is_followed_by_the_next_at_once() -> None:
    gateway = Gateway()
    stored(gateway, 50, expires_at=PAST)
    assert await gateway.deleter.expire() == 0
    assert await gateway.deleter.delete_objects() == 0
    assert (await gateway.deleter.expire(), await gateway.deleter.delete_objects()) == (None, None)
