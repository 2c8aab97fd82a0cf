"""How many bytes per second all connections together may carry, by the time of day."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime

from jettythunder_client.errors import InvalidConfiguration

LEAST_BYTES_PER_SECOND = 4096
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES = 24 * 60
_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_RATE = re.compile(r"(\d+(?:\.\d+)?)([bkmgt]?)", re.IGNORECASE)
_ENTRY = re.compile(r"(?:([a-z]{3})-)?(\d{1,2}):(\d{2}),(\S+)", re.IGNORECASE)
_EXAMPLES = "a rate such as 500k or 2M, off, or a timetable such as '08:00,512k 19:00,off'"

# So much of a second's bytes go at a time: a connection has its turn often enough not to seem stalled.
_PIECE_SECONDS = 0.05
_BURST_SECONDS = 0.1
_LEAST_PIECE_BYTES = 1024
# Small enough for a smooth progress on slow connections, large enough to cost nothing on fast ones.
_MOST_PIECE_BYTES = 128 * 1024
# Below this a connection is slower than edges and gateways put up with.
_BYTES_PER_CONNECTION = 64 * 1024
_ROUNDING = 1e-6
_LONGEST_SLEEP_SECONDS = 1.0
_LOOK_AGAIN_SECONDS = 2.0


@dataclass(frozen=True)
class Timetable:
    """Rates in bytes per second, None for no limit, each from a minute of the week on; the last one wraps."""

    entries: tuple[tuple[int, float | None], ...]

    def rate_at(self, when: datetime) -> float | None:
        """The rate at a local time."""
        minute = when.weekday() * _DAY_MINUTES + when.hour * 60 + when.minute
        begun = [rate for at, rate in self.entries if at <= minute]
        return begun[-1] if begun else self.entries[-1][1]


UNLIMITED = Timetable(((0, None),))


def parse_limit(text: str) -> Timetable:
    """A rate, or a timetable of rates.

    A rate is in bytes per second; `k`, `M`, `G` and `T` are multiples of 1024, as curl and rclone have them.
    A timetable is rclone's: `HH:MM,RATE` or `Mon-HH:MM,RATE`, with blanks between, in local time.

    Raises:
        InvalidConfiguration: it is neither; the sentence says what is taken.
    """
    given = text.strip()
    if "," not in given:
        return Timetable(((0, _rate(given)),))
    found: dict[int, float | None] = {}
    for entry in given.split():
        matched = _ENTRY.fullmatch(entry)
        if matched is None:
            raise InvalidConfiguration(f"A limit takes {_EXAMPLES}, not {entry!r}.")
        day, hour, minute, rate = matched.groups()
        if int(hour) > 23 or int(minute) > 59 or (day and day.lower() not in _DAYS):
            raise InvalidConfiguration(f"{entry!r} names no time: times are HH:MM, or Mon-HH:MM.")
        days = [_DAYS.index(day.lower())] if day else range(7)
        for number in days:
            found[number * _DAY_MINUTES + int(hour) * 60 + int(minute)] = _rate(rate)
    return Timetable(tuple(sorted(found.items(), key=lambda entry: entry[0])))


def _rate(text: str) -> float | None:
    if text.lower() in ("off", "0"):
        return None
    matched = _RATE.fullmatch(text)
    if matched is None:
        bits = " Rates are in bytes, not bits: 8 Mbit/s are 1M." if "bit" in text.lower() else ""
        raise InvalidConfiguration(f"A limit takes {_EXAMPLES}, not {text!r}.{bits}")
    rate = float(matched.group(1)) * _UNITS[matched.group(2).lower()]
    if rate < LEAST_BYTES_PER_SECOND:
        raise InvalidConfiguration(f"A limit is 4k or more, which {text!r} is not: slower uploads are ended.")
    return rate


class RateLimit:
    """A token bucket for all connections of a client, which have their turns in the order they ask.

    Time is that of the running event loop; ``local_time`` says where in the timetable it is. ``reread`` gives
    the timetable anew, and is called every two seconds at most.
    """

    def __init__(
        self,
        timetable: Timetable = UNLIMITED,
        *,
        reread: Callable[[], Timetable] | None = None,
        local_time: Callable[[], datetime] = datetime.now,
    ) -> None:
        self._timetable = timetable
        self._reread = reread
        self._local_time = local_time
        self._looked_at = 0.0
        self._turn = asyncio.Lock()
        self._tokens = 0.0
        self._filled_at: float | None = None

    def set(self, timetable: Timetable) -> None:
        """Hold another timetable from now on; transfers that are under way follow within a second."""
        self._timetable, self._reread = timetable, None

    @property
    def bytes_per_second(self) -> float | None:
        """What holds now; None where nothing is limited."""
        now = asyncio.get_running_loop().time()
        if self._reread is not None and now - self._looked_at >= _LOOK_AGAIN_SECONDS:
            self._timetable, self._looked_at = self._reread(), now
        return self._timetable.rate_at(self._local_time()) if self._timetable is not UNLIMITED else None

    def connections(self, most: int) -> int:
        """How many connections are of use, of ``most``: a slow line divided by many has only stalls."""
        rate = self.bytes_per_second
        return most if rate is None else max(1, min(most, int(rate / _BYTES_PER_CONNECTION)))

    async def take(self, wanted: int) -> int:
        """Wait until bytes may go; how many of those wanted, one at least."""
        if self.bytes_per_second is None:
            return wanted
        async with self._turn:
            while (rate := self.bytes_per_second) is not None:
                piece = min(wanted, max(_LEAST_PIECE_BYTES, int(rate * _PIECE_SECONDS)))
                self._fill(rate, burst=max(piece, rate * _BURST_SECONDS))
                if self._tokens >= piece - _ROUNDING:
                    self._tokens -= piece
                    return piece
                await asyncio.sleep(min((piece - self._tokens) / rate, _LONGEST_SLEEP_SECONDS))
        return wanted

    async def pieces(self, block: bytes | memoryview) -> AsyncIterator[memoryview]:
        """A block in pieces, each when it may go."""
        rest = memoryview(block)
        while rest:
            granted = await self.take(min(len(rest), _MOST_PIECE_BYTES))
            yield rest[:granted]
            rest = rest[granted:]

    def _fill(self, rate: float, *, burst: float) -> None:
        now = asyncio.get_running_loop().time()
        since = now if self._filled_at is None else self._filled_at
        self._tokens = min(burst, self._tokens + (now - since) * rate)
        self._filled_at = now
