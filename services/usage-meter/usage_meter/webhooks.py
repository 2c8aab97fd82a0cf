"""Webhooks: AgentCache is told of quotas, signed, as Standard Webhooks does it.

The scheme is https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md: the
signature is HMAC-SHA-256 over ``id.timestamp.body``. A webhook is sent at least once: retries wait in the
broker, and the receiver tells repetitions by ``webhook-id``, which is the event's id. One that was taken is
noted in the inbox and not sent again, so replaying the event log sends only what was never delivered.
"""

import base64
import hashlib
import hmac
import json
import time
from typing import Annotated, Any
from uuid import UUID

import aiohttp
from faststream import Context
from faststream.rabbit import RabbitRouter

from jettythunder.broker.subscribers import consumes, of_type
from jettythunder.contracts.envelope import CONTENT_TYPE, Event
from jettythunder.contracts.quota import QuotaExceededV1, QuotaRestoredV1, QuotaThresholdCrossedV1
from jettythunder.database import Pool
from jettythunder.errors import WebhookRefused, WebhookUndelivered
from jettythunder.outbox import inbox
from usage_meter.messages import USAGE_METER_WEBHOOKS
from usage_meter.repository import AccountRepository

_CONSUMER = USAGE_METER_WEBHOOKS.name
_TIMEOUT = aiohttp.ClientTimeout(total=10)

# Besides failures of the server, what HTTP says to try again: time-out, too early, too many requests.
_LATER = frozenset({408, 425, 429})


def key_of(secret: str) -> bytes:
    """The HMAC key of a secret: what follows ``whsec_``, in base64, as the scheme has it, or its bytes."""
    if secret.startswith("whsec_"):
        return base64.b64decode(secret.removeprefix("whsec_"))
    return secret.encode()


def signature(key: bytes, *, message_id: str, timestamp: int, body: bytes) -> str:
    """The ``webhook-signature`` header: version, comma, and the HMAC in base64."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


class Webhooks:
    """Sends what is said about quotas to AgentCache.

    Args:
        url: where to; None sends nothing.
        secret: what both sides sign with.
    """

    def __init__(
        self,
        pool: Pool,
        repository: AccountRepository,
        http: aiohttp.ClientSession,
        *,
        url: str | None,
        secret: str,
    ) -> None:
        self._pool = pool
        self._repository = repository
        self._http = http
        self._url = url
        self._key = key_of(secret)

    async def send(self, event: Event[Any]) -> None:
        """Send one event, with the user's id as AgentCache knows it, unless the receiver has taken it before.

        Raises:
            WebhookUndelivered: the receiver can't be reached or failed; try again later.
            WebhookRefused: the receiver would refuse it again.
        """
        if self._url is None or await inbox.seen(self._pool, consumer=_CONSUMER, event_id=event.id):
            return
        await self._post(self._url, event)
        await inbox.note(self._pool, consumer=_CONSUMER, event_id=event.id)

    async def _post(self, url: str, event: Event[Any]) -> None:
        body = await self._body(event)
        timestamp = int(time.time())
        headers = {
            "Content-Type": CONTENT_TYPE,
            "webhook-id": str(event.id),
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(
                self._key, message_id=str(event.id), timestamp=timestamp, body=body
            ),
        }
        try:
            async with self._http.post(
                url, data=body, headers=headers, timeout=_TIMEOUT, allow_redirects=False
            ) as answer:
                status = answer.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise WebhookUndelivered(f"The webhook was not taken: {type(error).__name__}.") from error
        if status >= 500 or status in _LATER:
            raise WebhookUndelivered(f"The webhook's receiver answered {status}.")
        if not 200 <= status < 300:
            raise WebhookRefused(f"The webhook's receiver answered {status}.")

    async def _body(self, event: Event[Any]) -> bytes:
        account_id: UUID = event.data.account_id
        envelope = event.model_dump(mode="json", exclude_none=True)
        envelope["data"]["agentcache_user_id"] = await self._repository.user_of(self._pool, account_id)
        return json.dumps(envelope, separators=(",", ":")).encode()


router = RabbitRouter()
events = router.subscriber(**consumes(USAGE_METER_WEBHOOKS, prefetch=10))
ROUTERS = (router,)

Sender = Annotated[Webhooks, Context("webhooks")]


@events(filter=of_type(QuotaThresholdCrossedV1))
async def on_threshold_crossed(event: Event[QuotaThresholdCrossedV1], webhooks: Sender) -> None:
    """Tell AgentCache that use rose past a threshold."""
    await webhooks.send(event)


@events(filter=of_type(QuotaExceededV1))
async def on_quota_exceeded(event: Event[QuotaExceededV1], webhooks: Sender) -> None:
    """Tell AgentCache that a quota is used up."""
    await webhooks.send(event)


@events(filter=of_type(QuotaRestoredV1))
async def on_quota_restored(event: Event[QuotaRestoredV1], webhooks: Sender) -> None:
    """Tell AgentCache that an account is below its quota again."""
    await webhooks.send(event)
