"""The object storage: an S3 client that asks the endpoint what it can, and streams bytes unheld.

Control calls go through aioboto3. Bytes go through presigned URLs and one aiohttp session, because botocore
reads and signs whole bodies, and a streamed part must not be in memory at once.
"""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aioboto3
import aiohttp
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from jettythunder import telemetry
from jettythunder.errors import ChecksumMismatch, StorageUnavailable
from jettythunder.settings import StorageSettings

log = telemetry.logger(__name__)

_PRESIGNED_SECONDS = 3600
_ATTEMPTS = 3

Body = Callable[[], AsyncIterator[bytes]]


@dataclass(frozen=True)
class Capabilities:
    """What the endpoint was seen to support."""

    conditional_writes: bool
    expire_incomplete_uploads: bool


@dataclass(frozen=True)
class StoredPart:
    """A part as the object storage acknowledged it."""

    number: int
    etag: str


class ObjectMissing(Exception):
    """There is no such object or multipart upload."""


class Storage:
    """One bucket.

    All methods raise :class:`StorageUnavailable` when the endpoint can't be reached or fails, and
    :class:`ObjectMissing` where they name an object or upload that is not there.
    """

    def __init__(self, settings: StorageSettings) -> None:
        self._settings = settings
        self.bucket = settings.lyve_bucket_name
        self._stack = contextlib.AsyncExitStack()
        self._client: Any = None
        self._http: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Open the client; makes no call yet."""
        session = aioboto3.Session(
            aws_access_key_id=self._settings.lyve_access_key_id,
            aws_secret_access_key=self._settings.lyve_secret_access_key.get_secret_value(),
            region_name=self._settings.lyve_region,
        )
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": "path", "payload_signing_enabled": True},
            max_pool_connections=64,
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "max_attempts": _ATTEMPTS},
            # botocore's default adds checksum trailers that many S3 servers refuse.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        self._client = await self._stack.enter_async_context(
            session.client("s3", endpoint_url=self._settings.lyve_endpoint, config=config)
        )
        self._http = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=64),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=120),
                auto_decompress=False,
                read_bufsize=1 << 20,
            )
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._stack.aclose()

    async def ping(self) -> None:
        """Raises StorageUnavailable unless the endpoint answers for the bucket within two seconds."""
        try:
            async with asyncio.timeout(2):
                await self._client.head_bucket(Bucket=self.bucket)
        except ClientError as error:
            raise StorageUnavailable from error
        except (BotoCoreError, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise StorageUnavailable from error

    async def ensure_bucket(self) -> None:
        """Make the bucket where it is missing."""
        try:
            await self._client.head_bucket(Bucket=self.bucket)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise StorageUnavailable from error
            try:
                await self._client.create_bucket(Bucket=self.bucket)
            except self._client.exceptions.BucketAlreadyOwnedByYou:
                pass
            except ClientError as creation:
                raise StorageUnavailable from creation
        except (BotoCoreError, aiohttp.ClientError, OSError) as error:
            raise StorageUnavailable from error

    async def probe(self, prefix: str) -> Capabilities:
        """Try what differs between S3 servers, with a throwaway object under ``prefix``.

        Where lifecycle rules are known, one is set that drops incomplete uploads after a week: a second net
        below our own housekeeping.
        """
        key = f"{prefix}probe"
        await self.put(key, b"", content_type="application/octet-stream")
        try:
            conditional = await self._refuses_overwrite(key)
        finally:
            await self.delete(key)
        return Capabilities(conditional, await self._set_lifecycle())

    async def _refuses_overwrite(self, key: str) -> bool:
        try:
            await self._client.put_object(Bucket=self.bucket, Key=key, Body=b"", IfNoneMatch="*")
        except ClientError as error:
            return bool(error.response["ResponseMetadata"]["HTTPStatusCode"] == 412)
        except BotoCoreError:
            return False
        return False

    async def _set_lifecycle(self) -> bool:
        rule = {
            "ID": "drop-incomplete-uploads",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
        }
        try:
            await self._client.put_bucket_lifecycle_configuration(
                Bucket=self.bucket, LifecycleConfiguration={"Rules": [rule]}
            )
        except (ClientError, BotoCoreError):
            return False
        return True

    async def put(self, key: str, body: bytes, *, content_type: str) -> None:
        """Store a small object, with Content-MD5 so that the endpoint checks what it received."""
        await self._call(self._client.put_object, Key=key, Body=body, ContentType=content_type)

    async def put_streamed(
        self, key: str, body: Body, *, size_bytes: int, md5: str, content_type: str
    ) -> None:
        """Store an object from a stream that can be opened again. ``md5`` is hexadecimal."""
        params = {"Key": key, "ContentType": content_type}
        headers = {"Content-Type": content_type}
        await self._send("put_object", params, headers, body, size_bytes=size_bytes, md5=md5)

    async def create_multipart(self, key: str, *, content_type: str) -> str:
        """Begin a multipart upload and return its id."""
        answer = await self._call(self._client.create_multipart_upload, Key=key, ContentType=content_type)
        return str(answer["UploadId"])

    async def upload_part(
        self, key: str, upload_id: str, number: int, body: Body, *, size_bytes: int, md5: str
    ) -> StoredPart:
        """Store one part from a stream that can be opened again. ``md5`` is hexadecimal.

        Raises:
            ChecksumMismatch: the endpoint received other bytes.
        """
        params = {"Key": key, "UploadId": upload_id, "PartNumber": number}
        etag = await self._send("upload_part", params, {}, body, size_bytes=size_bytes, md5=md5)
        return StoredPart(number, etag)

    async def complete_multipart(self, key: str, upload_id: str, parts: list[StoredPart]) -> None:
        """Join the parts into the object."""
        listed = [{"PartNumber": p.number, "ETag": p.etag} for p in sorted(parts, key=lambda p: p.number)]
        await self._call(
            self._client.complete_multipart_upload,
            Key=key,
            UploadId=upload_id,
            MultipartUpload={"Parts": listed},
        )

    async def abort_multipart(self, key: str, upload_id: str) -> None:
        """Drop a multipart upload and its parts; one that is gone is fine."""
        with contextlib.suppress(ObjectMissing):
            await self._call(self._client.abort_multipart_upload, Key=key, UploadId=upload_id)

    async def delete(self, key: str) -> None:
        """Delete an object; one that is gone is fine."""
        with contextlib.suppress(ObjectMissing):
            await self._call(self._client.delete_object, Key=key)

    async def size_of(self, key: str) -> int:
        """The size of an object in bytes."""
        answer = await self._call(self._client.head_object, Key=key)
        return int(answer["ContentLength"])

    async def list_sizes(self, prefix: str) -> dict[str, int]:
        """The objects under a prefix, key to size in bytes."""
        found: dict[str, int] = {}
        token: dict[str, str] = {}
        while True:
            page = await self._call(self._client.list_objects_v2, Prefix=prefix, **token)
            found.update({item["Key"]: item["Size"] for item in page.get("Contents", ())})
            if not page.get("IsTruncated"):
                return found
            token = {"ContinuationToken": page["NextContinuationToken"]}

    async def presign_download(self, key: str, *, filename: str, content_type: str, seconds: int) -> str:
        """A URL that gives the object to whoever has it, for ``seconds``."""
        url = await self._client.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self.bucket,
                "Key": key,
                "ResponseContentDisposition": filename,
                "ResponseContentType": content_type,
            },
            ExpiresIn=seconds,
        )
        return str(url)

    async def presign_part(self, key: str, upload_id: str, number: int, *, seconds: int) -> str:
        """A URL that takes one part, for ``seconds``."""
        url = await self._client.generate_presigned_url(
            "upload_part",
            Params={"Bucket": self.bucket, "Key": key, "UploadId": upload_id, "PartNumber": number},
            ExpiresIn=seconds,
        )
        return str(url)

    @contextlib.asynccontextmanager
    async def read(self, key: str, *, start: int, end: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes ``start`` to ``end`` (inclusive) of an object, in blocks, as they arrive."""
        assert self._http is not None  # noqa: S101 - set by open
        url = await self._client.generate_presigned_url(
            "get_object", Params={"Bucket": self.bucket, "Key": key}, ExpiresIn=_PRESIGNED_SECONDS
        )
        try:
            async with self._http.get(url, headers={"Range": f"bytes={start}-{end}"}) as answer:
                if answer.status == 404:
                    raise ObjectMissing(key)
                if answer.status not in (200, 206):
                    raise StorageUnavailable
                yield answer.content.iter_any()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise StorageUnavailable from error

    async def _call(self, method: Callable[..., Awaitable[Any]], **params: Any) -> Any:
        try:
            return await method(Bucket=self.bucket, **params)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                raise ObjectMissing(params.get("Key", params.get("Prefix", ""))) from error
            raise StorageUnavailable from error
        except (BotoCoreError, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise StorageUnavailable from error

    async def _send(
        self,
        operation: str,
        params: dict[str, Any],
        headers: dict[str, str],
        body: Body,
        *,
        size_bytes: int,
        md5: str,
    ) -> str:
        """PUT a stream to a presigned URL, again where the endpoint failed, and return the ETag."""
        assert self._http is not None  # noqa: S101 - set by open
        checksum = base64.b64encode(bytes.fromhex(md5)).decode()
        url = await self._client.generate_presigned_url(
            operation,
            Params={"Bucket": self.bucket, "ContentMD5": checksum, **params},
            ExpiresIn=_PRESIGNED_SECONDS,
        )
        sent = {"Content-Length": str(size_bytes), "Content-MD5": checksum, **headers}
        failure: Exception = StorageUnavailable()
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(0.2 * 2**attempt)
            try:
                async with self._http.put(url, data=body(), headers=sent) as answer:
                    if answer.status == 200:
                        return _checked_etag(answer.headers.get("ETag", ""), md5)
                    text = await answer.text()
                    if answer.status == 404:
                        raise ObjectMissing(str(params["Key"]))
                    if answer.status == 400 and ("BadDigest" in text or "InvalidDigest" in text):
                        raise ChecksumMismatch
                    failure = StorageUnavailable(f"The object storage answered {answer.status}.")
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                failure = StorageUnavailable()
                failure.__cause__ = error
        raise failure


def _checked_etag(etag: str, md5: str) -> str:
    bare = etag.strip('"')
    # Of an unencrypted part the ETag is the MD5; other forms (KMS) can't be compared.
    if len(bare) == 32 and "-" not in bare and bare != md5:
        raise ChecksumMismatch
    return etag
