"""What all transfers of a client share: connections, with them the bytes in memory, and the rate."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from jettythunder_client.rate_limit import RateLimit

# From so many connections on, one is left to files that are sent as a form.
_RESERVE_FROM = 8


class Budget:
    """Hands connections to the transfers that ask, one by one to the one that has the fewest.

    Each connection holds a bounded number of bytes, so their number bounds the memory. A transfer of chunks
    takes what it is given and never waits while it holds some; forms, all of them together, are one more
    transfer, and wait while they hold none. One connection is left to forms where there are eight or more, so
    that a small file does not wait for a large one.
    """

    def __init__(self, connections: int, limit: RateLimit) -> None:
        self.limit = limit
        self._connections = connections
        self._shares: list[Share] = []
        self._served = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._paused_until = 0.0
        self._forms = self.join(self._admit)

    @property
    def in_use(self) -> int:
        """Connections that transfers hold."""
        return sum(share.in_use for share in self._shares)

    def join(self, wake: Callable[[], None]) -> "Share":
        """A share for one more transfer; ``wake`` is called when it may have room. Leave it at the end."""
        share = Share(self, wake)
        self._shares.append(share)
        return share

    @asynccontextmanager
    async def form(self) -> AsyncIterator[None]:
        """Hold a connection for a file that is sent as a form, first come, first served."""
        loop = asyncio.get_running_loop()
        while (seconds := self._paused_until - loop.time()) > 0:  # noqa: ASYNC110 - it may be longer by then
            await asyncio.sleep(seconds)
        admitted = loop.create_future()
        self._waiting.append(admitted)
        self._admit()
        try:
            await admitted
            yield
        finally:
            if admitted.done() and not admitted.cancelled():
                self._forms.release()
            elif admitted in self._waiting:
                self._waiting.remove(admitted)

    def pause_forms(self, seconds: float) -> bool:
        """Let no form begin for a while, as the account sends too many; False where it is paused already."""
        now = asyncio.get_running_loop().time()
        was_paused, self._paused_until = self._paused_until > now, max(self._paused_until, now + seconds)
        return not was_paused

    def _admit(self) -> None:
        while self._waiting and self._forms.room(len(self._waiting)):
            admitted = self._waiting.popleft()
            if not admitted.cancelled():
                self._forms.take()
                admitted.set_result(None)
        self._forms.room(len(self._waiting))

    def _deal(self, mine: "Share") -> int:
        """How many of the free connections are ``mine`` if each goes to who has the fewest."""
        total = self.limit.connections(self._connections)
        free = total - self.in_use
        kept = int(total >= _RESERVE_FROM and self._forms.in_use == 0)
        given: Counter[Share] = Counter()
        while free > 0:
            takers = self._shares if free > kept else [self._forms]
            hungry = [share for share in takers if share.in_use + given[share] < share.wanted]
            if not hungry:
                break
            next_one = min(hungry, key=lambda share: (share.in_use + given[share], share.served))
            given[next_one] += 1
            kept = 0 if next_one is self._forms else kept
            free -= 1
        return given[mine]

    def _next_turn(self) -> int:
        self._served += 1
        return self._served

    def _chunks_at(self, edge: str) -> int:
        return sum(share.edges[edge] for share in self._shares)

    def _left(self, share: "Share") -> None:
        self._shares.remove(share)
        self._wake()

    def _wake(self) -> None:
        for share in list(self._shares):
            if share.wanted > share.in_use:
                share.wake()


class Share:
    """What one transfer has of the budget."""

    def __init__(self, budget: Budget, wake: Callable[[], None]) -> None:
        self.in_use = 0
        self.wanted = 0
        """With those in use."""
        self.served = 0
        """When it was last given one, in the order of all."""
        self.edges: Counter[str] = Counter()
        self.wake = wake
        self._budget = budget

    def room(self, wanted: int) -> int:
        """How many further connections it may take now, where it could use ``wanted``."""
        self.wanted = self.in_use + wanted
        return self._budget._deal(self) if wanted else 0

    def settle(self) -> None:
        """Want no more than it has: what it could not use is for the others."""
        self.wanted = self.in_use

    def others_at(self, edge: str) -> int:
        """How many chunks the other transfers have in flight at an edge."""
        return self._budget._chunks_at(edge) - self.edges[edge]

    def take(self, edge: str = "") -> None:
        """Take a connection, to an edge where it is for a chunk."""
        self.in_use += 1
        self.edges[edge] += 1
        self.served = self._budget._next_turn()

    def release(self, edge: str = "") -> None:
        """Give a connection back."""
        self.in_use -= 1
        self.edges[edge] -= 1
        self.wanted = max(self.wanted - 1, self.in_use)
        self._budget._wake()

    def leave(self) -> None:
        """Take part no longer; everything is given back by then."""
        self._budget._left(self)
