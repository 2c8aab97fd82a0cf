"""A client of the S3 server that is none of ours: for what the services do not ask of it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

import aioboto3
from botocore.config import Config
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

    The server is asked, since the database forgets an upload's id once nothing is left of it.
    """
    pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix)
    return [(upload["Key"], upload["UploadId"]) async for page in pages for upload in page.get("Uploads", [])]
