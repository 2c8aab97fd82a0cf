"""Who owns each table, who else may write it, and which functions services call: read from schema.sql."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

SHARED = "shared"

_ROLE = "jettythunder_"
_TABLE = re.compile(r"^CREATE (?:UNLOGGED )?TABLE public\.(\w+)", re.MULTILINE)
_TABLE_COMMENT = re.compile(r"^COMMENT ON TABLE public\.(\w+) IS '(.*)';$", re.MULTILINE)
_FUNCTION_COMMENT = re.compile(r"^COMMENT ON FUNCTION public\.(\w+)\(.*?\) IS '(.*)';$", re.MULTILINE)
_OWNER = re.compile(r"Owner: ([a-z-]+)")
_GRANT = re.compile(r"^GRANT (.+) ON TABLE public\.(\w+) TO (\w+);$", re.MULTILINE)
_RIGHT = re.compile(r"(INSERT|UPDATE|DELETE)(?:\((\w+)\))?")
_EXECUTE = re.compile(r"^GRANT ALL ON FUNCTION public\.(\w+)\(.*\) TO (\w+);$", re.MULTILINE)


@dataclass(frozen=True)
class Table:
    """A table. ``writers`` are the services that may write it, each with its columns; none stands for all."""

    name: str
    owner: str
    writers: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def others(self) -> dict[str, tuple[str, ...]]:
        """Who else than the owner may write which columns."""
        return {service: columns for service, columns in self.writers.items() if service != self.owner}


@dataclass(frozen=True)
class Function:
    """A versioned function that one service owns and others call."""

    name: str
    owner: str
    callers: tuple[str, ...]


@dataclass(frozen=True)
class Ownership:
    """The tables in the order of their owners and names, and the functions in the same order."""

    tables: tuple[Table, ...]
    functions: tuple[Function, ...]


def read_ownership(schema: str) -> Ownership:
    """The owners in a schema as pg_dump writes it.

    Comments name owners ("Owner: usage-meter"), and grants name who may write: what several services own in
    common has no owner in its comment.
    """
    owners = {name: _owner(text) for name, text in _TABLE_COMMENT.findall(schema)}
    writers = _writers(schema)
    tables = [
        Table(name, owners.get(name, SHARED), writers.get(name, {}))
        for name in _TABLE.findall(schema)
        if name != "alembic_version"
    ]
    return Ownership(
        tuple(sorted(tables, key=lambda table: (table.owner, table.name))), tuple(_functions(schema))
    )


def _owner(comment: str) -> str:
    found = _OWNER.search(comment)
    return found.group(1) if found else SHARED


def _writers(schema: str) -> dict[str, dict[str, tuple[str, ...]]]:
    found: dict[str, dict[str, set[str]]] = {}
    for rights, table, role in _GRANT.findall(schema):
        for _, column in _RIGHT.findall(rights):
            columns = found.setdefault(table, {}).setdefault(_service(role), set())
            if column:
                columns.add(column)
    return {
        table: {service: tuple(sorted(columns)) for service, columns in sorted(by_service.items())}
        for table, by_service in found.items()
    }


def _functions(schema: str) -> Iterator[Function]:
    callers: dict[str, list[str]] = {}
    for name, role in _EXECUTE.findall(schema):
        callers.setdefault(name, []).append(_service(role))
    owners = {name: _owner(text) for name, text in _FUNCTION_COMMENT.findall(schema)}
    for name in sorted(callers, key=lambda name: (owners.get(name, SHARED), name)):
        owner = owners.get(name, SHARED)
        yield Function(name, owner, tuple(sorted(set(callers[name]) - {owner})))


def _service(role: str) -> str:
    return role.removeprefix(_ROLE).replace("_", "-")
