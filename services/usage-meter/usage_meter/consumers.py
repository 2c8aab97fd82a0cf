"""What the usage-meter hears: each event becomes one fact, booked with others in a batch."""

from collections.abc import Awaitable, Callable
from typing import Any

from jettythunder.broker.consumer import Consumer
from jettythunder.contracts.accounts import AccountProvisionedV1, AccountTierChangedV1
from jettythunder.contracts.assets import AssetDeletedV1, AssetDownloadedV1, AssetStreamedV1
from jettythunder.contracts.envelope import Event
from jettythunder.contracts.uploads import UploadAbortedV1, UploadCompletedV1
from usage_meter.domain import Fact, FactKind, Resource

Record = Callable[[Fact], Awaitable[None]]


def register(consumer: Consumer, record: Record) -> None:
    """Let ``record`` take the fact of every event that the queue is bound to."""
    handlers = Handlers(record)
    consumer.on(UploadCompletedV1, handlers.on_upload_completed)
    consumer.on(UploadAbortedV1, handlers.on_upload_aborted)
    consumer.on(AssetDownloadedV1, handlers.on_asset_downloaded)
    consumer.on(AssetStreamedV1, handlers.on_asset_streamed)
    consumer.on(AssetDeletedV1, handlers.on_asset_deleted)
    consumer.on(AccountProvisionedV1, handlers.on_quota_changed)
    consumer.on(AccountTierChangedV1, handlers.on_quota_changed)


class Handlers:
    """Turns events into facts."""

    def __init__(self, record: Record) -> None:
        self._record = record

    async def on_upload_completed(self, event: Event[UploadCompletedV1]) -> None:
        """The stored bytes are used; the reservation is settled."""
        upload = event.data
        await self._record(
            _fact(
                event,
                FactKind.SETTLED,
                used_bytes=upload.stored_bytes,
                reservation_id=upload.upload_id,
                asset_id=upload.asset_id,
                request_count=1,
            )
        )

    async def on_upload_aborted(self, event: Event[UploadAbortedV1]) -> None:
        """Nothing was stored; the reservation is released."""
        await self._record(_fact(event, FactKind.RELEASED, reservation_id=event.data.upload_id))

    async def on_asset_downloaded(self, event: Event[AssetDownloadedV1]) -> None:
        """A signed download counts with the asset's size."""
        await self._record(_sent(event, event.data.size_bytes))

    async def on_asset_streamed(self, event: Event[AssetStreamedV1]) -> None:
        """The bytes really sent count; the rest of what was reserved is released."""
        await self._record(_sent(event, event.data.sent_bytes))

    async def on_asset_deleted(self, event: Event[AssetDeletedV1]) -> None:
        """The asset's bytes are no longer used."""
        asset = event.data
        requested = int(asset.reason == "request")
        await self._record(
            _fact(
                event,
                FactKind.REMOVED,
                used_bytes=asset.size_bytes,
                asset_id=asset.asset_id,
                request_count=requested,
            )
        )

    async def on_quota_changed(
        self, event: Event[AccountProvisionedV1] | Event[AccountTierChangedV1]
    ) -> None:
        """The quotas are in force already; what is to be said about them may have changed."""
        await self._record(_fact(event, FactKind.QUOTA_CHANGED))


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
