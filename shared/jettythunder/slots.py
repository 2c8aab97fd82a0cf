"""How much of one kind may go on at once, shared so that no holder keeps the others out."""

from collections import Counter
from collections.abc import Hashable


class Slots:
    """Counts what goes on at once, in total and for each holder.

    A holder never has more than are left free after it. So it takes many holders to fill the slots, and a
    new one finds room however much a few others ask for.

    Args:
        total: how many there are.
        per_holder: the most that one holder may have.
    """

    def __init__(self, total: int, *, per_holder: int) -> None:
        self._total = total
        self._per_holder = per_holder
        self._taken: Counter[Hashable] = Counter()
        self._taken_count = 0

    def take(self, holder: Hashable) -> bool:
        """Take one slot, where the holder may have one more."""
        own, free = self._taken[holder], self._total - self._taken_count
        if free < 1 or own >= self._per_holder or (own and own >= free):
            return False
        self._taken[holder] += 1
        self._taken_count += 1
        return True

    def give_back(self, holder: Hashable) -> None:
        """Give back one slot that was taken."""
        self._taken_count -= 1
        self._taken[holder] -= 1
        if not self._taken[holder]:
            del self._taken[holder]
