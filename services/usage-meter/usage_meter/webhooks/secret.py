"""The secret that webhooks are signed with, in the two forms that it may have."""

import base64
import binascii
from typing import Annotated, Any

from pydantic import BeforeValidator, SecretBytes, ValidationInfo

from jettythunder.secrets import check_strength, is_live

_PREFIX = "whsec_"
_SHORTEST_BYTES = 16


def signing_key(secret: str) -> bytes:
    """The HMAC key: what follows ``whsec_``, decoded from base64, or else the bytes of the text.

    Raises:
        ValueError: with a sentence, where it can't be decoded or is too short.
    """
    key = _decoded(secret.removeprefix(_PREFIX)) if secret.startswith(_PREFIX) else secret.encode()
    if len(key) < _SHORTEST_BYTES:
        raise ValueError(f"the signing key has {len(key)} bytes and needs at least {_SHORTEST_BYTES}")
    return key


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError("what follows whsec_ is not base64") from error


def _key_of(given: Any, info: ValidationInfo) -> Any:
    if not isinstance(given, str):
        return given
    key = signing_key(given)
    if is_live(info):
        check_strength(given)
    return key


# A setting in one of the two forms, read into the HMAC key.
SigningKey = Annotated[SecretBytes, BeforeValidator(_key_of)]
