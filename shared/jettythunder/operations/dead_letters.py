"""Dead letters: look at them, try them again, mend them, or discard them with a reason.

Guarantees given here: a dead letter leaves its queue only after the consumer's queue has confirmed its copy,
or, for a discarded one, after the reason is committed to the audit.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime

from pydantic import BaseModel, ConfigDict, model_validator

from jettythunder.broker import topology
from jettythunder.broker.dead_letter_queue import DeadMessage, give_back, open_dead_letters
from jettythunder.broker.decoding import decode_by_hand
from jettythunder.broker.publisher import Publisher
from jettythunder.broker.topology import ConsumerQueue
from jettythunder.errors import ConsumerNotFound, DeadLetterNotFound
from jettythunder.operations.audit import Audit
from jettythunder.operations.pacing import Pace

# So many ids of discarded or retried messages are kept in the audit; the count is always exact.
_AUDITED_IDS = 1000


class DeadLetter(BaseModel):
    """A message that its consumer could not process, and why."""

    model_config = ConfigDict(frozen=True)

    consumer: str
    message_id: str
    type: str
    error_type: str
    error_code: str
    error_message: str
    fingerprint: str
    attempts: int
    first_failed_at: datetime | None
    last_failed_at: datetime | None
    body: str


class DeadLetterGroup(BaseModel):
    """Dead letters of one consumer that failed in the same way at the same place."""

    consumer: str
    error_type: str
    error_code: str
    fingerprint: str
    count: int = 0
    types: dict[str, int] = {}
    error_message: str = ""
    example_id: str = ""
    oldest_at: datetime | None = None
    newest_at: datetime | None = None


class Selection(BaseModel):
    """Which dead letters are meant: those that fulfil all that is given, or all there are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    consumer: str | None = None
    ids: tuple[str, ...] = ()
    error_type: str | None = None
    fingerprint: str | None = None
    type: str | None = None
    everything: bool = False

    @model_validator(mode="after")
    def _says_which(self) -> "Selection":
        narrowed = self.consumer or self.ids or self.error_type or self.fingerprint or self.type
        if bool(narrowed) == self.everything:
            raise ValueError("say which dead letters, by consumer, id, error, fingerprint or type; or all")
        return self

    def takes(self, letter: DeadLetter) -> bool:
        """Whether the dead letter is meant."""
        return (
            self.consumer in (None, letter.consumer)
            and (not self.ids or letter.message_id in self.ids)
            and self.error_type in (None, letter.error_type)
            and self.fingerprint in (None, letter.fingerprint)
            and self.type in (None, letter.type)
        )


Progress = Callable[[int], None]


