"""A client of the S3 server that is none of ours: for what the services do not ask of it."""

from __future__ import annotations

import hashlib
from contextlib import AbstractAsyncContextManager
from typing import Any

import aioboto3
from botocore.config import Config
from botocore.exceptions import ClientError
from tests.support.infrastructure import S3Access


def opened_s3(access: S3Access) -> AbstractAsyncContextManager[Any]:
    """A boto client as the bucket's owner, closed at the end."""
    session = aioboto3.Session(
        aws_access_key_id=access.access_key_id,
        aws_secret_access_key=access.secret_access_key,
        region_name=access.region,
    )
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
    )
    client: AbstractAsyncContextManager[Any] = session.client(
        "s3", endpoint_url=access.endpoint, config=config
    )
    return client


async def open_multiparts(client: Any, bucket: str, *, prefix: str = "") -> list[tuple[str, str]]:
    """Key and id of the multipart uploads that were begun and not ended.

    The server is asked, since the database forgets an upload's id once nothing is left of it. Each is looked
    at: Swift goes on listing one that is gone where a server of its own ended while it was removed.
    """
    pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix)
    listed = [
        (upload["Key"], upload["UploadId"]) async for page in pages for upload in page.get("Uploads", [])
    ]
    return [(key, upload_id) for key, upload_id in listed if await _is_open(client, bucket, key, upload_id)]


async def _is_open(client: Any, bucket: str, key: str, upload_id: str) -> bool:
    try:
        parts = (await client.list_parts(Bucket=bucket, Key=key, UploadId=upload_id)).get("Parts", [])
        joined = await client.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        # Without an object it is open; HEAD has no body, and so no code but the status.
        return str(error.response["Error"]["Code"]) != "NoSuchUpload"
    # Swift lists the parts of a joined upload as well, which are the object's own.
    md5s = b"".join(bytes.fromhex(part["ETag"].strip('"')) for part in parts)
    own = f"{hashlib.md5(md5s, usedforsecurity=False).hexdigest()}-{len(parts)}"
    return bool(joined["ETag"].strip('"') != own)
