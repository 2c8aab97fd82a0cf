"""What each service's user may do on the broker, by the names of queues and exchanges."""

import re

import pytest

from jettythunder.broker import topology
from jettythunder.broker.permissions import Permissions, permissions, user_of

ALL = {of_user.user: of_user for of_user in permissions(topology.installed_services())}
QUEUES = {queue.name: queue for queue in topology.consumer_queues()}
EXCHANGES = (
    *topology.EXCHANGE_TYPES,
    "amq.default",
    topology.retry_queue(1000),
    *(queue.replay_exchange for queue in QUEUES.values()),
)
READABLE = (
    *QUEUES,
    *(queue.dead_letter_queue for queue in QUEUES.values()),
    topology.EVENT_LOG,
    topology.retry_queue(1000),
    "agentcache.replies.7",
)


def taken(pattern: str, names: tuple[str, ...]) -> set[str]:
    return {name for name in names if re.search(pattern, name)}


def of(service: str) -> Permissions:
    return ALL[user_of(service)]


@pytest.mark.parametrize("messages", topology.installed_services(), ids=lambda messages: messages.service)
def test_a_service_reads_its_own_queues(messages: topology.ServiceMessages) -> None:
    expected = {queue.name for queue in messages.queues}
    if messages.reads_log:
        expected.add(topology.EVENT_LOG)
    if messages.mends:
        expected |= {queue.dead_letter_queue for queue in QUEUES.values()}
    assert taken(of(messages.service).read, READABLE) == expected


@pytest.mark.parametrize(
    ("service", "exchanges"),
    [
        ("storage-gateway", {"jettythunder.commands"}),
        ("usage-meter", set()),
        ("provisioning", {"amq.default"}),
        ("chunk-worker", {"amq.default"}),
    ],
)
def test_a_service_writes_events_retries_dead_letters_and_what_it_needs(
    service: str, exchanges: set[str]
) -> None:
    shared = {
        "jettythunder.events",
        "jettythunder.dead-letters",
        "jettythunder.log-probes",
        topology.retry_queue(1000),
    }
    assert taken(of(service).write, EXCHANGES) == shared | exchanges


def test_operations_writes_replays_and_dead_letters_and_no_events() -> None:
    replays = {queue.replay_exchange for queue in QUEUES.values()}
    assert taken(of("operations").write, EXCHANGES) == replays | {"amq.default", topology.LOG_PROBES}


def test_nobody_but_agentcache_writes_its_events() -> None:
    may = {user for user, of_user in ALL.items() if taken(of_user.write, (topology.AGENTCACHE_EVENTS,))}
    assert may == {"agentcache"}


def test_nobody_declares_or_deletes_what_services_share() -> None:
    shared = tuple({*EXCHANGES, *READABLE} - {"agentcache.replies.7"})
    assert [taken(of_user.configure, shared) for of_user in ALL.values()] == [set()] * len(ALL)


def test_agentcache_has_its_exchange_and_its_own_replies() -> None:
    user = ALL["agentcache"]
    assert taken(user.write, EXCHANGES) == {topology.AGENTCACHE_EVENTS}
    assert taken(user.read, READABLE) == taken(user.configure, READABLE) == {"agentcache.replies.7"}
