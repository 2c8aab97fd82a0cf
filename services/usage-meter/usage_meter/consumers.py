"""What the usage-meter hears: each event becomes one fact, booked with others in a batch."""

from typing import Any

from jettythunder.broker.batches import BatchConsumer
from jettythunder.contracts.accounts import AccountProvisionedV1, AccountTierChangedV1
from jettythunder.contracts.assets import AssetDeletedV1, AssetDownloadedV1, AssetStreamedV1
from jettythunder.contracts.envelope import Event
from jettythunder.contracts.uploads import UploadAbortedV1, UploadCompletedV1
from usage_meter.domain import Fact, FactKind, Resource


def register(consumer: BatchConsumer[Fact]) -> None:
    """Say what becomes of every event that the queue is bound to."""
    consumer.on(UploadCompletedV1, on_upload_completed)
    consumer.on(UploadAbortedV1, on_upload_aborted)
    consumer.on(AssetDownloadedV1, on_asset_downloaded)
    consumer.on(AssetStreamedV1, on_asset_streamed)
    consumer.on(AssetDeletedV1, on_asset_deleted)
    consumer.on(AccountProvisionedV1, on_quota_changed)
    consumer.on(AccountTierChangedV1, on_quota_changed)


def on_upload_completed(event: Event[UploadCompletedV1]) -> Fact:
    """The stored bytes are used; the reservation is settled."""
    return _fact(
        event,
        FactKind.SETTLED,
        used_bytes=event.data.stored_bytes,
        reservation_id=event.data.upload_id,
        asset_id=event.data.asset_id,
        request_count=1,
    )


def on_upload_aborted(event: Event[UploadAbortedV1]) -> Fact:
    """Nothing was stored; the reservation is released."""
    return _fact(event, FactKind.RELEASED, reservation_id=event.data.upload_id)


def on_asset_downloaded(event: Event[AssetDownloadedV1]) -> Fact:
    """A signed download counts with the asset's size."""
    return _sent(event, event.data.size_bytes)


def on_asset_streamed(event: Event[AssetStreamedV1]) -> Fact:
    """The bytes really sent count; the rest of what was reserved is released."""
    return _sent(event, event.data.sent_bytes)


def on_asset_deleted(event: Event[AssetDeletedV1]) -> Fact:
    """The asset's bytes are no longer used. Its expiry is nobody's request."""
    return _fact(
        event,
        FactKind.REMOVED,
        used_bytes=event.data.size_bytes,
        asset_id=event.data.asset_id,
        request_count=int(event.data.reason == "request"),
    )


def on_quota_changed(event: Event[AccountProvisionedV1] | Event[AccountTierChangedV1]) -> Fact:
    """The quotas are in force already; what is to be said about them may have changed."""
    return _fact(event, FactKind.QUOTA_CHANGED)


def _sent(event: Event[AssetDownloadedV1] | Event[AssetStreamedV1], used_bytes: int) -> Fact:
    return _fact(
        event,
        FactKind.SETTLED,
        resource=Resource.BANDWIDTH,
        used_bytes=used_bytes,
        reservation_id=event.data.reservation_id,
        asset_id=event.data.asset_id,
        request_count=1,
    )


def _fact(event: Event[Any], kind: FactKind, **figures: Any) -> Fact:
    return Fact(
        event_id=event.id,
        account_id=event.data.account_id,
        occurred_at=event.time,
        kind=kind,
        **figures,
    )
