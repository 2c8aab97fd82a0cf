"""The dead-letter queues, as far as the use-cases need them."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from jettythunder.broker.dead_letter_queue import DeadMessage
from jettythunder.broker.topology import ConsumerQueue
from operations.dead_letters.model import DeadLetter


class OpenQueue(Protocol):
    """One consumer's dead letters, while nobody else works on them."""

    def windows(self) -> AsyncGenerator[list[DeadMessage], None]:
        """The messages from the oldest on, some at a time, to the newest of when it was opened.

        After :meth:`put_back` the next iteration begins at the oldest again.
        """
        ...

    async def put_back(self) -> None:
        """Give what was delivered and not removed back to its places."""
        ...


class DeadLetterQueues(Protocol):
    """All dead-letter queues."""

    def open(self, queue: ConsumerQueue) -> AbstractAsyncContextManager[OpenQueue]:
        """Work on one; what is not removed goes back to its place at the end."""
        ...

    async def give_back(
        self,
        queue: ConsumerQueue,
        message: DeadMessage,
        *,
        body: bytes | None = None,
        event_type: str | None = None,
        message_id: str | None = None,
    ) -> None:
        """Publish a copy to the consumer, changed where asked for, and wait for its confirm."""
        ...


def read(queue: ConsumerQueue, message: DeadMessage) -> DeadLetter:
    """A message of a dead-letter queue as operators see it."""
    failure = message.failure
    return DeadLetter(
        consumer=queue.name,
        message_id=message.message_id,
        type=message.event_type,
        error_type=failure.error_type,
        error_code=failure.error_code,
        error_message=failure.error_message,
        fingerprint=failure.fingerprint,
        attempts=failure.attempts,
        first_failed_at=failure.first_failed_at,
        last_failed_at=failure.last_failed_at,
        body=message.body.decode(errors="replace"),
    )
