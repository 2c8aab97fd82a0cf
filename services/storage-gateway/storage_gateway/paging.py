"""Cursors of pages that are ordered by creation, newest first."""

import base64
import binascii
import json
from datetime import datetime
from uuid import UUID

from jettythunder.errors import InvalidField


def cursor(created_at: datetime, row_id: UUID) -> str:
    """An opaque mark of the last row of a page."""
    place = json.dumps([created_at.isoformat(), str(row_id)])
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
        return moment, UUID(row_id)
    except (ValueError, TypeError, AttributeError, binascii.Error):
        raise InvalidField("cursor takes the next_cursor of an earlier page.", field="cursor") from None
