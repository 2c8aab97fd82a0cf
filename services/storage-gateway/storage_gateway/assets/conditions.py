"""Conditional requests (RFC 9110, section 13), evaluated in the order of 13.2.2."""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum, auto

from werkzeug.http import parse_date, parse_etags, unquote_etag

from storage_gateway.errors import PreconditionFailed


class Outcome(Enum):
    """What a request's conditions come to."""

    SEND = auto()
    NOT_MODIFIED = auto()


def evaluate(headers: Mapping[str, str], *, etag: str, modified_at: datetime) -> Outcome:
    """What the conditions of a GET or HEAD come to for a representation with this strong entity tag.

    Args:
        etag: without quotes.
        modified_at: when the representation was modified last; whole seconds count.

    Raises:
        PreconditionFailed: the client asks for another representation than this one.
    """
    modified_at = modified_at.replace(microsecond=0)
    if (wanted := headers.get("if-match")) is not None:
        if not parse_etags(wanted).contains(etag):
            raise PreconditionFailed
    elif (since := parse_date(headers.get("if-unmodified-since"))) is not None and modified_at > since:
        raise PreconditionFailed
    if (known := headers.get("if-none-match")) is not None:
        if parse_etags(known).contains_weak(etag):
            return Outcome.NOT_MODIFIED
    elif (since := parse_date(headers.get("if-modified-since"))) is not None and modified_at <= since:
        return Outcome.NOT_MODIFIED
    return Outcome.SEND


def range_applies(headers: Mapping[str, str], *, etag: str, modified_at: datetime) -> bool:
    """Whether a Range header counts: not where If-Range names another representation (section 13.1.5)."""
    validator = headers.get("if-range")
    if validator is None:
        return True
    if (date := parse_date(validator)) is not None:
        return modified_at.replace(microsecond=0) == date
    given, is_weak = unquote_etag(validator)
    return given == etag and not is_weak
