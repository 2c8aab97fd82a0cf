"""Looking at dead letters. Nothing is taken out, and no more than a window of them is held in memory."""

import contextlib
from collections.abc import AsyncGenerator

from operations.consumers import Consumers
from operations.dead_letters.model import DeadLetter, DeadLetterGroup, Groups
from operations.dead_letters.queues import DeadLetterQueues, read, windows_of
from operations.errors import DeadLetterNotFound


class LookAtDeadLetters:
    """Counts and shows dead letters."""

    def __init__(self, consumers: Consumers, queues: DeadLetterQueues) -> None:
        self._consumers = consumers
        self._queues = queues

    async def groups(self, consumer: str | None = None) -> list[DeadLetterGroup]:
        """The dead letters by consumer, exception and fingerprint; the largest groups first.

        Raises:
            ConsumerNotFound: there is no consumer of that name.
            DeadLettersBusy: somebody else works on one of the queues.
            BrokerUnavailable: the broker was lost.
        """
        groups = Groups()
        async with contextlib.aclosing(self.letters(consumer)) as letters:
            async for letter in letters:
                groups.add(letter)
        return groups.largest_first()

    async def fetch(self, message_id: str, *, consumer: str | None = None) -> DeadLetter:
        """One dead letter.

        Raises:
            DeadLetterNotFound: there is none of that id.
            ConsumerNotFound, DeadLettersBusy, BrokerUnavailable: as for :meth:`groups`.
        """
        async with contextlib.aclosing(self.letters(consumer)) as letters:
            async for letter in letters:
                if letter.message_id == message_id:
                    return letter
        raise DeadLetterNotFound

    async def letters(self, consumer: str | None = None) -> AsyncGenerator[DeadLetter, None]:
        """All dead letters there are, in each queue's order; the queue is held until the last was read.

        Raises:
            ConsumerNotFound, DeadLettersBusy, BrokerUnavailable: as for :meth:`groups`.
        """
        for queue in self._consumers.chosen(consumer):
            async with contextlib.aclosing(windows_of(self._queues, queue)) as windows:
                async for window in windows:
                    for message in window:
                        yield read(queue, message)
