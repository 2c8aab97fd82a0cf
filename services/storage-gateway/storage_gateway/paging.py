"""Cursors of pages that are ordered by creation, newest first."""

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol, TypeVar
from uuid import UUID

from jettythunder.errors import InvalidField


class Created(Protocol):
    """What pages are made of."""

    @property
    def id(self) -> UUID: ...

    @property
    def created_at(self) -> datetime: ...


Item = TypeVar("Item", bound=Created)


def cut(found: Sequence[Item], limit: int) -> tuple[list[Item], str | None]:
    """A page of at most ``limit`` items out of one more, and the cursor of the next page if there is one."""
    page = list(found[:limit])
    return page, _cursor(page[-1]) if len(found) > limit else None


def _cursor(last: Created) -> str:
    place = json.dumps([last.created_at.isoformat(), str(last.id)])
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def read_cursor(given: str | None) -> tuple[datetime | None, UUID | None]:
    """The place a cursor marks; the very start where none is given.

    Raises:
        InvalidField: it is no cursor of ours.
    """
    if given is None:
        return None, None
    try:
        created_at, row_id = json.loads(base64.urlsafe_b64decode(given + "=" * (-len(given) % 4)))
        moment = datetime.fromisoformat(created_at)
        if moment.tzinfo is None:
            raise ValueError(given)
        return moment.astimezone(UTC), UUID(row_id)
    except (ValueError, TypeError, OverflowError, AttributeError, RecursionError, binascii.Error):
        raise InvalidField("cursor takes the next_cursor of an earlier page.", field="cursor") from None
