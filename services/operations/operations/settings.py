"""The settings of operations."""

from jettythunder.settings import ServiceSettings


class Settings(ServiceSettings):
    """The servers behind operations. It needs no others."""
