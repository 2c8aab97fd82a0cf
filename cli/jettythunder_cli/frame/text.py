"""Values as people read them, and text from outside made harmless."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

MEGABYTE = 1_000_000

# Joiners that letters and emoji of some scripts need, among the format characters.
_JOINERS = frozenset("\u200c\u200d")
# Control, format and unassigned half characters, and the separators that end a line.
_SHOWN_AS_CODES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def plain(value: object, *, lines: bool = False) -> str:
    r"""Text that does nothing to a terminal: control and direction characters as codes such as `\x1b`.

    With ``lines`` line ends and tabs stay.
    """
    kept = _JOINERS | {"\n", "\t"} if lines else _JOINERS
    return "".join(_shown(char) if char not in kept else char for char in str(value))


def _shown(char: str) -> str:
    if char.isprintable() or unicodedata.category(char) not in _SHOWN_AS_CODES:
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def size_text(size_bytes: float) -> str:
    """Bytes in decimal units, in nine characters at most: `1.23 GB`, `-999 kB`."""
    size = abs(size_bytes)
    sign = "-" if size_bytes < 0 else ""
    for unit, divisor in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= divisor:
            return f"{sign}{number_text(size / divisor)} {unit}"
    return f"{size_bytes:.0f} B"


def speed_text(bytes_per_second: float) -> str:
    """Bytes per second in MB/s, the unit in which speeds are compared."""
    return f"{number_text(bytes_per_second / MEGABYTE)} MB/s"


def number_text(value: float) -> str:
    """A number with about three significant digits: 250, 25.3, 2.53, 0.03."""
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def age_text(at: datetime | None) -> str:
    """How long ago, in its largest unit; a dash where it never was."""
    return "-" if at is None else _span_text((datetime.now(UTC) - at).total_seconds())


def until_text(at: datetime) -> str:
    """How long until then, in its largest unit."""
    return _span_text((at - datetime.now(UTC)).total_seconds())


def _span_text(seconds: float) -> str:
    whole = max(0, int(seconds))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if whole >= size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def count_text(count: int, noun: str) -> str:
    """A count with its noun: `1 asset`, `12,345 assets`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
