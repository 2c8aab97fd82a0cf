"""The networks that uploads are measured over. Rates are bytes per second."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tests.performance.contenders import MB


@dataclass(frozen=True)
class Shape:
    """One link: what it carries in all, and when it stalls or dies, in seconds after the upload began."""

    rate: float
    stalls_at: float = math.inf
    dies_at: float = math.inf

    def carried_bytes(self, seconds: float) -> float:
        """What it can carry in that time."""
        return self.rate * min(seconds, self.stalls_at, self.dies_at)


@dataclass(frozen=True)
class Profile:
    """A network. The first link is also the way to the object storage itself, for the other contenders.

    A network without shaping has ``edges`` chunk-workers behind it; without any, the object storage is the
    one edge, by presigned URLs.
    """

    name: str
    title: str
    rtt_seconds: float
    per_connection: float | None
    links: tuple[Shape, ...] = ()
    edges: int = 0
    uplink: float | None = None
    size_factor: int = 1
    """A larger file, where the beginning and the end would count for too much."""

    @property
    def shaped(self) -> bool:
        return bool(self.per_connection)

    @property
    def edge_count(self) -> int:
        return len(self.links) or self.edges

    def capacity_bytes(self, seconds: float) -> float:
        """What all links together can carry in that time."""
        total = sum(link.carried_bytes(seconds) for link in self.links)
        return total if self.uplink is None else min(total, self.uplink * seconds)


PROFILES = (
    Profile(
        "home",
        "Home uplink of 48 Mbit/s, 40 ms, 12 Mbit/s a connection (60 KB in flight), 3 edges",
        rtt_seconds=0.040,
        per_connection=1.5 * MB,
        links=(Shape(6 * MB),) * 3,
        uplink=6 * MB,
    ),
    Profile(
        "unequal",
        "5 edges of 3, 2.5, 2, 1.5 and 1 MB/s, 30 ms, 2 MB/s a connection; one stalls, one dies",
        rtt_seconds=0.030,
        per_connection=2.0 * MB,
        links=(
            Shape(3 * MB),
            Shape(2.5 * MB),
            Shape(2 * MB),
            Shape(1.5 * MB, stalls_at=8.0),
            Shape(1 * MB, dies_at=12.0),
        ),
        size_factor=2,
    ),
    Profile(
        "long",
        "Long fat path of 80 Mbit/s, 150 ms, 12 Mbit/s a connection (225 KB in flight), 3 edges",
        rtt_seconds=0.150,
        per_connection=1.5 * MB,
        links=(Shape(10 * MB),) * 3,
        uplink=10 * MB,
    ),
    Profile(
        "unshaped",
        "No shaping, the object storage itself being the only edge: this machine is the limit",
        rtt_seconds=0.0,
        per_connection=None,
        size_factor=4,
    ),
    Profile(
        "relayed",
        "No shaping, 3 edges on this very machine, so that every byte passes it twice",
        rtt_seconds=0.0,
        per_connection=None,
        edges=3,
        size_factor=4,
    ),
)
