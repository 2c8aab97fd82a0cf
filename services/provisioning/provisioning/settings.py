"""Provisioning's settings."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from jettythunder.secrets import Secret, parse_ring, required_without
from jettythunder.settings import ServiceSettings, StorageSettings

MasterKey = Annotated[Secret, Field(min_length=32)]

# The id of JETTYTHUNDER_MASTER_KEY, which was the only key before there was a ring.
_SINGLE_ID = "1"


class Settings(ServiceSettings, StorageSettings):
    """The servers, the bucket, and what credentials are derived from."""

    jettythunder_master_keys: Annotated[dict[str, MasterKey], NoDecode, BeforeValidator(parse_ring)] = Field(
        default={},
        description="The ring of keys that credentials are derived from, id:key separated by commas, the "
        "newest first; each key has at least 32 characters and keeps its id",
    )
    jettythunder_master_key: Annotated[MasterKey | None, required_without("jettythunder_master_keys")] = (
        Field(
            default=None,
            validate_default=True,
            description="The key with the id 1, at least 32 characters, the oldest of the ring; required "
            "without JETTYTHUNDER_MASTER_KEYS",
        )
    )

    @field_validator("jettythunder_master_key")
    @classmethod
    def _id_is_free(cls, key: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if key and _SINGLE_ID in info.data.get("jettythunder_master_keys", {}):
            raise ValueError("JETTYTHUNDER_MASTER_KEYS has a key with the id 1 already: set one of the two")
        return key

    @property
    def master_keys(self) -> Mapping[str, str]:
        """The ring by ids, the newest key first."""
        ring = dict(self.jettythunder_master_keys)
        if self.jettythunder_master_key:
            ring[_SINGLE_ID] = self.jettythunder_master_key
        return {key_id: key.get_secret_value() for key_id, key in ring.items()}
