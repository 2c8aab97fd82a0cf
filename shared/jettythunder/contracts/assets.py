"""Assets: stored, verified, read and deleted."""

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from jettythunder.contracts.envelope import Payload


class _AboutAccount(Payload):
    account_id: UUID

    @property
    def about(self) -> str:
        return str(self.account_id)


class AssetStoredV1(_AboutAccount):
    """An asset came to be."""

    TYPE: ClassVar[str] = "jettythunder.asset.stored.v1"

    asset_id: UUID
    upload_id: UUID
    filename: str
    content_type: str
    size_bytes: int = Field(ge=0)
    content_hash: str
    cache_key: str | None = None
    s3_bucket: str
    s3_key: str


class AssetDownloadedV1(_AboutAccount):
    """A download link was signed; its bandwidth, the asset's size, is counted at that moment."""

    TYPE: ClassVar[str] = "jettythunder.asset.downloaded.v1"

    asset_id: UUID
    reservation_id: UUID
    size_bytes: int = Field(ge=0)


class AssetStreamedV1(_AboutAccount):
    """Bytes of an asset were sent, also when the player hung up early."""

    TYPE: ClassVar[str] = "jettythunder.asset.streamed.v1"

    asset_id: UUID
    reservation_id: UUID
    sent_bytes: int = Field(ge=0)


class AssetDeletedV1(_AboutAccount):
    """An asset was deleted and no longer counts.

    ``reason`` is ``request``, ``expired`` or ``object_missing``.
    """

    TYPE: ClassVar[str] = "jettythunder.asset.deleted.v1"

    asset_id: UUID
    size_bytes: int = Field(ge=0)
    reason: str


class AssetObjectMissingV1(_AboutAccount):
    """An asset's object is not in the object storage, or has another size; seen by reconciliation.

    ``found_bytes`` is the size of the object that is there, None where there is none.
    """

    TYPE: ClassVar[str] = "jettythunder.asset.object_missing.v1"

    asset_id: UUID
    s3_bucket: str
    s3_key: str
    size_bytes: int = Field(ge=0)
    found_bytes: int | None = Field(default=None, ge=0)


class VerifyAssetV1(_AboutAccount):
    """Read an asset's object once, and answer with the SHA-256 of its bytes.

    ``size_bytes`` is the size that the asset's row says.
    """

    TYPE: ClassVar[str] = "jettythunder.asset.verify.v1"

    asset_id: UUID
    s3_bucket: str
    s3_key: str
    size_bytes: int = Field(ge=0)


class AssetVerified(BaseModel):
    """The answer to VerifyAssetV1: what the object storage really has.

    ``content_hash`` is the SHA-256 of all ``size_bytes`` bytes of the object, hexadecimal; whoever asked
    compares both with the asset.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    outcome: Literal["verified"] = "verified"
    asset_id: UUID
    content_hash: str
    size_bytes: int = Field(ge=0)
