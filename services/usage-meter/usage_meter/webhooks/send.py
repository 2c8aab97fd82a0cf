"""Sending webhooks, signed as Standard Webhooks says.

The scheme is https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md: the
signature is HMAC-SHA-256 over ``id.timestamp.body``. A webhook is sent at least once: retries wait in the
broker, and the receiver tells repetitions by ``webhook-id``, which is the event's id. One that was taken is
noted in the inbox and not sent again, so replaying the event log sends only what was never delivered.
"""

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeAlias

import aiohttp
from prometheus_client import Histogram
from standardwebhooks import Webhook

from jettythunder import tracing
from jettythunder.contracts.envelope import CONTENT_TYPE, Event
from jettythunder.contracts.quota import QuotaExceededV1, QuotaRestoredV1, QuotaThresholdCrossedV1
from jettythunder.database import Database
from jettythunder.outbox import inbox
from usage_meter.accounts.store import AccountStore
from usage_meter.errors import WebhookRefused, WebhookUndelivered
from usage_meter.messages import USAGE_METER_WEBHOOKS

AnyAnnouncement: TypeAlias = Event[QuotaThresholdCrossedV1] | Event[QuotaExceededV1] | Event[QuotaRestoredV1]

_CONSUMER = USAGE_METER_WEBHOOKS.name
_TIMEOUT = aiohttp.ClientTimeout(total=10)

# Besides failures of the server, what HTTP says to try again: time-out, too early, too many requests.
_LATER = frozenset({408, 425, 429})

_seconds = Histogram(
    "jettythunder_webhook_seconds",
    "Time until the receiver of a webhook had answered, or had not",
    ["outcome"],
)
for _outcome in ("delivered", "refused", "undelivered"):
    _seconds.labels(_outcome)


class Webhooks:
    """Sends announcements to AgentCache.

    Args:
        url: where to; None sends nothing.
        keys: what both sides sign with: one, or two during a rotation, when webhooks have both signatures.
    """

    def __init__(
        self,
        database: Database,
        accounts: AccountStore,
        http: aiohttp.ClientSession,
        *,
        url: str | None,
        keys: Sequence[bytes],
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._http = http
        self._url = url
        self._keys = keys

    async def send(self, event: AnyAnnouncement) -> None:
        """Send one event, with the user's id as AgentCache knows it, unless the receiver has taken it before.

        Raises:
            WebhookUndelivered: the receiver can't be reached or failed; try again later.
            WebhookRefused: the receiver would refuse it again.
        """
        if self._url is None or await inbox.seen(self._database, consumer=_CONSUMER, event_id=event.id):
            return
        body = await self._body(event)
        await self._post(self._url, body, headers=signed_headers(self._keys, str(event.id), body))
        await inbox.note(self._database, consumer=_CONSUMER, event_id=event.id, event_time=event.time)

    async def _body(self, event: AnyAnnouncement) -> bytes:
        envelope = event.model_dump(mode="json", exclude_none=True)
        envelope["data"]["agentcache_user_id"] = await self._accounts.user_of(
            self._database, account_id=event.data.account_id
        )
        return json.dumps(envelope, separators=(",", ":")).encode()

    async def _post(self, url: str, body: bytes, *, headers: dict[str, str]) -> None:
        began = time.monotonic()
        outcome = "undelivered"
        try:
            await self._deliver(url, body, headers=headers)
            outcome = "delivered"
        except WebhookRefused:
            outcome = "refused"
            raise
        finally:
            _seconds.labels(outcome).observe(time.monotonic() - began, tracing.exemplar())

    async def _deliver(self, url: str, body: bytes, *, headers: dict[str, str]) -> None:
        with tracing.calling("POST webhook", {"http.request.method": "POST"}) as call:
            try:
                async with self._http.post(
                    url,
                    data=body,
                    headers={**headers, **call.headers},
                    timeout=_TIMEOUT,
                    allow_redirects=False,
                ) as answer:
                    status = answer.status
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise WebhookUndelivered(f"The webhook was not taken: {type(error).__name__}.") from error
            call.note({"http.response.status_code": status})
            if status >= 500 or status in _LATER:
                raise WebhookUndelivered(f"The webhook's receiver answered {status}.")
            if not 200 <= status < 300:
                raise WebhookRefused(f"The webhook's receiver answered {status}.")


def signed_headers(keys: Sequence[bytes], message_id: str, body: bytes) -> dict[str, str]:
    """The headers of a webhook that is sent now."""
    now = datetime.now(UTC)
    return {
        "Content-Type": CONTENT_TYPE,
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Webhook(key).sign(message_id, now, body.decode()) for key in keys),
    }
