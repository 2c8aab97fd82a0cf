"""An entry of the audit."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

# The ids of so many messages are kept with an entry; its count is always exact.
MOST_IDS = 1000


class AuditEntry(BaseModel):
    """An operation. ``result`` is None while it is under way, or where it was cut off.

    What was done is kept without e-mail addresses, as those of tenants in an edited message. ``who`` is the
    name of the caller's token, and in brackets what the caller calls itself. Commands that work on the
    servers directly have no token, and are named ``direct``.
    """

    model_config = ConfigDict(frozen=True)

    id: int
    who: str
    began_at: datetime
    action: str
    filter: dict[str, Any]
    result: dict[str, Any] | None
    finished_at: datetime | None


# Bounded, so that text of any length takes a time in proportion to it.
_E_MAIL = re.compile(r"[^\s\"'<>,;:\\@]{1,64}@[^\s\"'<>,;:\\@]{1,255}")


def without_addresses(value: Any) -> Any:
    """The value with each e-mail address in its text replaced."""
    if isinstance(value, str):
        return _E_MAIL.sub("[e-mail address]", value)
    if isinstance(value, Mapping):
        return {name: without_addresses(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_addresses(each) for each in value]
    return value


def storable(value: Any) -> Any:
    """The value as JSONB can hold it: NUL and half characters, which messages may have, are replaced."""
    if isinstance(value, str):
        return value.replace("\0", "�").encode(errors="replace").decode()
    if isinstance(value, Mapping):
        return {storable(name): storable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [storable(each) for each in value]
    return value
