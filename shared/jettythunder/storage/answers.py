"""What an S3 endpoint's answers mean."""

import re
from dataclasses import dataclass

from jettythunder.errors import ChecksumMismatch, StorageUnavailable

_ERROR_CODE = re.compile(r"<Code>(\w{1,64})</Code>")

# What S3 servers answer where a checksum is not that of the body.
_DIFFERENT_BYTES = ("BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch")

# Of other 4xx answers the same request would only get the same again.
_WORTH_REPEATING = (408, 409, 429)


class ObjectMissing(Exception):
    """There is no such object or multipart upload."""


class CallUnknown(StorageUnavailable):
    """The endpoint does not have this call of S3's interface."""


class PartsMissing(Exception):
    """The endpoint does not have the parts of a multipart upload as it acknowledged them."""


@dataclass(frozen=True)
class StoredPart:
    """A part as the object storage acknowledged it."""

    number: int
    etag: str


def error_code(body: bytes) -> str:
    """The ``Code`` of an S3 error body (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html)."""
    found = _ERROR_CODE.search(body.decode(errors="replace"))
    return found.group(1) if found else ""


def is_worth_repeating(status: int, code: str) -> bool:
    """Whether the same request may succeed a moment later."""
    return status >= 500 or status in _WORTH_REPEATING or code == "RequestTimeout"


def refusal(status: int, code: str, key: str) -> Exception:
    """What an error answer means."""
    if code in _DIFFERENT_BYTES:
        return ChecksumMismatch()
    if code in ("InvalidPart", "InvalidPartOrder", "EntityTooSmall"):
        return PartsMissing(code)
    if status == 404 and code != "NoSuchBucket":
        return ObjectMissing(key)
    kind = CallUnknown if status in (405, 501) else StorageUnavailable
    return kind(f"The object storage answered {status} {code}".rstrip() + ".")