class DeadLetters:
    """Works on the dead-letter queues."""

    def __init__(self, url: str, publisher: Publisher, audit: Audit) -> None:
        self._url = url
        self._publisher = publisher
        self._audit = audit

    async def groups(self, consumer: str | None = None) -> list[DeadLetterGroup]:
        """The dead letters by consumer, exception and fingerprint; the largest groups first."""
        groups: dict[tuple[str, str, str], DeadLetterGroup] = {}
        for letter in await self.all(consumer):
            _count(groups, letter)
        return sorted(groups.values(), key=lambda group: (-group.count, group.consumer, group.fingerprint))

    async def all(self, consumer: str | None = None) -> list[DeadLetter]:
        """All dead letters there are, in each queue's order.

        Raises:
            ConsumerNotFound: there is no consumer of that name.
            DeadLettersBusy: somebody else works on one of the queues.
        """
        letters: list[DeadLetter] = []
        for queue in _queues(consumer):
            async with open_dead_letters(self._url, queue) as messages:
                letters += [_read(queue, message) for message in messages]
        return letters

    async def fetch(self, message_id: str, *, consumer: str | None = None) -> DeadLetter:
        """One dead letter.

        Raises:
            DeadLetterNotFound: there is none of that id.
        """
        for queue in _queues(consumer):
            async with open_dead_letters(self._url, queue) as messages:
                for message in messages:
                    if message.message_id == message_id:
                        return _read(queue, message)
        raise DeadLetterNotFound

    async def retry(
        self,
        selection: Selection,
        *,
        who: str,
        rate: float | None = None,
        on_progress: Progress = lambda _: None,
    ) -> int:
        """Give dead letters back to their consumer, with a clean slate; how many were.

        Raises:
            DeadLettersBusy: somebody else works on one of the queues.
        """
        return await self._settle_all(
            "retry", selection, self._give_back, who=who, rate=rate, on_progress=on_progress
        )

    async def discard(self, selection: Selection, *, why: str, who: str) -> int:
        """Take dead letters away for good; how many were.

        Raises:
            DeadLettersBusy: somebody else works on one of the queues.
        """
        return await self._settle_all("discard", selection, None, who=who, why=why)

    async def edit_and_retry(
        self, message_id: str, body: str, *, who: str, consumer: str | None = None
    ) -> DeadLetter:
        """Give a dead letter back to its consumer with another body; what it was before.

        Raises:
            MalformedEvent: the new body is not an event that the consumer takes; nothing was changed.
            DeadLetterNotFound: there is none of that id.
        """
        for queue in _queues(consumer):
            async with open_dead_letters(self._url, queue) as messages:
                for message in messages:
                    if message.message_id == message_id:
                        await self._give_back_edited(queue, message, body, who=who)
                        return _read(queue, message)
        raise DeadLetterNotFound

    async def _give_back_edited(
        self, queue: ConsumerQueue, message: DeadMessage, body: str, *, who: str
    ) -> None:
        edited = decode_by_hand(queue, body)
        before = message.body.decode(errors="replace")
        wanted = {"consumer": queue.name, "id": message.message_id, "before": before, "after": body}
        async with self._audit.entry(who=who, action="dead-letters edit-and-retry", wanted=wanted) as result:
            await give_back(
                self._publisher,
                queue,
                message,
                body=body.encode(),
                event_type=edited.type,
                message_id=str(edited.id),
            )
            await message.remove()
            result["retried"] = 1

    async def _settle_all(
        self,
        action: str,
        selection: Selection,
        give: Callable[[ConsumerQueue, DeadMessage], Awaitable[None]] | None,
        *,
        who: str,
        rate: float | None = None,
        why: str | None = None,
        on_progress: Progress = lambda _: None,
    ) -> int:
        wanted = selection.model_dump(mode="json", exclude_defaults=True)
        if why is not None:
            wanted["why"] = why
        pace = Pace(rate)
        ids: list[str] = []
        async with self._audit.entry(who=who, action=f"dead-letters {action}", wanted=wanted) as result:
            for queue in _queues(selection.consumer):
                async with open_dead_letters(self._url, queue) as messages:
                    meant = [message for message in messages if selection.takes(_read(queue, message))]
                    for begin in range(0, len(meant), pace.batch_size):
                        batch = meant[begin : begin + pace.batch_size]
                        if give is not None:
                            await asyncio.gather(*(give(queue, message) for message in batch))
                        for message in batch:
                            await message.remove()
                        ids += [message.message_id for message in batch]
                        result.update({"count": len(ids), "ids": ids[:_AUDITED_IDS]})
                        on_progress(len(ids))
                        await pace.did(len(batch))
            result.update({"count": len(ids), "ids": ids[:_AUDITED_IDS]})
        return len(ids)

    async def _give_back(self, queue: ConsumerQueue, message: DeadMessage) -> None:
        await give_back(self._publisher, queue, message)


def _queues(consumer: str | None) -> tuple[ConsumerQueue, ...]:
    if consumer is None:
        return topology.consumer_queues()
    queue = topology.consumer_queue(consumer)
    if queue is None:
        known = ", ".join(queue.name for queue in topology.consumer_queues())
        raise ConsumerNotFound(f"There is no consumer {consumer[:100]!r}. The consumers are: {known}.")
    return (queue,)


def _read(queue: ConsumerQueue, message: DeadMessage) -> DeadLetter:
    return DeadLetter(
        consumer=queue.name,
        message_id=message.message_id,
        type=message.event_type,
        body=message.body.decode(errors="replace"),
        **asdict(message.failure),
    )


def _count(groups: dict[tuple[str, str, str], DeadLetterGroup], letter: DeadLetter) -> None:
    key = letter.consumer, letter.error_type, letter.fingerprint
    group = groups.setdefault(
        key,
        DeadLetterGroup(
            consumer=letter.consumer,
            error_type=letter.error_type,
            error_code=letter.error_code,
            fingerprint=letter.fingerprint,
            error_message=letter.error_message,
            example_id=letter.message_id,
        ),
    )
    group.count += 1
    group.types[letter.type] = group.types.get(letter.type, 0) + 1
    if letter.first_failed_at is not None:
        group.oldest_at = min(group.oldest_at or letter.first_failed_at, letter.first_failed_at)
    if letter.last_failed_at is not None:
        group.newest_at = max(group.newest_at or letter.last_failed_at, letter.last_failed_at)
