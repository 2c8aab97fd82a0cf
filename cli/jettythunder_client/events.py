"""What a transfer reports to its observer."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class EdgeProgress:
    """The state of one edge; goodput in bytes per second."""

    edge: str
    region: str
    goodput: float
    in_flight: int
    acknowledged_bytes: int
    backing_off: bool


@dataclass(frozen=True)
class Planned:
    """The work is laid out and the edges have answered."""

    chunk_count: int
    edge_count: int
    resumed_bytes: int


@dataclass(frozen=True)
class Moved:
    """Where a transfer is; ``done_bytes`` includes those on their way."""

    done_bytes: int
    total_bytes: int
    edges: tuple[EdgeProgress, ...] = ()


@dataclass(frozen=True)
class Notice:
    """A sentence for people, about something that is not as was asked for."""

    text: str


Event = Planned | Moved | Notice
Observer = Callable[[Event], None]


def ignore(_: object) -> None:
    """Observe nothing."""
