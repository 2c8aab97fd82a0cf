"""The consumers of all services, as operators name them."""

from collections.abc import Sequence

from jettythunder.broker import topology
from jettythunder.broker.topology import ConsumerQueue
from operations.errors import ConsumerHasNoLog, ConsumerNotFound

_LONGEST_NAME_SHOWN = 100


class Consumers:
    """The consumers by the names of their queues."""

    def __init__(self, queues: Sequence[ConsumerQueue]) -> None:
        self._queues = {queue.name: queue for queue in queues}

    def all(self) -> tuple[ConsumerQueue, ...]:
        """All there are."""
        return tuple(self._queues.values())

    def find(self, name: str) -> ConsumerQueue:
        """The consumer of that name.

        Raises:
            ConsumerNotFound: there is none.
        """
        if name in self._queues:
            return self._queues[name]
        raise ConsumerNotFound(
            f"There is no consumer {name[:_LONGEST_NAME_SHOWN]!r}. The consumers are: "
            f"{', '.join(self._queues)}."
        )

    def chosen(self, name: str | None) -> tuple[ConsumerQueue, ...]:
        """The consumer of that name, or all where none is given.

        Raises:
            ConsumerNotFound: there is none of that name.
        """
        return self.all() if name is None else (self.find(name),)

    def find_replayable(self, name: str) -> ConsumerQueue:
        """The consumer of that name, which events can be replayed to.

        Raises:
            ConsumerNotFound: there is none.
            ConsumerHasNoLog: it takes commands, which are not in the log.
        """
        queue = self.find(name)
        if queue.exchange == topology.COMMANDS:
            raise ConsumerHasNoLog
        return queue
