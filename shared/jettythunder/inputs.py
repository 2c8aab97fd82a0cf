"""Values in callers' input, read as their schema says: pydantic alone takes numbers for times, and flags and
text for numbers.
"""

import re
from datetime import date
from typing import Annotated, TypeAlias

from pydantic import AwareDatetime, BeforeValidator

_NUMBER = re.compile(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?", re.IGNORECASE)


def _no_number(given: object) -> object:
    if isinstance(given, int | float) or (isinstance(given, str) and _NUMBER.fullmatch(given.strip())):
        raise ValueError("Input should be a date or time as text, such as 2030-01-31T12:00:00Z")
    return given


def _no_flag_or_text(given: object) -> object:
    if isinstance(given, bool | str):
        raise ValueError("Input should be a number")
    return given


# Marks a number in JSON as one. It stands last, so that the schema has what limits the number.
JSON_NUMBER = BeforeValidator(_no_flag_or_text)

# A date as text (RFC 3339).
Day: TypeAlias = Annotated[date, BeforeValidator(_no_number)]

# A time with its offset from UTC, as text (RFC 3339).
Moment: TypeAlias = Annotated[AwareDatetime, BeforeValidator(_no_number)]
