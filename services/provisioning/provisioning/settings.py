"""Provisioning's settings."""

from pydantic import Field, SecretStr

from jettythunder.settings import ServiceSettings, StorageSettings


class Settings(ServiceSettings, StorageSettings):
    """The servers, the bucket, and what credentials are derived from."""

    jettythunder_master_key: SecretStr = Field(
        min_length=32,
        description="All credentials are derived from it, at least 32 characters; "
        "keep it safe and never change it",
    )
