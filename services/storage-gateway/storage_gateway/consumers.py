"""What the gateway does with events: reconciliation's news of assets that have lost their object."""

from typing import Annotated

from faststream import Context
from faststream.rabbit import RabbitRouter

from jettythunder.broker.subscribers import consumes, of_type
from jettythunder.contracts.assets import AssetObjectMissingV1
from jettythunder.contracts.envelope import Event
from storage_gateway.messages import STORAGE_GATEWAY_EVENTS
from storage_gateway.service.lost import LostObjects

router = RabbitRouter()
events = router.subscriber(**consumes(STORAGE_GATEWAY_EVENTS, prefetch=10))
ROUTERS = (router,)


@events(filter=of_type(AssetObjectMissingV1))
async def on_object_missing(
    event: Event[AssetObjectMissingV1], lost: Annotated[LostObjects, Context("lost")]
) -> None:
    """Give the asset up, unless its object is there after all."""
    await lost.give_up(event.id, account_id=event.data.account_id, asset_id=event.data.asset_id)
