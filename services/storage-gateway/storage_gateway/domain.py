"""Pure rules of uploads and assets: names, keys, ranges, expiry, quota sentences."""

import hashlib
import mimetypes
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

from jettythunder.errors import InvalidField, RangeNotSatisfiable

MEGABYTE = 1_000_000
GIGABYTE = 1_000_000_000
WARNING_PERCENT = 80
DEFAULT_CONTENT_TYPE = "application/octet-stream"

_MAX_FILENAME_BYTES = 255
_MAX_KEY_NAME_LENGTH = 100
_CONTENT_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(\s*;\s*[\w.-]+=(\"[^\"\r\n]*\"|[\w.-]+))*", re.ASCII)
_TTL = re.compile(r"[1-9][0-9]{0,9}")
_HASH = re.compile(r"(sha256:)?([0-9a-f]{64})", re.IGNORECASE)


@dataclass(frozen=True)
class Tenant:
    """An authenticated account and its limits."""

    account_id: UUID
    agentcache_user_ref: str
    tier: str
    status: str
    s3_prefix: str
    jetty_speed_enabled: bool
    storage_quota_bytes: int
    bandwidth_quota_bytes: int
    max_file_size_bytes: int
    rate_limit_per_minute: int


@dataclass(frozen=True)
class UploadOptions:
    """What a tenant may say about a file it uploads."""

    cache_key: str | None = None
    pipeline_id: UUID | None = None
    expires_at: datetime | None = None
    content_hash: str | None = None


def safe_filename(given: str | None) -> str:
    """The last component of a name, without control characters, at most 255 bytes, its extension kept."""
    name = unicodedata.normalize("NFC", given or "")
    name = re.split(r"[/\\]", name)[-1]
    name = "".join(c for c in name if unicodedata.category(c)[0] != "C").strip()
    if name in ("", ".", ".."):
        return "file"
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension) > 20:
        stem, dot, extension = name, "", ""
    room = _MAX_FILENAME_BYTES - len((dot + extension).encode())
    return stem.encode()[:room].decode(errors="ignore") + dot + extension


