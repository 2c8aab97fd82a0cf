"""From events to facts: what each metered event says about an account's use."""

from collections.abc import Callable, Mapping
from typing import Any

from jettythunder.contracts.accounts import AccountProvisionedV1, AccountTierChangedV1
from jettythunder.contracts.assets import AssetDeletedV1, AssetDownloadedV1, AssetStreamedV1
from jettythunder.contracts.envelope import Event, Payload
from jettythunder.contracts.uploads import UploadAbortedV1, UploadCompletedV1
from usage_meter.ledger.model import Fact, FactKind, Resource


def on_upload_completed(event: Event[UploadCompletedV1]) -> Fact:
    """The stored bytes are used; the reservation is settled."""
    return Fact(
        event_id=event.id,
        account_id=event.data.account_id,
        occurred_at=event.time,
        kind=FactKind.SETTLED,
        used_bytes=event.data.stored_bytes,
        reservation_id=event.data.upload_id,
        asset_id=event.data.asset_id,
        request_count=1,
    )


def on_upload_aborted(event: Event[UploadAbortedV1]) -> Fact:
    """Nothing was stored; the reservation is released."""
    return Fact(
        event_id=event.id,
        account_id=event.data.account_id,
        occurred_at=event.time,
        kind=FactKind.RELEASED,
        reservation_id=event.data.upload_id,
    )


def on_asset_downloaded(event: Event[AssetDownloadedV1]) -> Fact:
    """A signed download counts with the asset's size."""
    return _sent(event, event.data.size_bytes)


def on_asset_streamed(event: Event[AssetStreamedV1]) -> Fact:
    """The bytes really sent count; the rest of what was reserved is released."""
    return _sent(event, event.data.sent_bytes)


def on_asset_deleted(event: Event[AssetDeletedV1]) -> Fact:
    """The asset's bytes are no longer used. An expiry counts as no request."""
    return Fact(
        event_id=event.id,
        account_id=event.data.account_id,
        occurred_at=event.time,
        kind=FactKind.REMOVED,
        used_bytes=event.data.size_bytes,
        asset_id=event.data.asset_id,
        request_count=int(event.data.reason == "request"),
    )


def on_quota_changed(event: Event[AccountProvisionedV1] | Event[AccountTierChangedV1]) -> Fact:
    """The quotas are in force already; thresholds may have to be announced."""
    return Fact(
        event_id=event.id,
        account_id=event.data.account_id,
        occurred_at=event.time,
        kind=FactKind.QUOTA_CHANGED,
    )


def _sent(event: Event[AssetDownloadedV1] | Event[AssetStreamedV1], used_bytes: int) -> Fact:
    return Fact(
        event_id=event.id,
        account_id=event.data.account_id,
        occurred_at=event.time,
        kind=FactKind.SETTLED,
        resource=Resource.BANDWIDTH,
        used_bytes=used_bytes,
        reservation_id=event.data.reservation_id,
        asset_id=event.data.asset_id,
        request_count=1,
    )


# What becomes of each type of event that the usage-meter's queue is bound to.
PARSERS: Mapping[type[Payload], Callable[[Event[Any]], Fact]] = {
    UploadCompletedV1: on_upload_completed,
    UploadAbortedV1: on_upload_aborted,
    AssetDownloadedV1: on_asset_downloaded,
    AssetStreamedV1: on_asset_streamed,
    AssetDeletedV1: on_asset_deleted,
    AccountProvisionedV1: on_quota_changed,
    AccountTierChangedV1: on_quota_changed,
}


def fact_of(event: Event[Any]) -> Fact:
    """The fact in an event that is metered."""
    return PARSERS[type(event.data)](event)
