"""What failed is tried again or visible with its reason, and nothing else waits for it."""

from __future__ import annotations

import time
from datetime import datetime
from uuid import UUID, uuid4

import pytest
from tests.integration.messaging.conftest import QUEUE, RETRY_DELAYS_SECONDS, Bench, deleted
from tests.support.waiting import eventually

from jettythunder.broker.settling import JITTER
from jettythunder.broker.subscribers import IMMEDIATE_ATTEMPTS
from jettythunder.contracts.assets import AssetDeletedV1
from jettythunder.contracts.envelope import Event
from jettythunder.errors import AccountNotFound, JettyThunderError, StorageUnavailable
from operations.dead_letters import Selection

POISON_BYTES = 666


async def test_a_failure_worth_retrying_is_tried_again_after_growing_waits(bench: Bench) -> None:
    attempts: list[float] = []

    async def fail(_: Event[AssetDeletedV1]) -> None:
        attempts.append(time.monotonic())
        raise StorageUnavailable

    bench.handler = fail
    await bench.commit(deleted())
    [letter] = await bench.dead_letters(1)
    assert len(attempts) == IMMEDIATE_ATTEMPTS * (len(RETRY_DELAYS_SECONDS) + 1)
    waits = [attempts[i] - attempts[i - 1] for i in range(2, len(attempts), IMMEDIATE_ATTEMPTS)]
    for wait, delay in zip(waits, RETRY_DELAYS_SECONDS, strict=True):
        assert wait >= delay * (1 - JITTER)
    assert letter.attempts == len(RETRY_DELAYS_SECONDS) + 1


async def test_a_failure_that_mends_itself_leaves_no_dead_letter(bench: Bench) -> None:
    failures = iter([StorageUnavailable(), StorageUnavailable()])

    async def fail_at_first(_: Event[AssetDeletedV1]) -> None:
        for failure in failures:
            raise failure

    bench.handler = fail_at_first
    committed = await bench.commit(deleted())
    await eventually(lambda: bench.ids() == committed)
    await bench.dead_letters(0)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x00 not json", "Not a CloudEvent"),
        ({"specversion": "1.0"}, "Not a CloudEvent"),
        (
            {
                "specversion": "1.0",
                "id": str(uuid4()),
                "source": "/x",
                "type": "jettythunder.asset.deleted.v9",
            },
            "takes no messages of type",
        ),
        (
            {
                "specversion": "1.0",
                "id": str(uuid4()),
                "source": "/x",
                "type": AssetDeletedV1.TYPE,
                "data": {},
            },
            "data.account_id: missing",
        ),
    ],
)
async def test_an_undecodable_message_is_a_dead_letter_at_once(
    bench: Bench, body: object, reason: str
) -> None:
    message_id = await bench.publish(body)
    [letter] = await bench.dead_letters(1)
    assert (letter.message_id, letter.error_code, letter.attempts) == (message_id, "malformed_event", 1)
    assert reason in letter.error_message


@pytest.mark.parametrize(
    ("error", "attempts"),
    [(AccountNotFound(), 1), (StorageUnavailable(), 4), (KeyError("unknown"), 4)],
)
async def test_the_error_says_whether_it_is_worth_retrying(
    bench: Bench, error: Exception, attempts: int
) -> None:
    async def fail(_: Event[AssetDeletedV1]) -> None:
        raise error

    bench.handler = fail
    await bench.commit(deleted())
    [letter] = await bench.dead_letters(1)
    assert letter.attempts == attempts


async def test_a_dead_letter_says_all_about_its_failure(bench: Bench) -> None:
    async def fail(_: Event[AssetDeletedV1]) -> None:
        raise JettyThunderError("The frobnicator is out.")

    bench.handler = fail
    [event_id] = await bench.commit(deleted())
    [letter] = await bench.dead_letters(1)
    assert letter.message_id == str(event_id)
    assert letter.type == AssetDeletedV1.TYPE
    assert letter.error_type == "jettythunder.errors.JettyThunderError"
    assert letter.error_code == "internal_error"
    assert letter.error_message == "The frobnicator is out."
    assert len(letter.fingerprint) == 12
    assert isinstance(letter.first_failed_at, datetime)
    assert isinstance(letter.last_failed_at, datetime)
    waited = (letter.last_failed_at - letter.first_failed_at).total_seconds()
    assert waited >= sum(RETRY_DELAYS_SECONDS) * (1 - JITTER)


async def test_failures_at_one_place_share_a_fingerprint(bench: Bench) -> None:
    async def fail(event: Event[AssetDeletedV1]) -> None:
        if event.data.size_bytes % 2:
            raise AccountNotFound
        raise AccountNotFound("another place")

    bench.handler = fail
    await bench.commit(*(deleted(size_bytes=n) for n in (1, 3, 2)))
    await bench.dead_letters(3)
    groups = await bench.operations.dead_letters.groups(QUEUE.name)
    # The traceback's functions make the fingerprint, not its lines: an edit elsewhere keeps groups together.
    assert [(group.count, group.error_code) for group in groups] == [(3, "account_not_found")]


async def test_one_poisoned_event_among_a_thousand(bench: Bench) -> None:
    fixed = False

    async def refuse_poison(event: Event[AssetDeletedV1]) -> None:
        if event.data.size_bytes == POISON_BYTES and not fixed:
            raise AccountNotFound

    bench.handler = refuse_poison
    good: list[UUID] = []
    for batch in range(10):
        if batch == 5:
            [poisoned] = await bench.commit(deleted(size_bytes=POISON_BYTES))
        good += await bench.commit(*(deleted() for _ in range(100)))
    await eventually(lambda: len(bench.seen) == len(good), timeout_seconds=60)
    assert set(bench.ids()) == set(good)
    [letter] = await bench.dead_letters(1)
    assert (letter.message_id, letter.error_code) == (str(poisoned), "account_not_found")
    fixed = True
    assert await bench.operations.dead_letters.retry(Selection(ids=(str(poisoned),)), who="test") == 1
    await eventually(lambda: poisoned in bench.ids())
    await bench.dead_letters(0)
