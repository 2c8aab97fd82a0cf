"""Tables of the system: queues and senders with their messages, and the database by owner."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jettythunder.broker import topology
from jettythunder.broker.topology import ServiceMessages
from jettythunder.contracts.envelope import Payload
from jettythunder_dev.reference.markdown import code, codes, table
from jettythunder_dev.reference.ownership import SHARED, Ownership


def queue_table(services: Sequence[ServiceMessages]) -> str:
    """Each queue, with its service, its exchange and the types that it receives."""
    return table(
        ("queue", "of", "from", "types"),
        [
            (code(queue.name), service.service, code(queue.exchange), _types(queue.payloads))
            for service in services
            for queue in service.queues
        ],
    )


def sender_table(services: Sequence[ServiceMessages]) -> str:
    """Each sender, with the events and the commands that it sends."""
    sent: dict[str, set[type[Payload]]] = {}
    for service in services:
        for sender, payloads in service.sent.items():
            sent.setdefault(sender, set()).update(payloads)
    rows = []
    for sender in sorted(sent):
        commands = {p for p in sent[sender] if topology.exchange_of(p, services) == topology.COMMANDS}
        rows.append((sender, _types(sent[sender] - commands), _types(commands)))
    return table(("sender", "events", "commands"), rows)


def owner_table(ownership: Ownership) -> str:
    """Each table, with its owner, and who else writes which columns."""
    rows = []
    for owned in ownership.tables:
        writers = (
            ", ".join(owned.writers)
            if owned.owner == SHARED
            else "; ".join(f"{service}: {codes(columns)}" for service, columns in owned.others.items())
        )
        rows.append((code(owned.name), owned.owner, writers))
    return table(("table", "owner", "who else writes"), rows)


def function_table(ownership: Ownership) -> str:
    """Each versioned function, with its owner and its callers."""
    rows = [(code(f.name), f.owner, ", ".join(f.callers)) for f in ownership.functions]
    return table(("function", "owner", "called by"), rows)


def _types(payloads: Iterable[type[Payload]]) -> str:
    return codes(sorted(payload.TYPE for payload in payloads))
