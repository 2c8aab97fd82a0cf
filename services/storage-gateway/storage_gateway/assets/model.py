"""What an asset is: immutable bytes of an account, with the names and the hash they are found by."""

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from jettythunder.errors import InvalidField

_HASH = re.compile(r"(sha256:)?([0-9a-f]{64})", re.IGNORECASE)

# What stands in schemas for it, which know no flags; empty is as good as not given.
HASH_PATTERN = r"^(\s*([sS][hH][aA]256:)?[0-9a-fA-F]{64}\s*)?$"
_LONGEST_CACHE_KEY = 512


@dataclass(frozen=True)
class Asset:
    """An asset as stored. ``content_hash`` is a SHA-256, computed by us where ``content_hash_verified``."""

    id: UUID
    account_id: UUID
    s3_key: str
    s3_bucket: str
    filename: str
    content_type: str
    size_bytes: int
    content_hash: str
    content_hash_verified: bool
    cache_key: str | None
    agentcache_pipeline_id: UUID | None
    hit_count: int
    last_accessed: datetime | None
    expires_at: datetime | None
    uploaded_via: str
    upload_speed_mbps: Decimal | None
    created_at: datetime

    @property
    def etag(self) -> str:
        """A strong entity tag, without quotes. A hash that is only claimed is none."""
        return self.content_hash if self.content_hash_verified else self._opaque_etag

    @property
    def etags(self) -> tuple[str, str]:
        """All entity tags that its bytes ever had: the one from before its verification holds for good."""
        return self.etag, self._opaque_etag

    @property
    def _opaque_etag(self) -> str:
        return f"asset-{self.id}"


class Reason(StrEnum):
    """Why an asset was deleted."""

    REQUEST = "request"
    EXPIRED = "expired"
    OBJECT_MISSING = "object_missing"


@dataclass(frozen=True)
class DeletedAsset:
    """An asset that was deleted."""

    id: UUID
    account_id: UUID
    s3_bucket: str
    s3_key: str
    size_bytes: int


def checked_cache_key(given: str | None) -> str | None:
    """A cache key as it may be stored.

    Raises:
        InvalidField: it is too long, or holds what can't be printed.
    """
    if given is not None and (len(given) > _LONGEST_CACHE_KEY or not given.isprintable()):
        raise InvalidField(
            f"cache_key takes up to {_LONGEST_CACHE_KEY} printable characters.", field="cache_key"
        )
    return given


def checked_hash(given: str | None) -> str | None:
    """A SHA-256 as 64 lower-case hexadecimal digits.

    Raises:
        InvalidField: it is something else.
    """
    if given is None:
        return None
    found = _HASH.fullmatch(given.strip())
    if found is None:
        raise InvalidField("content_hash takes a SHA-256 as 64 hexadecimal digits.", field="content_hash")
    return found.group(2).lower()
