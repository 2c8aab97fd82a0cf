"""Refusing what there is no room for, with the figures that explain it."""

from jettythunder.errors import StorageQuotaExceeded
from storage_gateway.repository import Row


def quota_exceeded(room: Row, wanted_bytes: int) -> StorageQuotaExceeded:
    """The refusal of a reservation, with the figures that explain it."""
    return StorageQuotaExceeded(
        used_bytes=room["used_bytes"],
        reserved_bytes=room["reserved_bytes"],
        quota_bytes=room["quota_bytes"],
        requested_bytes=wanted_bytes,
    )
