"""Ed25519 signatures of edge tokens and stream links: gateways sign, and who verifies can't forge.

A signature is written ``<kid>.<64 bytes>``, the bytes in URL-safe base64 without padding. What is signed are
the ASCII bytes of ``jettythunder/<purpose>/v1``, a newline, and the text; so a signature made for one purpose
is none for another. docs/jettyspeed.md describes it for other implementations, with test vectors.
"""

import base64
import re
import secrets
from collections.abc import Mapping
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from jettythunder.errors import LinkInvalid

EDGE_CHUNK = "edge-chunk"
STREAM_LINK = "stream-link"

_KEY_BYTES = 32
_SIGNATURE_BYTES = 64
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")


class VerifyingKeys:
    """Public keys by their ids: they check signatures, and make none."""

    def __init__(self, keys: Mapping[str, Ed25519PublicKey]) -> None:
        self._keys = dict(keys)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The keys in ``kid:public key[,…]``, each key 32 bytes in URL-safe base64 without padding.

        Raises:
            ValueError: the text has another form, or names a key twice.
        """
        return cls({kid: Ed25519PublicKey.from_public_bytes(raw) for kid, raw in _parsed(text).items()})

    def check(self, purpose: str, text: str, signature: str) -> None:
        """Check the signature of a text.

        Raises:
            LinkInvalid: it is not the signature of this text for this purpose by one of the keys.
        """
        kid, _, encoded = signature.partition(".")
        key = self._keys.get(kid)
        try:
            raw = decoded(encoded)
            message = _message(purpose, text)
        except ValueError:
            raise LinkInvalid from None
        if key is None or len(raw) != _SIGNATURE_BYTES:
            raise LinkInvalid
        try:
            key.verify(raw, message)
        except InvalidSignature:
            raise LinkInvalid from None

    def __str__(self) -> str:
        """The form that :meth:`parse` takes."""
        return ",".join(f"{kid}:{encoded(key.public_bytes_raw())}" for kid, key in self._keys.items())


class SigningKeys:
    """Private keys by their ids. The first one signs; the signatures of all are verified."""

    def __init__(self, keys: Mapping[str, Ed25519PrivateKey]) -> None:
        self._kid, self._key = next(iter(keys.items()))
        self.verifying = VerifyingKeys({kid: key.public_key() for kid, key in keys.items()})

    @classmethod
    def parse(cls, text: str) -> Self:
        """The keys in ``kid:seed[,…]``, each seed 32 bytes in URL-safe base64 without padding.

        Raises:
            ValueError: the text has another form, or names a key twice.
        """
        return cls({kid: Ed25519PrivateKey.from_private_bytes(raw) for kid, raw in _parsed(text).items()})

    def sign(self, purpose: str, text: str) -> str:
        """The signature of an ASCII text for a purpose."""
        return f"{self._kid}.{encoded(self._key.sign(_message(purpose, text)))}"


def new_signing_key(kid: str) -> str:
    """A new key as :meth:`SigningKeys.parse` takes it."""
    return f"{kid}:{encoded(secrets.token_bytes(_KEY_BYTES))}"


def encoded(raw: bytes) -> str:
    """URL-safe base64 without padding (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decoded(text: str) -> bytes:
    """The bytes of a text that :func:`encoded` made.

    Raises:
        ValueError: it is none; other spellings of the same bytes are refused, too.
    """
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if encoded(raw) != text:
        raise ValueError("This is not canonical base64 without padding.")
    return raw


def _message(purpose: str, text: str) -> bytes:
    return f"jettythunder/{purpose}/v1\n{text}".encode("ascii")


def _parsed(text: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for item in text.split(","):
        kid, _, key = item.strip().partition(":")
        try:
            raw = decoded(key)
        except ValueError:
            raw = b""
        # The key itself is never part of a message.
        if _KEY_ID.fullmatch(kid) is None or len(raw) != _KEY_BYTES:
            raise ValueError(
                "each key is written kid:key, the kid 1 to 32 letters, digits, - or _, and the key 32 "
                "bytes in URL-safe base64 without padding"
            )
        if kid in found:
            raise ValueError(f"the key id {kid} is there twice")
        found[kid] = raw
    return found
