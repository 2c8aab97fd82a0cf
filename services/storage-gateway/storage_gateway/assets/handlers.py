"""What the gateway does with events about assets."""

from typing import Annotated

from faststream import Context
from faststream.rabbit import RabbitRouter

from jettythunder.broker.subscribers import consumes, of_type
from jettythunder.contracts.assets import AssetObjectMissingV1
from jettythunder.contracts.envelope import Event
from storage_gateway.assets.lost import LostObjects
from storage_gateway.messages import STORAGE_GATEWAY_EVENTS

router = RabbitRouter()
ROUTERS = (router,)
events = router.subscriber(**consumes(STORAGE_GATEWAY_EVENTS, prefetch=10))


@events(filter=of_type(AssetObjectMissingV1))
async def on_object_missing(
    event: Event[AssetObjectMissingV1], lost: Annotated[LostObjects, Context("lost_objects")]
) -> None:
    """Reconciliation found no object for an asset: delete the asset, unless its object is there after all."""
    await lost.check(
        event.id,
        event_time=event.time,
        account_id=event.data.account_id,
        asset_id=event.data.asset_id,
    )
