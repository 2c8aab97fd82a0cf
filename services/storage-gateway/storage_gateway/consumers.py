"""What the gateway hears: reconciliation's news of assets that have lost their object."""

from jettythunder.backbone import Backbone
from jettythunder.contracts.assets import AssetObjectMissingV1
from jettythunder.contracts.envelope import Event
from jettythunder.topology import STORAGE_GATEWAY_EVENTS
from storage_gateway.service.lost import LostObjects

_PREFETCH = 10


class EventHandlers:
    """The usage-meter's events about assets."""

    def __init__(self, lost: LostObjects) -> None:
        self._lost = lost

    async def on_object_missing(self, event: Event[AssetObjectMissingV1]) -> None:
        """Give the asset up, unless its object is there after all."""
        await self._lost.give_up(event.id, account_id=event.data.account_id, asset_id=event.data.asset_id)


def subscribe(backbone: Backbone, lost: LostObjects) -> None:
    """Register every handler; messages flow once the backbone is started."""
    handlers = EventHandlers(lost)
    consumer = backbone.consumer(STORAGE_GATEWAY_EVENTS, prefetch=_PREFETCH)
    consumer.on(AssetObjectMissingV1, handlers.on_object_missing)
