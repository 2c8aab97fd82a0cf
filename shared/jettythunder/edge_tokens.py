"""Edge tokens: what lets a client send one chunk of one upload to any edge, until it expires.

Form: ``<payload>.<signature>``, both URL-safe base64 without padding. The payload is JSON with everything an
edge needs to store the chunk, so an edge looks nothing up to check it; the signature is HMAC-SHA-256 over
the payload's bytes. The token is opaque to clients.
"""

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from uuid import UUID

from jettythunder import signing
from jettythunder.errors import LinkExpired, LinkInvalid

_LONGEST = 4096


@dataclass(frozen=True, kw_only=True)
class EdgeToken:
    """What a token says. ``expires_at`` is in Unix seconds."""

    account_id: UUID
    upload_id: UUID
    number: int
    size_bytes: int
    s3_bucket: str
    s3_key: str
    s3_upload_id: str
    expires_at: int


class EdgeTokens:
    """Mints tokens (gateway) and reads them (edges), with the signing key both have."""

    def __init__(self, signing_key: str) -> None:
        self._key = signing.derive(signing_key, info="signature/edge-chunk")

    def mint(self, token: EdgeToken) -> str:
        """The token as text."""
        claims = {
            "a": token.account_id.hex,
            "u": token.upload_id.hex,
            "n": token.number,
            "z": token.size_bytes,
            "b": token.s3_bucket,
            "k": token.s3_key,
            "m": token.s3_upload_id,
            "e": token.expires_at,
        }
        payload = json.dumps(claims, separators=(",", ":")).encode()
        return f"{_text(payload)}.{_text(self._signature(payload))}"

    def read(self, text: str) -> EdgeToken:
        """Check a token and say what it allows.

        Raises:
            LinkInvalid: it is not one of ours.
            LinkExpired: it is, and its time is over.
        """
        payload = self._checked(text)
        try:
            claims = json.loads(payload)
            token = EdgeToken(
                account_id=UUID(hex=claims["a"]),
                upload_id=UUID(hex=claims["u"]),
                number=claims["n"],
                size_bytes=claims["z"],
                s3_bucket=claims["b"],
                s3_key=claims["k"],
                s3_upload_id=claims["m"],
                expires_at=int(claims["e"]),
            )
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError):
            # Signed by us, so a token of another version.
            raise LinkInvalid from None
        if token.expires_at < time.time():
            raise LinkExpired
        return token

    def _checked(self, text: str) -> bytes:
        """The payload of a token with the right signature."""
        if len(text) > _LONGEST:
            raise LinkInvalid
        encoded, _, signature = text.partition(".")
        try:
            payload, given = _bytes(encoded), _bytes(signature)
        except ValueError:
            raise LinkInvalid from None
        if not hmac.compare_digest(given, self._signature(payload)):
            raise LinkInvalid
        return payload

    def _signature(self, payload: bytes) -> bytes:
        return hmac.new(self._key, payload, hashlib.sha256).digest()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    """The bytes of a text that :func:`_text` made.

    Raises:
        ValueError: it is none; other spellings of the same bytes are refused, too.
    """
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _text(raw) != text:
        raise ValueError("This is not canonical base64 without padding.")
    return raw