def object_key(prefix: str, upload_id: UUID, filename: str) -> str:
    """A unique key under the account's prefix, within Lyve's 255 characters; overwriting leaks parts."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", filename)
    stem, dot, extension = name.rpartition(".")
    if not stem:
        stem, dot, extension = name, "", ""
    return f"{prefix}{upload_id}/{stem[: _MAX_KEY_NAME_LENGTH - len(extension)]}{dot}{extension}"


def content_type_of(given: str | None, filename: str) -> str:
    """The given content type where it is well-formed and says something, else a guess by the name."""
    if (
        given
        and given != DEFAULT_CONTENT_TYPE
        and len(given) <= 255
        and _CONTENT_TYPE.fullmatch(given.strip())
    ):
        return given.strip()
    return mimetypes.guess_type(filename, strict=False)[0] or DEFAULT_CONTENT_TYPE


def content_disposition(kind: str, filename: str) -> str:
    """A Content-Disposition header for any file name (RFC 6266, with RFC 8187 for what is not ASCII)."""
    plain = re.sub(r'[^\x20-\x7e]|["\\%]', "_", filename)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


def parse_options(fields: dict[str, str], *, now: datetime) -> UploadOptions:
    """Read the optional fields of an upload.

    Raises:
        InvalidField: naming the field and what it takes.
    """
    return UploadOptions(
        cache_key=checked_cache_key(fields.get("cache_key") or None),
        pipeline_id=_uuid("pipeline_id", fields.get("pipeline_id")),
        expires_at=_expiry(fields.get("expires_at"), fields.get("ttl_seconds"), now=now),
        content_hash=checked_hash(fields.get("content_hash") or None),
    )


def checked_cache_key(given: str | None) -> str | None:
    if given is not None and (len(given) > 512 or not given.isprintable()):
        raise InvalidField("cache_key takes up to 512 printable characters.", field="cache_key")
    return given


def checked_hash(given: str | None) -> str | None:
    if given is None:
        return None
    found = _HASH.fullmatch(given.strip())
    if found is None:
        raise InvalidField("content_hash takes a SHA-256 as 64 hexadecimal digits.", field="content_hash")
    return found.group(2).lower()


def _uuid(field: str, given: str | None) -> UUID | None:
    try:
        return UUID(given) if given else None
    except ValueError:
        raise InvalidField(f"{field} takes a UUID.", field=field) from None


def _expiry(expires_at: str | None, ttl_seconds: str | None, *, now: datetime) -> datetime | None:
    if expires_at and ttl_seconds:
        raise InvalidField("Give expires_at or ttl_seconds, not both.", field="expires_at")
    if ttl_seconds:
        if _TTL.fullmatch(ttl_seconds) is None:
            raise InvalidField(
                "ttl_seconds takes a positive whole number of seconds, up to ten digits.", field="ttl_seconds"
            )
        return now + timedelta(seconds=int(ttl_seconds))
    if not expires_at:
        return None
    try:
        moment = datetime.fromisoformat(expires_at)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidField(
            "expires_at takes an ISO 8601 time such as 2030-01-31T12:00:00Z.", field="expires_at"
        ) from None
    if moment <= now:
        raise InvalidField("expires_at lies in the past.", field="expires_at")
    return moment


@dataclass(frozen=True)
class ByteRange:
    """Bytes ``start`` to ``end``, inclusive, of ``size_bytes``."""

    start: int
    end: int
    size_bytes: int

    @property
    def length_bytes(self) -> int:
        return self.end - self.start + 1

    @property
    def content_range(self) -> str:
        return f"bytes {self.start}-{self.end}/{self.size_bytes}"


def parse_range(header: str | None, size_bytes: int) -> ByteRange | None:
    """The single range a Range header asks for (RFC 9110, section 14), or None for the whole.

    Several ranges, other units and malformed headers are answered with the whole, as the RFC allows.

    Raises:
        RangeNotSatisfiable: the range lies outside the bytes.
    """
    found = re.fullmatch(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", header or "", re.ASCII)
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if len(first) > 19 or len(last) > 19:
        raise RangeNotSatisfiable
    if not first:
        length = min(int(last), size_bytes)
        start, end = size_bytes - length, size_bytes - 1
    else:
        start, end = int(first), min(int(last) if last else size_bytes - 1, size_bytes - 1)
        if last and int(last) < start:
            return None
    if start > end:
        raise RangeNotSatisfiable
    return ByteRange(start, end, size_bytes)


def percent(used: int, quota: int) -> float:
    """Use in percent of the quota, two decimals; any use of no quota is 100."""
    if quota <= 0:
        return 100.0 if used > 0 else 0.0
    return round(used / quota * 100, 2)


def quota_warnings(
    resource: str, *, used_bytes: int, reserved_bytes: int, quota_bytes: int
) -> list[dict[str, object]]:
    """What a tenant should know about a resource, from 80 % on."""
    taken = percent(used_bytes + reserved_bytes, quota_bytes)
    if quota_bytes == 0:
        sentence, code = f"The tier includes no {resource}. Upgrade to use it.", "not_included"
    elif taken >= 100:
        sentence, code = f"The {resource} quota is used up: upgrade, or free some.", "exceeded"
    elif taken >= WARNING_PERCENT:
        sentence, code = f"{taken:g} % of the {resource} quota is used.", "near_limit"
    else:
        return []
    return [{"resource": resource, "code": code, "percent": taken, "message": sentence}]


def quota_answer(counters: Mapping[str, Any]) -> dict[str, Any]:
    """The quota answer: bytes are the truth, GB (10^9 bytes) are shown."""
    resources: dict[str, Any] = {}
    warnings: list[dict[str, object]] = []
    for resource in ("storage", "bandwidth"):
        used, reserved, quota = (
            counters[f"{resource}_{what}_bytes"] for what in ("used", "reserved", "quota")
        )
        resources[resource] = {
            "used_bytes": used,
            "reserved_bytes": reserved,
            "quota_bytes": quota,
            "available_bytes": max(0, quota - used - reserved),
            "used_gb": round(used / GIGABYTE, 2),
            "reserved_gb": round(reserved / GIGABYTE, 2),
            "quota_gb": round(quota / GIGABYTE, 2),
            "percent": percent(used + reserved, quota),
        }
        warnings += quota_warnings(resource, used_bytes=used, reserved_bytes=reserved, quota_bytes=quota)
    period_end = counters["period_end"].isoformat()
    resources["bandwidth"]["resets_at"] = period_end
    return {
        "success": True,
        "tier": counters["tier"],
        "status": counters["status"],
        "jetty_speed_enabled": counters["jetty_speed_enabled"],
        "max_file_size_mb": counters["max_file_size_mb"],
        **resources,
        "warnings": warnings,
        "rate_limit": {"requests_per_minute": counters["rate_limit_per_minute"]},
        "request_count": counters["request_count"],
        "period": {"start": counters["period_start"].isoformat(), "end": period_end},
    }


MIN_CHUNK_BYTES = 5 * 1024 * 1024
MAX_CHUNK_BYTES = 5_000_000_000
MAX_CHUNKS = 10_000


@dataclass(frozen=True)
class ChunkPlan:
    """How a file is cut: equal chunks, the last one shorter. Chunks are numbered from 1."""

    size_bytes: int
    chunk_size_bytes: int

    @property
    def count(self) -> int:
        return -(-self.size_bytes // self.chunk_size_bytes)

    def size_of(self, number: int) -> int:
        """The size of a chunk in bytes.

        Raises:
            InvalidField: there is no chunk of this number.
        """
        if not 1 <= number <= self.count:
            raise InvalidField(f"There is no chunk {number}: the file has {self.count}.", field="numbers")
        return min(self.chunk_size_bytes, self.size_bytes - (number - 1) * self.chunk_size_bytes)

    def missing(self, received: Mapping[int, int]) -> list[list[int]]:
        """The chunks not received whole, as ranges [first, last]; ``received`` is number to size."""
        ranges: list[list[int]] = []
        for number in range(1, self.count + 1):
            if received.get(number) == self.size_of(number):
                continue
            if ranges and ranges[-1][1] == number - 1:
                ranges[-1][1] = number
            else:
                ranges.append([number, number])
        return ranges


def plan_chunks(size_bytes: int, wanted_bytes: int) -> ChunkPlan:
    """Cut a file into chunks of the wanted size, as far as S3's limits on parts allow."""
    fewest = -(-size_bytes // MAX_CHUNKS)
    return ChunkPlan(size_bytes, min(max(wanted_bytes, MIN_CHUNK_BYTES, fewest), MAX_CHUNK_BYTES))


def joined_md5(md5s: Sequence[str]) -> str:
    """The MD5 of the chunks' binary MD5s in order: what S3 builds a multipart object's ETag from."""
    return hashlib.md5(b"".join(map(bytes.fromhex, md5s)), usedforsecurity=False).hexdigest()
