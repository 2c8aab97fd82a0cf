"""Uploads and their chunks."""

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from jettythunder.contracts.envelope import Payload


class _AboutAccount(Payload):
    account_id: UUID

    @property
    def about(self) -> str:
        return str(self.account_id)


class UploadChunkV1(Payload):
    """Fetch a chunk from the gateway's signed URL and store it as the part with the same number."""

    TYPE: ClassVar[str] = "jettythunder.chunk.upload.v1"

    upload_id: UUID
    account_id: UUID
    number: int = Field(ge=1, le=10_000)
    size_bytes: int = Field(ge=0)
    md5: str
    source_url: str
    s3_bucket: str
    s3_key: str
    s3_upload_id: str

    @property
    def about(self) -> str:
        return str(self.upload_id)


class UploadChunkV2(Payload):
    """Fetch a chunk from the gateway's signed URL and store it as the part with the same number.

    Attributes:
        checksum: hexadecimal, after the algorithm's name unless it is MD5: ``crc64nvme:9ae4…``. The object
            storage has to compare it.
    """

    TYPE: ClassVar[str] = "jettythunder.chunk.upload.v2"

    upload_id: UUID
    account_id: UUID
    number: int = Field(ge=1, le=10_000)
    size_bytes: int = Field(ge=0)
    checksum: str = Field(
        pattern=r"^([0-9a-f]{32}|crc64nvme:[0-9a-f]{16}|crc32c:[0-9a-f]{8})$",
        examples=["crc64nvme:ae8b14860a799888"],
    )
    source_url: str
    s3_bucket: str
    s3_key: str
    s3_upload_id: str

    @property
    def about(self) -> str:
        return str(self.upload_id)


class ChunkStored(BaseModel):
    """The answer to UploadChunkV1 and V2: the object storage has the chunk. ``md5`` is its checksum."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    outcome: Literal["stored"] = "stored"
    upload_id: UUID
    number: int
    etag: str
    md5: str


class ChunkUploadedV1(_AboutAccount):
    """The object storage acknowledged a chunk. ``md5`` is its checksum, written as in UploadChunkV2."""

    TYPE: ClassVar[str] = "jettythunder.chunk.uploaded.v1"

    upload_id: UUID
    number: int
    size_bytes: int = Field(ge=0)
    md5: str
    etag: str
    edge: str


class ChunkFailedV1(_AboutAccount):
    """A chunk can't be stored and won't be tried again."""

    TYPE: ClassVar[str] = "jettythunder.chunk.failed.v1"

    upload_id: UUID
    number: int
    code: str
    edge: str


class UploadCreatedV1(_AboutAccount):
    """An upload began and its storage is reserved."""

    TYPE: ClassVar[str] = "jettythunder.upload.created.v1"

    upload_id: UUID
    kind: str
    filename: str
    reserved_bytes: int = Field(ge=0)


class UploadCompletedV1(_AboutAccount):
    """An upload ended well. ``stored_bytes`` is 0 where the account already had these bytes."""

    TYPE: ClassVar[str] = "jettythunder.upload.completed.v1"

    upload_id: UUID
    asset_id: UUID
    size_bytes: int = Field(ge=0)
    stored_bytes: int = Field(ge=0)
    chunk_count: int
    deduplicated: bool
    duration_seconds: float


class UploadAbortedV1(_AboutAccount):
    """An upload ended without a result. ``code`` is from the error table, or ``expired``."""

    TYPE: ClassVar[str] = "jettythunder.upload.aborted.v1"

    upload_id: UUID
    code: str
