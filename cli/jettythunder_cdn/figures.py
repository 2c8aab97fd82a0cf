"""What the cache did since it was started, and by day."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Figures:
    """Counters; bytes are those of assets."""

    answers: Counter[str] = field(default_factory=Counter)
    """Answers by their X-Cache."""
    hit_bytes: int = 0
    """Sent from the disk."""
    upstream_bytes: int = 0
    """Fetched from the gateway."""
    upstream_requests: int = 0
    evicted_contents: int = 0
    damaged_blocks: int = 0
    """Blocks whose bytes changed on the disk; they were fetched again."""
    wrong_hashes: int = 0
    """Contents that were dropped since their bytes have another hash than the gateway says."""
    unstored_blocks: int = 0
    """Blocks that the disk had no room for, or failed to write."""
    _hit_noted: int = 0
    _upstream_noted: int = 0

    @property
    def unnoted(self) -> tuple[int, int]:
        """Bytes sent from the disk and fetched since they were noted last."""
        return self.hit_bytes - self._hit_noted, self.upstream_bytes - self._upstream_noted

    def note(self) -> None:
        """They are written down for their day."""
        self._hit_noted, self._upstream_noted = self.hit_bytes, self.upstream_bytes
