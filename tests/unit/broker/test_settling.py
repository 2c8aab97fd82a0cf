"""What the headers of failed messages say, and what they are not believed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import BaseModel, ValidationError

from jettythunder.broker.settling import (
    ATTEMPTS,
    ERROR_MESSAGE,
    FIRST_FAILED_AT,
    describe,
    failure_of,
    known_type,
    without_failure,
)
from jettythunder.broker.topology import EVENTS, ConsumerQueue, may_receive_replies
from jettythunder.contracts.assets import AssetDeletedV1

QUEUE = ConsumerQueue(name="test.events", exchange=EVENTS, payloads=(AssetDeletedV1,))


@pytest.mark.parametrize("nonsense", ["x", -1, 10**12, "-3", None, b"\xff", [], {"a": 1}, 1.5])
def test_a_header_with_nonsense_counts_as_nothing(nonsense: object) -> None:
    failure = failure_of({ATTEMPTS: nonsense, FIRST_FAILED_AT: nonsense, "x-death": nonsense})
    assert (failure.attempts, failure.first_failed_at) == (0, None)


def test_what_the_broker_noted_is_the_reason_where_there_is_none_of_ours() -> None:
    at = datetime(2030, 1, 31, tzinfo=UTC)
    failure = failure_of({"x-death": [{"reason": "delivery_limit", "time": at}]})
    assert (failure.error_type, failure.last_failed_at) == ("broker.delivery_limit", at)


def test_a_validation_error_is_described_without_the_values_it_refused() -> None:
    class Model(BaseModel):
        number: int

    with pytest.raises(ValidationError) as refused:
        Model.model_validate({"number": "jts_secret"})
    described = describe(refused.value)
    assert described[ERROR_MESSAGE] == "number: int_parsing"
    assert "jts_secret" not in str(described)


def test_the_publishers_headers_are_all_that_is_left() -> None:
    assert without_failure({ATTEMPTS: 3, "x-death": [], "x-jt-replay": "r", "own": 1}) == {
        "x-jt-replay": "r",
        "own": 1,
    }


def test_a_label_names_known_types_only() -> None:
    assert known_type(QUEUE, AssetDeletedV1.TYPE) == AssetDeletedV1.TYPE
    assert known_type(QUEUE, "somebody's.own.v1") == "unknown"


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("amq.rabbitmq.reply-to", True),
        ("amq.rabbitmq.reply-to.g1h2AA5yZXBseUAyMTc4NTQ", True),
        ("agentcache.replies.a", True),
        ("agentcache.events", False),
        ("event-log", False),
        ("amq.gen-x", False),
        ("", False),
    ],
)
def test_replies_go_to_private_queues_only(name: str, allowed: bool) -> None:
    assert may_receive_replies(name) is allowed
