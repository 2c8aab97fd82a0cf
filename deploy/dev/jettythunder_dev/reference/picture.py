"""The pictures of the system in Mermaid: who sends which messages to whom, and who writes which tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from jettythunder.broker import topology
from jettythunder.broker.topology import ServiceMessages
from jettythunder_dev.reference.ownership import SHARED, Ownership, Table

_EXTERNAL = {"agentcache": "AgentCache", "operators": "operators"}
_LOGGED = (topology.AGENTCACHE_EVENTS, topology.EVENTS)


def picture_of_messages(services: Sequence[ServiceMessages]) -> str:
    """Services, exchanges and queues, with what flows between them."""
    senders = {sender for service in services for sender in service.sent}
    lines = [
        *(_node(sender, f'(["{_EXTERNAL[sender]}"])') for sender in sorted(senders & set(_EXTERNAL))),
        *(_node(service.service, f'["{service.service}"]') for service in services),
        *(_node(exchange, f'{{{{"{exchange}"}}}}') for exchange in _exchanges(services)),
        *(_node(queue.name, f'[["{queue.name}"]]') for service in services for queue in service.queues),
        _node(topology.EVENT_LOG, f'[("{topology.EVENT_LOG}")]'),
        *_sending(services),
        *_receiving(services),
        *(f"{_id(exchange)} --> {_id(topology.EVENT_LOG)}" for exchange in _LOGGED),
    ]
    return _flowchart(lines)


def picture_of_tables(services: Sequence[ServiceMessages], ownership: Ownership) -> str:
    """Services and the tables that they own; dotted is what one may do with another's."""
    by_owner: dict[str, list[Table]] = {}
    for table in ownership.tables:
        by_owner.setdefault(table.owner, []).append(table)
    lines = [
        *(_node(service.service, f'["{service.service}"]') for service in services),
        *(
            _node(f"tables of {owner}", f'[("{"<br/>".join(table.name for table in tables)}")]')
            for owner, tables in sorted(by_owner.items())
        ),
        *(f"{_id(owner)} --> {_id(f'tables of {owner}')}" for owner in sorted(by_owner) if owner != SHARED),
        *_shared_writers(ownership),
        *_foreign_columns(ownership),
        *_calls(ownership),
    ]
    return _flowchart(lines)


def _exchanges(services: Sequence[ServiceMessages]) -> list[str]:
    sent = (payload for service in services for payloads in service.sent.values() for payload in payloads)
    return sorted({topology.exchange_of(payload, services) for payload in sent})


def _sending(services: Sequence[ServiceMessages]) -> Iterator[str]:
    yield from sorted(
        {
            f"{_id(sender)} --> {_id(topology.exchange_of(payload, services))}"
            for service in services
            for sender, payloads in service.sent.items()
            for payload in payloads
        }
    )


def _receiving(services: Sequence[ServiceMessages]) -> Iterator[str]:
    for service in services:
        for queue in service.queues:
            yield f"{_id(queue.exchange)} --> {_id(queue.name)} --> {_id(service.service)}"


def _shared_writers(ownership: Ownership) -> Iterator[str]:
    writers = {writer for table in ownership.tables if table.owner == SHARED for writer in table.writers}
    for writer in sorted(writers):
        yield f"{_id(writer)} --> {_id(f'tables of {SHARED}')}"


def _foreign_columns(ownership: Ownership) -> Iterator[str]:
    for table in ownership.tables:
        if table.owner == SHARED:
            continue
        for service, columns in table.others.items():
            yield _dotted(service, table.owner, columns)


def _calls(ownership: Ownership) -> Iterator[str]:
    calls: dict[tuple[str, str], list[str]] = {}
    for function in ownership.functions:
        for caller in function.callers:
            calls.setdefault((caller, function.owner), []).append(function.name)
    for (caller, owner), names in sorted(calls.items()):
        yield _dotted(caller, owner, names)


def _dotted(service: str, owner: str, names: Iterable[str]) -> str:
    """A box of its own between the two: labels of crossing arrows would cover each other."""
    means = _node(f"{service} with {owner}", f'["{"<br/>".join(names)}"]')
    return f"{_id(service)} -.-> {means} -.-> {_id(f'tables of {owner}')}"


def _node(name: str, shape: str) -> str:
    return f"{_id(name)}{shape}"


def _id(name: str) -> str:
    """A node's name in Mermaid: letters and underscores only."""
    return "".join(character if character.isalnum() else "_" for character in name)


def _flowchart(lines: Iterable[str]) -> str:
    return "\n".join(["```mermaid", "flowchart LR", *(f"    {line}" for line in lines), "```"])
