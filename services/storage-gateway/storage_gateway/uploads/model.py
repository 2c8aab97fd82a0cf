"""What an upload is: its states and their transitions, its plan of chunks, and its result.

created → receiving → completing → completed | aborted | expired. The database knows the same states in its
function ``upload_is_open``; a test compares the two.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Self
from uuid import UUID

from jettythunder.errors import InvalidField
from jettythunder.units import MEGABYTE
from storage_gateway.access.model import Tenant
from storage_gateway.assets.model import Asset, checked_cache_key, checked_hash
from storage_gateway.errors import FileTooLarge, StorageNotIncluded


class Status(StrEnum):
    """The state of an upload."""

    CREATED = "created"
    RECEIVING = "receiving"
    COMPLETING = "completing"
    COMPLETED = "completed"
    ABORTED = "aborted"
    EXPIRED = "expired"

    @property
    def is_open(self) -> bool:
        """Whether the upload has not ended; what it reserved is held until then."""
        return self in (Status.CREATED, Status.RECEIVING, Status.COMPLETING)

    @property
    def takes_chunks(self) -> bool:
        """Whether chunks may be stored: they are not being joined yet."""
        return self.is_open and self is not Status.COMPLETING


class Kind(StrEnum):
    """How an upload's bytes arrive: in one form, or in chunks by way of edges."""

    FORM = "form"
    SESSION = "session"


@dataclass(frozen=True)
class Upload:
    """An upload as stored."""

    id: UUID
    account_id: UUID
    kind: Kind
    status: Status
    filename: str
    content_type: str
    s3_bucket: str
    s3_key: str
    s3_upload_id: str | None
    size_bytes: int | None
    chunk_size_bytes: int | None
    content_hash: str | None
    cache_key: str | None
    agentcache_pipeline_id: UUID | None
    asset_expires_at: datetime | None
    asset_id: UUID | None
    failure_code: str | None
    correlation_id: str
    expires_at: datetime
    created_at: datetime

    @property
    def plan(self) -> "ChunkPlan":
        """How a session's file is cut."""
        return ChunkPlan(self.size_bytes or 0, self.chunk_size_bytes or 1)

    @property
    def multipart_id(self) -> str:
        """The multipart upload in the object storage that a session's chunks go to."""
        return self.s3_upload_id or ""


@dataclass(frozen=True)
class UploadOptions:
    """What a tenant may say about a file it uploads."""

    cache_key: str | None = None
    pipeline_id: UUID | None = None
    expires_at: datetime | None = None
    content_hash: str | None = None


@dataclass(frozen=True, kw_only=True)
class Received:
    """An upload whose bytes have all arrived.

    ``hash_verified`` says whether we computed ``content_hash`` from the bytes, or the client claims it.
    """

    upload_id: UUID
    account_id: UUID
    filename: str
    content_type: str
    s3_bucket: str
    s3_key: str
    s3_upload_id: str | None
    size_bytes: int
    content_hash: str
    hash_verified: bool
    chunk_count: int
    duration_seconds: float
    uploaded_via: str

    @property
    def speed_mbps(self) -> Decimal | None:
        """Megabits per second from the first byte to the last."""
        if self.size_bytes == 0:
            return None
        megabits = self.size_bytes * 8 / MEGABYTE / max(self.duration_seconds, 1e-6)
        return round(Decimal(min(megabits, 99_999_999)), 2)


@dataclass(frozen=True)
class Result:
    """The asset of a completed upload; ``deduplicated`` where the account had its bytes already."""

    asset: Asset
    deduplicated: bool
    upload_id: UUID
    cache_key: str | None


def check_size(tenant: Tenant, size_bytes: int | None) -> None:
    """Refuse what the tier does not allow.

    Raises:
        StorageNotIncluded, FileTooLarge: as their names say.
    """
    if tenant.storage_quota_gb == 0:
        raise StorageNotIncluded(tier=tenant.tier)
    if size_bytes is not None and size_bytes > tenant.max_file_size_bytes:
        raise FileTooLarge(
            f"The file is larger than the {tenant.max_file_size_mb} MB the {tenant.tier} tier allows.",
            max_file_size_bytes=tenant.max_file_size_bytes,
            tier=tenant.tier,
        )


_TTL = re.compile(r"[1-9][0-9]{0,9}")


def parse_options(fields: Mapping[str, str], *, now: datetime) -> UploadOptions:
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


# Parts of S3's multipart uploads (https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html).
MIN_CHUNK_BYTES = 5 * 1024 * 1024
MAX_CHUNK_BYTES = 5_000_000_000
MAX_CHUNKS = 10_000

MAX_TTL_SECONDS = 9_999_999_999


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


# With no more chunks under way than this, the object storage stores them as fast as they arrive. One that is
# far has as many under way as it is given.
FEW_IN_FLIGHT = 4
# How long a chunk may take to arrive, unless it is one of the least size.
_CHUNK_SECONDS = 10


@dataclass(frozen=True)
class ChunkSizes:
    """How large the chunks of a form's file are: small files stay quick, and large ones have few parts.

    Each part costs the object storage the same, however large it is; but a file is stored when its last part
    is, which waits for nothing but itself then.
    """

    least_bytes: int
    most_bytes: int
    # Of those that are stored as fast as they arrive.
    largest_bytes: int

    @classmethod
    def within(cls, room_bytes: int, *, least_bytes: int, in_flight: int) -> Self:
        """Sizes by which the chunks of one upload that wait for workers find room.

        Args:
            in_flight: how many those are at most.
        """

        def most(times: int, count: int) -> int:
            return max(least_bytes, min(times * least_bytes, room_bytes // count))

        return cls(least_bytes, most(5, in_flight), most(10, FEW_IN_FLIGHT + 1))

    def of(
        self, file_bytes: int | None, *, received_bytes: int, seconds: float, keeps_up: bool = False
    ) -> int:
        """The size of a chunk after the first: a tenth of what is left of the file, or a quarter of what has
        come where its length is unknown. The first one has ``least_bytes``, and so have a slow client's.

        Args:
            seconds: how long it took to receive those bytes. A chunk is what comes in ten seconds at most,
                since the spool holds it until all of it is there.
            keeps_up: whether chunks are stored as fast as they arrive. Many at once would make nothing faster
                then, so the next is half of what is left.
        """
        if file_bytes is None:
            wanted_bytes = received_bytes // 4
        else:
            wanted_bytes = (file_bytes - received_bytes) // (2 if keeps_up else 10)
        most_bytes = self.largest_bytes if keeps_up else self.most_bytes
        coming_bytes = int(received_bytes / max(seconds, 1e-6) * _CHUNK_SECONDS)
        return max(self.least_bytes, min(wanted_bytes, most_bytes, coming_bytes))


def plan_chunks(size_bytes: int, wanted_bytes: int) -> ChunkPlan:
    """Cut a file into chunks of the wanted size, as far as S3's limits on parts allow."""
    fewest = -(-size_bytes // MAX_CHUNKS)
    return ChunkPlan(size_bytes, min(max(wanted_bytes, MIN_CHUNK_BYTES, fewest), MAX_CHUNK_BYTES))


@dataclass(frozen=True)
class StoredChunk:
    """A chunk that the object storage has acknowledged, with its checksum, where that is known."""

    number: int
    size_bytes: int
    checksum: str
    etag: str


def joined_md5(chunks: Sequence[StoredChunk]) -> str:
    """The MD5 of the binary MD5s of a session's chunks: what a client proves that all arrived with."""
    return hashlib.md5(
        b"".join(bytes.fromhex(chunk.checksum) for chunk in chunks), usedforsecurity=False
    ).hexdigest()
