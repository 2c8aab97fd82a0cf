"""The months to come: partitions of the ledger and the hourly rows are made before they are needed."""

from jettythunder.database import Database, Queries

_keep_usage = Queries("usage_meter.scheduling").run("keep_usage")


class Partitions:
    """Makes partitions. What comes before they are made is kept aside, and moved into them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self) -> None:
        """Make those of this month and the next two, where they are not there."""
        await _keep_usage(self._database)
