"""Edge tokens: what lets a client send one chunk of one upload to any edge, until it expires.

Form: ``<payload>.<kid>.<signature>``, payload and signature in URL-safe base64 without padding. The payload
is JSON with everything an edge needs to store the chunk; the signature is Ed25519 over the payload as it is
spelt in the token (:mod:`jettythunder.signatures`). The token is opaque to clients.
"""

import json
import time
from dataclasses import dataclass
from uuid import UUID

from jettythunder.errors import LinkExpired, LinkInvalid
from jettythunder.signatures import EDGE_CHUNK, SigningKeys, VerifyingKeys, decoded, encoded

_LONGEST = 4096


@dataclass(frozen=True, kw_only=True)
class EdgeToken:
    """What a token says. ``epoch`` is the account's when it was minted, ``expires_at`` is in Unix seconds."""

    account_id: UUID
    upload_id: UUID
    number: int
    size_bytes: int
    s3_bucket: str
    s3_key: str
    s3_upload_id: str
    epoch: int
    expires_at: int


def mint(keys: SigningKeys, token: EdgeToken) -> str:
    """The token as text."""
    claims = {
        "account": str(token.account_id),
        "upload": str(token.upload_id),
        "number": token.number,
        "size": token.size_bytes,
        "bucket": token.s3_bucket,
        "key": token.s3_key,
        "multipart": token.s3_upload_id,
        "epoch": token.epoch,
        "expires": token.expires_at,
    }
    payload = encoded(json.dumps(claims, separators=(",", ":")).encode())
    return f"{payload}.{keys.sign(EDGE_CHUNK, payload)}"


def read(keys: VerifyingKeys, text: str, *, late_seconds: float = 0) -> EdgeToken:
    """Check a token's signature and expiry, and say what it allows.

    Args:
        late_seconds: how long after its expiry it is still taken.

    Raises:
        LinkInvalid: it is not one of ours.
        LinkExpired: it is, and its time is over.
    """
    if len(text) > _LONGEST:
        raise LinkInvalid
    payload, _, signature = text.partition(".")
    keys.check(EDGE_CHUNK, payload, signature)
    try:
        claims = json.loads(decoded(payload))
        token = EdgeToken(
            account_id=UUID(claims["account"]),
            upload_id=UUID(claims["upload"]),
            number=_whole(claims["number"]),
            size_bytes=_whole(claims["size"]),
            s3_bucket=claims["bucket"],
            s3_key=claims["key"],
            s3_upload_id=claims["multipart"],
            epoch=_whole(claims["epoch"]),
            expires_at=_whole(claims["expires"]),
        )
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        # Signed by us, so a token of another version.
        raise LinkInvalid from None
    if token.expires_at + late_seconds < time.time():
        raise LinkExpired
    return token


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError("This is no whole number.")
    return value
