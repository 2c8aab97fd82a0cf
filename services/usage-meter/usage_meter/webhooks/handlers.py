"""What is announced about quotas, as it arrives."""

from typing import Annotated

from faststream import Context
from faststream.rabbit import RabbitRouter

from jettythunder.broker.subscribers import consumes, of_type
from jettythunder.contracts.envelope import Event
from jettythunder.contracts.quota import QuotaExceededV1, QuotaRestoredV1, QuotaThresholdCrossedV1
from usage_meter.messages import USAGE_METER_WEBHOOKS
from usage_meter.webhooks.send import Webhooks

_AT_ONCE = 10

router = RabbitRouter()
ROUTERS = (router,)
announced = router.subscriber(**consumes(USAGE_METER_WEBHOOKS, prefetch=_AT_ONCE))

AnyWebhooks = Annotated[Webhooks, Context("webhooks")]


@announced(filter=of_type(QuotaThresholdCrossedV1))
async def on_threshold_crossed(event: Event[QuotaThresholdCrossedV1], webhooks: AnyWebhooks) -> None:
    """Use of a quota has reached a threshold."""
    await webhooks.send(event)


@announced(filter=of_type(QuotaExceededV1))
async def on_exceeded(event: Event[QuotaExceededV1], webhooks: AnyWebhooks) -> None:
    """A quota is used up."""
    await webhooks.send(event)


@announced(filter=of_type(QuotaRestoredV1))
async def on_restored(event: Event[QuotaRestoredV1], webhooks: AnyWebhooks) -> None:
    """There is room again."""
    await webhooks.send(event)
