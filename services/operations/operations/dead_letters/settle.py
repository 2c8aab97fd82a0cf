"""Dead letters: try them again, mend them, or discard them with a reason.

Guarantees given here: a dead letter leaves its queue only after the consumer's queue has confirmed its copy,
or, for a discarded one, after the reason is committed to the audit. What was done is noted as it goes on, so
that the audit of an operation that was cut off says how far it came.
"""

import asyncio
import contextlib
from collections.abc import Callable

from jettythunder.broker.dead_letter_queue import WINDOW_SIZE, DeadMessage
from jettythunder.broker.decoding import decode_by_hand
from jettythunder.broker.topology import ConsumerQueue
from operations.audit import Audit
from operations.audit.model import MOST_IDS
from operations.audit.record import Entry
from operations.consumers import Consumers
from operations.dead_letters.look import LookAtDeadLetters
from operations.dead_letters.model import DeadLetter, Selection
from operations.dead_letters.queues import DeadLetterQueues, read, windows_of
from operations.errors import DeadLetterNotFound
from operations.pacing import Clock, Pace, SystemClock

_BATCH_SIZE = 200
# RabbitMQ closes a channel that holds a message for half an hour, so a slow retry takes only a few at a time.
_LONGEST_HOLD_SECONDS = 300.0
_NOTE_EVERY = 1000

Progress = Callable[[int], None]


class DeadLetters(LookAtDeadLetters):
    """Everything that is done with dead letters."""

    def __init__(
        self,
        *,
        consumers: Consumers,
        queues: DeadLetterQueues,
        audit: Audit,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(consumers, queues)
        self._audit = audit
        self._clock = clock or SystemClock()

    async def retry(
        self,
        selection: Selection,
        *,
        who: str,
        rate: float | None = None,
        on_progress: Progress = lambda _: None,
    ) -> int:
        """Give dead letters back to their consumer, with their attempts counted anew; how many were.

        Raises:
            DeadLettersBusy: somebody else works on one of the queues.
            BrokerUnavailable: the broker was lost; what was given back until then is in the audit.
        """
        wanted = selection.model_dump(mode="json", exclude_defaults=True)
        async with self._audit.entry(who=who, action="dead-letters retry", wanted=wanted) as entry:
            return await self._settle(selection, entry, give_back=True, rate=rate, on_progress=on_progress)

    async def discard(
        self, selection: Selection, *, why: str, who: str, on_progress: Progress = lambda _: None
    ) -> int:
        """Remove dead letters; how many were.

        Raises:
            DeadLettersBusy: somebody else works on one of the queues.
            BrokerUnavailable: the broker was lost; what was discarded until then is in the audit.
        """
        wanted = {**selection.model_dump(mode="json", exclude_defaults=True), "why": why}
        async with self._audit.entry(who=who, action="dead-letters discard", wanted=wanted) as entry:
            return await self._settle(selection, entry, give_back=False, rate=None, on_progress=on_progress)

    async def edit_and_retry(
        self, message_id: str, body: str, *, who: str, consumer: str | None = None
    ) -> DeadLetter:
        """Give a dead letter back to its consumer with another body; what it was before.

        Raises:
            MalformedEvent: the new body is not an event that the consumer takes; nothing was changed.
            DeadLetterNotFound: there is none of that id.
        """
        for queue in self._consumers.chosen(consumer):
            async with contextlib.aclosing(windows_of(self._queues, queue)) as windows:
                async for window in windows:
                    for message in window:
                        if message.message_id == message_id:
                            await self._give_back_edited(queue, message, body, who=who)
                            return read(queue, message)
        raise DeadLetterNotFound

    async def _give_back_edited(
        self, queue: ConsumerQueue, message: DeadMessage, body: str, *, who: str
    ) -> None:
        edited = decode_by_hand(queue, body)
        before = message.body.decode(errors="replace")
        wanted = {"consumer": queue.name, "id": message.message_id, "before": before, "after": body}
        async with self._audit.entry(who=who, action="dead-letters edit-and-retry", wanted=wanted) as entry:
            await self._queues.give_back(
                queue, message, body=body.encode(), event_type=edited.type, message_id=str(edited.id)
            )
            message.remove()
            entry.result["retried"] = 1

    async def _settle(
        self,
        selection: Selection,
        entry: Entry,
        *,
        give_back: bool,
        rate: float | None,
        on_progress: Progress,
    ) -> int:
        under_way = _Settling(
            self._queues,
            self._clock,
            selection,
            entry,
            give_back=give_back,
            rate=rate,
            on_progress=on_progress,
        )
        for queue in self._consumers.chosen(selection.consumer):
            await under_way.settle(queue)
        return under_way.count


def window_size(rate: float | None) -> int:
    """How many dead letters are held at once, where so many are settled a second at most."""
    return WINDOW_SIZE if rate is None else max(1, int(min(WINDOW_SIZE, rate * _LONGEST_HOLD_SECONDS)))


class _Settling:
    """One retry or discard under way."""

    def __init__(
        self,
        queues: DeadLetterQueues,
        clock: Clock,
        selection: Selection,
        entry: Entry,
        *,
        give_back: bool,
        rate: float | None,
        on_progress: Progress,
    ) -> None:
        self.count = 0
        self._ids: list[str] = []
        self._queues = queues
        self._clock = clock
        self._selection = selection
        self._entry = entry
        self._give_back = give_back
        self._on_progress = on_progress
        self._pace = Pace(rate, clock, largest_batch=_BATCH_SIZE)
        self._window_size = window_size(rate)
        self._keep_result()

    async def settle(self, queue: ConsumerQueue) -> None:
        """Settle all that are meant of one queue."""
        step = self._pace.batch_size
        async with contextlib.aclosing(
            windows_of(self._queues, queue, window_size=self._window_size)
        ) as windows:
            async for window in windows:
                meant = [message for message in window if self._selection.takes(read(queue, message))]
                for start in range(0, len(meant), step):
                    await self._clock.sleep(self._pace.due_in_seconds)
                    await self._settle_batch(queue, meant[start : start + step])

    async def _settle_batch(self, queue: ConsumerQueue, batch: list[DeadMessage]) -> None:
        outcomes = await asyncio.gather(
            *(self._settle_one(queue, message) for message in batch), return_exceptions=True
        )
        settled = [m for m, outcome in zip(batch, outcomes, strict=True) if outcome is None]
        before = self.count
        self.count += len(settled)
        self._ids += [message.message_id for message in settled[: MOST_IDS - len(self._ids)]]
        self._pace.did(len(settled))
        self._keep_result()
        for outcome in outcomes:
            if outcome is not None:
                raise outcome
        if before // _NOTE_EVERY < self.count // _NOTE_EVERY:
            await self._entry.note()
        self._on_progress(self.count)

    async def _settle_one(self, queue: ConsumerQueue, message: DeadMessage) -> None:
        if self._give_back:
            await self._queues.give_back(queue, message)
        message.remove()

    def _keep_result(self) -> None:
        self._entry.result.update({"count": self.count, "ids": self._ids})
