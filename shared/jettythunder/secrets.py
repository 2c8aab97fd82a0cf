"""Secrets as settings have them: single, in pairs for a rotation, and in rings whose keys have ids."""

import re
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, SecretStr, ValidationInfo
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

SHORTEST_LIVE = 32
_MOST_IN_ROTATION = 2
_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")

# What stands in documents as an example: anybody may try it.
_EXAMPLES = frozenset({"shared_secret_here_123456789"})

Value = TypeVar("Value")


def check_strength(secret: str) -> None:
    """Refuse what does not protect a live environment.

    Raises:
        ValueError: with a sentence that does not show the secret.
    """
    if secret in _EXAMPLES:
        raise ValueError(
            "this value is an example of the documentation and can't be used in a live environment"
        )
    if len(secret) < SHORTEST_LIVE:
        raise ValueError(
            f"a secret of a live environment needs at least {SHORTEST_LIVE} characters, and has {len(secret)}"
        )


def is_live(info: ValidationInfo) -> bool:
    """Whether the settings that are read are those of a live environment."""
    return info.data.get("jettythunder_environment") == "live"


def required_without(other: str) -> AfterValidator:
    """A setting that may be left out only where ``other`` is set; with ``validate_default=True``."""

    def check(value: Value, info: ValidationInfo) -> Value:
        if not value and not info.data.get(other, True):
            raise PydanticCustomError("missing", "it is not set")
        return value

    return AfterValidator(check)


def split(given: Any) -> Any:
    """The items of a setting that separates them by commas; what is no text is left as it is."""
    return tuple(item.strip() for item in given.split(",")) if isinstance(given, str) else given


def parse_ring(given: Any) -> Any:
    """The keys of ``id:key,id:key`` by their ids, in their order; what is no text is left as it is.

    Raises:
        ValueError: with a sentence, where it has another form or an id occurs twice.
    """
    if not isinstance(given, str):
        return given
    ring: dict[str, str] = {}
    for item in split(given):
        key_id, colon, key = item.partition(":")
        if not colon or not key or not _ID.fullmatch(key_id):
            raise ValueError("it must be id:key, or several of them separated by commas")
        if key_id in ring:
            raise ValueError(f"the id {key_id} occurs twice")
        ring[key_id] = key
    return ring


def _strong(secret: SecretStr, info: ValidationInfo) -> SecretStr:
    if is_live(info):
        check_strength(secret.get_secret_value())
    return secret


def _few(secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    if len(secrets) > _MOST_IN_ROTATION:
        raise ValueError("two secrets are accepted at most: the new one and the old one")
    return secrets


# A live environment takes none that is short, or an example of the documentation.
Secret = Annotated[SecretStr, AfterValidator(_strong)]
# One, or during a rotation two, the new one first.
Secrets = Annotated[tuple[Secret, ...], NoDecode, BeforeValidator(split), AfterValidator(_few)]
