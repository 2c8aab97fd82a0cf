"""Credentials and signatures. Nothing here logs, and comparisons take constant time."""

import base64
import hashlib
import hmac
import time
from uuid import UUID

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from jettythunder.errors import LinkExpired, LinkInvalid


def secret_digest(secret: str) -> str:
    """SHA-256, hexadecimal. A plain hash suffices for 256 random-quality bits: they can't be guessed."""
    return hashlib.sha256(secret.encode()).hexdigest()


def matches(given: str, expected: str) -> bool:
    """Constant-time equality of two strings."""
    return hmac.compare_digest(given.encode(), expected.encode())


def derive(master_key: str, *, info: str, length_bytes: int = 32) -> bytes:
    """HKDF-SHA-256 (RFC 5869) of the master key, bound to ``info``."""
    return HKDF(
        algorithm=hashes.SHA256(), length=length_bytes, salt=b"jettythunder", info=info.encode()
    ).derive(master_key.encode())


def credentials(master_key: str, *, account_id: UUID, version: int, environment: str) -> tuple[str, str]:
    """The API key and secret of an account: the same arguments always give the same pair.

    Returns:
        ``jt_<environment>_…`` and ``jts_…``, each with 256 bits.
    """
    key = derive(master_key, info=f"api-key/{environment}/{account_id}/{version}")
    secret = derive(master_key, info=f"api-secret/{environment}/{account_id}/{version}")
    return f"jt_{environment}_{_text(key)}", f"jts_{_text(secret)}"


def _text(raw: bytes) -> str:
    # Base32 without padding: can be read aloud, selected by a double click, and put in a URL.
    return base64.b32encode(raw).decode().rstrip("=").lower()


class Signer:
    """Signs and checks expiring claims between services that share a key: the URLs of chunks in the spool.

    Each purpose has a key of its own, so a signature made for one is not valid for another.
    """

    def __init__(self, signing_key: str, *, purpose: str) -> None:
        self._key = derive(signing_key, info=f"signature/{purpose}")

    def sign(self, *claims: object, expires_at: int) -> str:
        """HMAC-SHA-256 over the claims and the expiry (Unix seconds), URL-safe."""
        # Length-prefixed, so that ("ab", "c") and ("a", "bc") differ.
        parts = [str(claim).encode() for claim in (*claims, expires_at)]
        message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return (
            base64.urlsafe_b64encode(hmac.new(self._key, message, hashlib.sha256).digest())
            .decode()
            .rstrip("=")
        )

    def check(self, *claims: object, expires_at: int, signature: str) -> None:
        """Check a signature.

        Raises:
            LinkInvalid: the signature is not of these claims.
            LinkExpired: it is, and its time is over.
        """
        if not matches(signature, self.sign(*claims, expires_at=expires_at)):
            raise LinkInvalid
        if expires_at < time.time():
            raise LinkExpired
