"""`make capacity`: what a load needs of each service and server, by the figures of docs/performance.md."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from functools import cache
from math import ceil
from typing import Self

from jettythunder_dev.layout import REPOSITORY

# A process is planned to be busy for this part of a core, so that a burst or a lost instance finds room.
BUSY = 0.6
# The share of the day's peak that an average second has.
AVERAGE = 0.25
# GB/s of one chunk-worker before a storage that acknowledges parts 200 ms late (make bench-scale-out).
WORKER_GB = 0.2
# An event in the log with its headers, and how long the log is to reach back (EVENT_LOG_WARN_HOURS).
EVENT_BYTES, LOG_HOURS = 1000, 72
# A row with its indexes (make bench-scale).
LEDGER_BYTES, INBOX_BYTES, ASSET_BYTES, UPLOAD_BYTES = 318, 153, 957, 346
# INBOX_KEEP_DAYS in whole months, and CLOSED_UPLOADS_KEEP_DAYS.
INBOX_MONTHS, UPLOAD_MONTHS = 4, 1
# A gateway's spool with its margin, and DATABASE_POOL_SIZE; a usage-meter has three more, for reports.
SPOOL_GB, CONNECTIONS, REPORT_CONNECTIONS = 2.7, 10, 3
# The limits of memory in deploy/kubernetes/base, in GiB.
MEMORY = {"gateway": 1, "workers": 0.5, "meter": 0.75, "provisioning": 0.375, "operations": 0.375}
DAY, MONTH = 86_400, 30 * 86_400


@dataclass(frozen=True)
class Load:
    """A second at the day's peak: operations, and gigabytes through the gateways."""

    small_uploads: float = 20
    gb_in: float = 0.1
    gb_out: float = 0.2
    quotas: float = 50
    lists: float = 50
    links: float = 50
    accounts: float = 1

    @property
    def rates(self) -> dict[str, float]:
        """Each by its name."""
        return asdict(self)

    def times(self, factor: float) -> Self:
        """As many times as much of everything."""
        return type(self)(**{name: factor * rate for name, rate in self.rates.items()})


# What the tables call them.
_OPERATIONS = dict(
    zip(
        (each.name for each in fields(Load)),
        ("small upload", "GB in", "GB out", "quota", "list", "link", "provision"),
        strict=True,
    )
)
_NAMES = {
    "gateway": "gateways",
    "workers": "chunk-workers",
    "meter": "usage-meters",
    "provisioning": "provisioning",
    "operations": "operations",
}
_UNITS = {"s": 1.0, "µs": 1e-6}
_RESERVED = "rows of the ledger"


