"""The optional fields of an upload."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from jettythunder.errors import InvalidField
from storage_gateway.uploads.model import UploadOptions, parse_options

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
HASH = "ab" * 32
PIPELINE = "6a1df4a7-1be8-4d10-8a7a-6d2f2a3d9f10"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, UploadOptions()),
        ({"cache_key": "", "pipeline_id": "", "expires_at": "", "content_hash": ""}, UploadOptions()),
        ({"cache_key": "prompt:ü 1"}, UploadOptions(cache_key="prompt:ü 1")),
        ({"cache_key": "k" * 512}, UploadOptions(cache_key="k" * 512)),
        ({"pipeline_id": PIPELINE}, UploadOptions(pipeline_id=UUID(PIPELINE))),
        ({"ttl_seconds": "60"}, UploadOptions(expires_at=NOW + timedelta(seconds=60))),
        ({"expires_at": "2026-05-01T12:00:01Z"}, UploadOptions(expires_at=NOW + timedelta(seconds=1))),
        ({"expires_at": "2026-05-01T14:00:01+02:00"}, UploadOptions(expires_at=NOW + timedelta(seconds=1))),
        ({"expires_at": "2026-05-01T12:00:01"}, UploadOptions(expires_at=NOW + timedelta(seconds=1))),
        ({"content_hash": HASH}, UploadOptions(content_hash=HASH)),
        ({"content_hash": f"sha256:{HASH.upper()}"}, UploadOptions(content_hash=HASH)),
        ({"unknown": "x"}, UploadOptions()),
    ],
)
def test_fields_are_read(fields: dict[str, str], expected: UploadOptions) -> None:
    assert parse_options(fields, now=NOW) == expected


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"cache_key": "k" * 513}, "cache_key"),
        ({"cache_key": "a\nb"}, "cache_key"),
        ({"cache_key": "a\x00"}, "cache_key"),
        ({"pipeline_id": "7"}, "pipeline_id"),
        ({"ttl_seconds": "0"}, "ttl_seconds"),
        ({"ttl_seconds": "-5"}, "ttl_seconds"),
        ({"ttl_seconds": "1.5"}, "ttl_seconds"),
        ({"ttl_seconds": "²"}, "ttl_seconds"),
        ({"ttl_seconds": "9" * 11}, "ttl_seconds"),
        ({"ttl_seconds": "9" * 5000}, "ttl_seconds"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-12:00"}, "expires_at"),
        ({"expires_at": "2026-05-01T12:00:00Z"}, "expires_at"),
        ({"expires_at": "2027-01-01", "ttl_seconds": "5"}, "expires_at"),
        ({"content_hash": "ab"}, "content_hash"),
        ({"content_hash": f"md5:{HASH}"}, "content_hash"),
    ],
)
def test_a_bad_field_is_refused_by_its_name(fields: dict[str, str], named: str) -> None:
    with pytest.raises(InvalidField, match=named) as caught:
        parse_options(fields, now=NOW)
    assert caught.value.extra["field"] == named
