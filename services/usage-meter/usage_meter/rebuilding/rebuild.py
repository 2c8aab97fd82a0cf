"""Rebuilding: the event log is read, and what it says is set beside the ledger. Nothing is changed."""

import contextlib
from collections.abc import AsyncIterator
from uuid import UUID

from jettythunder.broker.decoding import decode
from jettythunder.broker.event_log import EventFilter, EventLog, open_event_log
from jettythunder.contracts.accounts import AccountProvisionedV1
from jettythunder.contracts.assets import AssetDeletedV1, AssetDownloadedV1, AssetStreamedV1
from jettythunder.contracts.uploads import UploadCompletedV1
from jettythunder.database import Database
from jettythunder.errors import MalformedEvent
from usage_meter.ledger.events import fact_of
from usage_meter.ledger.model import Fact
from usage_meter.messages import USAGE_METER_EVENTS
from usage_meter.rebuilding.model import Rebuilt, compare
from usage_meter.rebuilding.store import RebuildingStore

_METERED = (
    UploadCompletedV1.TYPE,
    AssetDeletedV1.TYPE,
    AssetDownloadedV1.TYPE,
    AssetStreamedV1.TYPE,
    AccountProvisionedV1.TYPE,
)


class Rebuilding:
    """Computes used bytes from the event log.

    Args:
        rabbitmq_url: the broker that keeps the log.
    """

    def __init__(self, database: Database, store: RebuildingStore, *, rabbitmq_url: str) -> None:
        self._database = database
        self._store = store
        self._rabbitmq_url = rabbitmq_url

    async def rebuild(self, account_id: UUID | None = None) -> Rebuilt:
        """Compute the used bytes of one account or of all, and set them beside the ledger's.

        The ledger is read after the log. Events that it has not booked yet are left out, and so are entries
        that were booked since the reading began and whose event came too late for it: a system at work shows
        no false differences.

        Raises:
            BrokerUnavailable: the log can't be read.
        """
        began_at = await self._store.clock(self._database)
        facts: dict[UUID, Fact] = {}
        async with open_event_log(self._rabbitmq_url) as log:
            async for fact in _facts(log, account_id):
                facts.setdefault(fact.event_id, fact)
        event_ids = list(facts)
        async with self._database.transaction(isolation="repeatable_read", readonly=True) as snapshot:
            known = await self._store.known_events(
                snapshot, consumer=USAGE_METER_EVENTS.name, event_ids=event_ids
            )
            sums = await self._store.ledger_sums(
                snapshot, account_id=account_id, event_ids=event_ids, began_at=began_at
            )
            beyond_log = await self._store.accounts_beyond_log(
                snapshot, account_id=account_id, event_ids=event_ids, began_at=began_at
            )
        return Rebuilt(
            events=len(facts),
            pending_events=len(facts) - len(known),
            accounts=compare((facts[event_id] for event_id in known), sums, beyond_log=beyond_log),
        )


async def _facts(log: EventLog, account_id: UUID | None) -> AsyncIterator[Fact]:
    """What the log's metered events say; what is none is passed over, as the ledger does."""
    wanted = EventFilter(types=_METERED, account=str(account_id) if account_id else None)
    async with contextlib.aclosing(log.read(start=wanted.begin)) as logged_events:
        async for logged in logged_events:
            if logged.event is None or not wanted.takes(logged.event):
                continue
            with contextlib.suppress(MalformedEvent):
                event = decode(USAGE_METER_EVENTS, logged.body, routing_key=logged.routing_key, headers={})
                yield fact_of(event)