@dataclass(frozen=True)
class Plan:
    """What a load needs."""

    load: Load

    def total(self, what: str) -> float:
        """What all operations of a second at the peak take: CPU seconds of a process, or what they write."""
        return sum(rate * costs()[_OPERATIONS[name]][what] for name, rate in self.load.rates.items())

    def processes(self) -> dict[str, int]:
        """Two of each at least, so that one can be lost; a slow storage needs more workers than bytes do."""
        needed = {kind: max(2, ceil(self.total(kind) / BUSY)) for kind in MEMORY}
        return needed | {"workers": max(needed["workers"], ceil(self.load.gb_in / WORKER_GB))}

    @property
    def connections(self) -> int:
        """To PostgreSQL at most, without edges."""
        processes = self.processes()
        return CONNECTIONS * sum(processes.values()) + REPORT_CONNECTIONS * processes["meter"]

    def rows(self) -> Iterator[tuple[str, str]]:
        """What it comes to, for people."""
        load, processes = self.load, self.processes()
        both_ways = f"{8 * (load.gb_in + load.gb_out):.1f} Gbit/s"
        for kind, count in processes.items():
            yield f"{_NAMES[kind]} (CPU seconds a second)", f"{count} ({self.total(kind):.2f})"
        limits = sum(count * MEMORY[kind] for kind, count in processes.items())
        yield "limits of memory of these", f"{limits:.0f} GiB"
        yield "PostgreSQL: cores", f"{ceil(self.total('PostgreSQL') / BUSY)}"
        yield "PostgreSQL: reservations a second", f"{self._reservations:.0f}"
        yield "PostgreSQL: connections at most, without edges", f"{self.connections}"
        yield "PostgreSQL: grows each month by", _gb(self._kept_bytes)
        yield "PostgreSQL: what is forgotten in time comes to", _gb(self._forgotten_bytes)
        yield "write-ahead log each day", _gb(self._on_average("write-ahead log, KB") * 1000 * DAY)
        yield "RabbitMQ: cores", f"{ceil(self.total('RabbitMQ') / BUSY)}"
        yield "RabbitMQ: events a second", f"{self.total('events'):.0f}"
        yield f"event log of {LOG_HOURS} hours", _gb(self._log_bytes)
        yield "spools on disk", _gb(SPOOL_GB * processes["gateway"] * 1e9)
        yield "network between clients and gateways", both_ways
        yield "network between gateways and chunk-workers", f"{8 * load.gb_in:.1f} Gbit/s"
        yield "network to and from the object storage", both_ways
        yield "object storage: grows each month by", f"{AVERAGE * load.gb_in * MONTH / 1000:.0f} TB"

    def _on_average(self, what: str) -> float:
        return AVERAGE * self.total(what)

    @property
    def _reservations(self) -> float:
        return sum(
            rate for name, rate in self.load.rates.items() if costs()[_OPERATIONS[name]][_RESERVED] > 0
        )

    @property
    def _uploads(self) -> float:
        """In a month; a GB that comes in is one file."""
        return AVERAGE * (self.load.small_uploads + self.load.gb_in) * MONTH

    @property
    def _kept_bytes(self) -> float:
        return self._uploads * ASSET_BYTES + self._on_average(_RESERVED) * MONTH * LEDGER_BYTES

    @property
    def _forgotten_bytes(self) -> float:
        inbox = self._on_average("rows of inboxes") * MONTH * INBOX_BYTES * INBOX_MONTHS
        return inbox + self._uploads * UPLOAD_BYTES * UPLOAD_MONTHS

    @property
    def _log_bytes(self) -> float:
        return self._on_average("events") * EVENT_BYTES * LOG_HOURS * 3600


def _gb(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:,.0f} GB"


@cache
def costs() -> dict[str, dict[str, float]]:
    """What one of each operation takes of each process, in CPU seconds, and what it writes."""
    found = _table("Written by one operation")
    for heading, used in _table("CPU time of one operation, and of a second of rest").items():
        name, _, unit = heading.rpartition(" ")
        if name in found:
            found[name] |= {process: figure * _UNITS[unit] for process, figure in used.items()}
    return found


def _table(title: str) -> dict[str, dict[str, float]]:
    """A table of docs/performance.md: figures by column, then by row."""
    text = (REPOSITORY / "docs/performance.md").read_text(encoding="utf-8")
    lines = text.split(f"**{title}**\n\n")[1].split("\n\n")[0].splitlines()
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {
        name: {row[0]: float(row[column].replace(",", "")) for row in rows}
        for column, name in enumerate(head)
        if name
    }


def compared(load: Load, factor: float = 10) -> list[tuple[str, str, str]]:
    """A load's needs, and those of ``factor`` times as much."""
    needs = zip(Plan(load).rows(), Plan(load.times(factor)).rows(), strict=True)
    return [(what, now, then) for (what, now), (_, then) in needs]


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    for each in fields(Load):
        parser.add_argument(f"--{each.name.replace('_', '-')}", type=float, default=each.default)
    for what, now, then in compared(Load(**vars(parser.parse_args()))):
        print(f"{what:48}{now:>14}{then:>14}")


if __name__ == "__main__":
    main()
