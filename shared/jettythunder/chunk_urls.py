"""The addresses of chunks that wait in a gateway's spool: signed by gateways, and checked by both ends."""

from collections.abc import Sequence
from typing import Self
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from pydantic import Field, SecretStr, field_validator

from jettythunder.errors import LinkInvalid
from jettythunder.settings import EnvironmentSettings
from jettythunder.signing import Signer

_SHORTEST_KEY = 32


class ChunkUrlSettings(EnvironmentSettings):
    """What those addresses are signed with."""

    jettythunder_internal_key: SecretStr = Field(
        description="Signs the addresses that gateways give to chunk-workers, at least 32 characters; "
        "the same for both. Several, separated by commas: the first signs, all are accepted"
    )

    @field_validator("jettythunder_internal_key")
    @classmethod
    def _long(cls, value: SecretStr) -> SecretStr:
        if any(len(key) < _SHORTEST_KEY for key in _keys(value)):
            raise ValueError(f"each key needs at least {_SHORTEST_KEY} characters")
        return value


class ChunkUrls:
    """Signs and checks addresses, with HMAC-SHA-256. The first key signs, all are accepted."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._signers = [Signer(key, purpose="internal-chunk") for key in keys]

    @classmethod
    def of(cls, settings: ChunkUrlSettings) -> Self:
        """With the keys of the settings."""
        return cls(_keys(settings.jettythunder_internal_key))

    def signed(self, base_url: str, upload_id: UUID, number: int, *, expires_at: int) -> str:
        """The address of a chunk at a gateway, valid until ``expires_at`` (Unix seconds)."""
        signature = self._signers[0].sign(upload_id, number, expires_at=expires_at)
        return f"{base_url}{_path(upload_id, number)}?expires_at={expires_at}&signature={signature}"

    def check(self, upload_id: UUID, number: int, *, expires_at: int, signature: str) -> None:
        """Check the signature of an address.

        Raises:
            LinkInvalid, LinkExpired: as their names say.
        """
        for signer in self._signers[:-1]:
            try:
                return signer.check(upload_id, number, expires_at=expires_at, signature=signature)
            except LinkInvalid:
                continue
        return self._signers[-1].check(upload_id, number, expires_at=expires_at, signature=signature)

    def check_url(self, url: str, upload_id: UUID, number: int) -> None:
        """Make sure that a gateway gave this address for this very chunk.

        Raises:
            LinkInvalid, LinkExpired: as their names say.
        """
        try:
            parts = urlsplit(url)
            query = parse_qs(parts.query, strict_parsing=True)
            ((expires_at,), (signature,)) = query.pop("expires_at"), query.pop("signature")
            moment = int(expires_at)
        except (ValueError, KeyError):
            raise LinkInvalid("The chunk's address is not a gateway's.") from None
        if parts.scheme not in ("http", "https") or parts.path != _path(upload_id, number) or query:
            raise LinkInvalid("The chunk's address is not a gateway's.")
        self.check(upload_id, number, expires_at=moment, signature=signature)


def _path(upload_id: UUID, number: int) -> str:
    return f"/internal/chunks/{upload_id}/{number}"


def _keys(value: SecretStr) -> list[str]:
    return [key.strip() for key in value.get_secret_value().split(",")]
