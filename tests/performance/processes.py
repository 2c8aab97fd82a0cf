"""What processes take: the CPU time of whole trees, and the most memory that they held."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

CLIENT = "client"
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
_RESET_PEAK = "5"
"""What /proc/PID/clear_refs takes to count the peak from now on (proc_pid_clear_refs(5))."""


@dataclass
class Taken:
    """What each group of processes took. Memory is that of the group's largest tree, in MB."""

    cpu_seconds: dict[str, float] = field(default_factory=dict)
    peak_mb: dict[str, float] = field(default_factory=dict)

    def add(self, other: Taken) -> None:
        """Sum up CPU times, and keep the larger memory."""
        for name, seconds in other.cpu_seconds.items():
            self.cpu_seconds[name] = self.cpu_seconds.get(name, 0.0) + seconds
        for name, megabytes in other.peak_mb.items():
            self.peak_mb[name] = max(self.peak_mb.get(name, 0.0), megabytes)


class Processes:
    """Groups of processes by name, each process with all its children.

    The group `client` is this program, with the programs that it ran to their end.
    """

    def __init__(self, groups: Mapping[str, Sequence[int]]) -> None:
        self._groups = groups

    @contextmanager
    def measured(self) -> Iterator[Taken]:
        """What they take while the block runs; it is known at the block's end."""
        for pids in self._groups.values():
            for process in _trees(pids):
                with suppress(OSError):
                    Path(f"/proc/{process.pid}/clear_refs").write_text(_RESET_PEAK)
        taken = Taken()
        before = self._cpu_seconds()
        yield taken
        after = self._cpu_seconds()
        taken.cpu_seconds = {name: after[name] - before[name] for name in before}
        taken.peak_mb = {
            name: max(_peak_mb(pid) for pid in pids) for name, pids in self._groups.items() if pids
        }

    def _cpu_seconds(self) -> dict[str, float]:
        groups = {name: sum(map(_cpu_of, _trees(pids))) for name, pids in self._groups.items()}
        return {CLIENT: sum(os.times()[:4]), **groups}


def _trees(pids: Sequence[int]) -> list[psutil.Process]:
    roots = [psutil.Process(pid) for pid in pids]
    return [process for root in roots for process in (root, *root.children(recursive=True))]


def _cpu_of(process: psutil.Process) -> float:
    # With that of its children that have ended.
    with suppress(psutil.NoSuchProcess):
        return float(sum(process.cpu_times()[:4]))
    return 0.0


def _peak_mb(pid: int) -> float:
    total_kb = 0
    for process in _trees([pid]):
        with suppress(OSError):
            found = _PEAK.search(Path(f"/proc/{process.pid}/status").read_text())
            total_kb += int(found.group(1)) if found else 0
    return total_kb * 1024 / 1e6
