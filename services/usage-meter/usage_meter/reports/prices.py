"""Prices, and the costs that are computed with them."""

from datetime import UTC, date, datetime
from decimal import Decimal

from jettythunder.database import Database
from jettythunder.errors import InvalidField
from usage_meter.ledger.model import Resource
from usage_meter.reports.model import Price
from usage_meter.reports.store import ReportStore
from usage_meter.rollups.store import RollupStore


class Prices:
    """Reads and sets prices."""

    def __init__(self, database: Database, store: ReportStore, rollups: RollupStore) -> None:
        self._database = database
        self._store = store
        self._rollups = rollups

    async def list_all(self) -> list[Price]:
        """All prices, the newest first."""
        return await self._store.prices(self._database)

    async def set_price(
        self, *, resource: Resource, effective_from: date, usd_per_gb: Decimal, source: str
    ) -> None:
        """Set a price from a month on; the costs of what it prices are computed again.

        Raises:
            InvalidField: ``effective_from`` is not the first day of a month.
        """
        if effective_from.day != 1:
            raise InvalidField("A price begins with a month: give its first day, in UTC.")
        start = datetime.combine(effective_from, datetime.min.time(), UTC)
        async with self._database.transaction() as connection:
            await self._store.set_price(
                connection, resource=resource, effective_from=start, usd_per_gb=usd_per_gb, source=source
            )
            await self._rollups.queue_hours_since(connection, from_at=start)
