"""The dead-letter queues, as far as the use-cases need them."""

import contextlib
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from jettythunder.broker.dead_letter_queue import WINDOW_SIZE, DeadMessage
from jettythunder.broker.topology import ConsumerQueue
from operations.dead_letters.model import DeadLetter


class OpenQueue(Protocol):
    """One consumer's dead letters, while nobody else works on them."""

    def windows(self) -> AsyncGenerator[list[DeadMessage], None]:
        """The messages from the oldest to the newest of when it was opened, a window at a time."""
        ...


class DeadLetterQueues(Protocol):
    """All dead-letter queues."""

    def open(
        self, queue: ConsumerQueue, *, window_size: int = WINDOW_SIZE
    ) -> AbstractAsyncContextManager[OpenQueue | None]:
        """Work on one, if there is one; what is not removed stays in its order."""
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


async def windows_of(
    queues: DeadLetterQueues, queue: ConsumerQueue, *, window_size: int = WINDOW_SIZE
) -> AsyncGenerator[list[DeadMessage], None]:
    """The dead letters of a queue, a window at a time; none where there is no queue yet."""
    async with queues.open(queue, window_size=window_size) as opened:
        if opened is None:
            return
        async with contextlib.aclosing(opened.windows()) as windows:
            async for window in windows:
                yield window


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
