"""An entry of the audit."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

# The ids of so many messages are kept with an entry; its count is always exact.
MOST_IDS = 1000


class AuditEntry(BaseModel):
    """An operation. ``result`` is None while it is under way, or where it was cut off.

    ``who`` is the name of the caller's token, and in brackets what the caller calls itself. Commands that
    work on the servers directly have no token, and are named ``direct``.
    """

    model_config = ConfigDict(frozen=True)

    id: int
    who: str
    began_at: datetime
    action: str
    filter: dict[str, Any]
    result: dict[str, Any] | None
    finished_at: datetime | None


def storable(value: Any) -> Any:
    """The value as JSONB can hold it: NUL and half characters, which messages may have, are replaced."""
    if isinstance(value, str):
        return value.replace("\0", "�").encode(errors="replace").decode()
    if isinstance(value, Mapping):
        return {storable(name): storable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [storable(each) for each in value]
    return value
