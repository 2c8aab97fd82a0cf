"""Conditional requests (RFC 9110, section 13), evaluated in the order of 13.2.2."""

from collections.abc import Collection, Mapping
from datetime import datetime

from werkzeug.http import parse_date, parse_etags, unquote_etag

from storage_gateway.errors import PreconditionFailed


class Conditions:
    """The conditions of a GET or HEAD, held against one representation.

    Args:
        etags: the strong entity tags that name the representation's bytes, without quotes.
        modified_at: when it was modified last; whole seconds count.
    """

    def __init__(self, headers: Mapping[str, str], *, etags: Collection[str], modified_at: datetime) -> None:
        self._headers = headers
        self._etags = etags
        self._modified_at = modified_at.replace(microsecond=0)

    def are_met_already(self) -> bool:
        """Whether the client has the representation, so that it is not to be sent again (304).

        Raises:
            PreconditionFailed: the client asks for another representation than this one (412).
        """
        if (wanted := self._headers.get("if-match")) is not None:
            if not any(map(parse_etags(wanted).contains, self._etags)):
                raise PreconditionFailed
        elif (since := self._date("if-unmodified-since")) is not None and self._modified_at > since:
            raise PreconditionFailed
        if (known := self._headers.get("if-none-match")) is not None:
            return any(map(parse_etags(known).contains_weak, self._etags))
        since = self._date("if-modified-since")
        return since is not None and self._modified_at <= since

    def let_range_apply(self) -> bool:
        """Whether a Range header counts: not where If-Range names another representation (section 13.1.5)."""
        validator = self._headers.get("if-range")
        if validator is None:
            return True
        if (date := self._date("if-range")) is not None:
            return self._modified_at == date
        given, is_weak = unquote_etag(validator)
        return given in self._etags and not is_weak

    def _date(self, name: str) -> datetime | None:
        try:
            return parse_date(self._headers.get(name))
        except OverflowError:
            # werkzeug lets this one through: the date has a number that fits no date.
            return None
