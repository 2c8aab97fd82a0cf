"""Whether a refusal is the fault of a clock: this machine's differs from that of who refused."""

import re
import time
from email.utils import parsedate_to_datetime

import aiohttp

from jettythunder_client.errors import ClockSkewed

_TOLERATED_SECONDS = 120.0
_REFUSALS = frozenset({400, 401, 403})
# Of the API's codes that of what is valid for a time; what the object storage refuses has none.
_TIMED = frozenset({"link_expired"})
_S3_TIMED = re.compile(
    r"<Code>\s*(RequestTimeTooSkewed|RequestExpired|ExpiredToken|AccessDenied|InvalidArgument)\s*<"
)
_CERTAIN = "RequestTimeTooSkewed"


def clock_problem(response: aiohttp.ClientResponse, code: str, text: str) -> ClockSkewed | None:
    """The error to raise for a refusal that the clocks explain; None where they do not.

    Args:
        code: the problem's code, empty where the answer is no problem of ours.
        text: the answer's body.
    """
    if response.status not in _REFUSALS:
        return None
    storage = _S3_TIMED.search(text) if not code else None
    if code not in _TIMED and storage is None:
        return None
    reason = storage.group(1) if storage else code
    ahead = seconds_ahead(response.headers.get("Date"))
    if ahead is None or abs(ahead) <= _TOLERATED_SECONDS:
        return ClockSkewed(refused_code=reason) if reason == _CERTAIN else None
    direction = "ahead of" if ahead > 0 else "behind"
    return ClockSkewed(
        f"This machine's clock is {span_text(abs(ahead))} {direction} that of {response.url.host}, which "
        "refused what is valid for a time only. Set the clock, for example by switching its synchronisation "
        "(NTP) on, and try again.",
        refused_code=reason,
        clock_ahead_seconds=round(ahead),
    )


def seconds_ahead(date: str | None) -> float | None:
    """How far this machine's clock is ahead of a Date header; negative where it is behind."""
    if not date:
        return None
    try:
        return time.time() - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


def span_text(seconds: float) -> str:
    """A span in its two largest units: `3 d 4 h`, `7 min 12 s`."""
    left = round(seconds)
    parts: list[tuple[int, str]] = []
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count or parts:
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count)
