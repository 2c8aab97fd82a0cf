"""The object storage's control calls, by aioboto3. Its bytes go by :mod:`jettythunder.storage.transfers`."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import aioboto3
import svcs
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from jettythunder.checksums import Algorithm, Checksum, checksum_of
from jettythunder.errors import StorageUnavailable
from jettythunder.settings import StorageSettings
from jettythunder.storage.answers import CallUnknown, ObjectMissing, StoredPart, refusal
from jettythunder.storage.presigning import Presigner
from jettythunder.storage.spans import calling_s3
from jettythunder.storage.transfers import ATTEMPTS, UNREACHABLE, Body, Transfers

_UNREACHABLE: tuple[type[Exception], ...] = (BotoCoreError, *UNREACHABLE)


@dataclass(frozen=True)
class ListedPart:
    """A part as the object storage lists it."""

    part: StoredPart
    size_bytes: int


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
        self._presigner = Presigner(settings)
        self._transfers: Transfers | None = None

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
            read_timeout=self._settings.storage_stall_seconds,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            # botocore's default adds checksum trailers that many S3 servers refuse.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        self._client = await self._stack.enter_async_context(
            session.client("s3", endpoint_url=self._settings.lyve_endpoint, config=config)
        )
        self._transfers = Transfers(self._settings, self._presigner)
        self._stack.push_async_callback(self._transfers.close)

    async def close(self) -> None:
        """Close all connections."""
        await self._stack.aclose()

    async def ping(self) -> None:
        """Raises StorageUnavailable unless the endpoint answers for the bucket within two seconds."""
        try:
            async with asyncio.timeout(2):
                await self._client.head_bucket(Bucket=self.bucket)
        except (ClientError, *_UNREACHABLE) as error:
            raise StorageUnavailable from error

    async def ping_endpoint(self) -> None:
        """As :meth:`ping`, for credentials that may only write: that the endpoint refuses them a look at the
        bucket is an answer."""
        try:
            await self.ping()
        except StorageUnavailable as error:
            cause = error.__cause__
            if (
                not isinstance(cause, ClientError)
                or cause.response["ResponseMetadata"]["HTTPStatusCode"] != 403
            ):
                raise

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
            except (ClientError, *_UNREACHABLE) as creation:
                raise StorageUnavailable from creation
        except _UNREACHABLE as error:
            raise StorageUnavailable from error

    async def expire_incomplete_uploads(self) -> bool:
        """Have the endpoint drop incomplete multipart uploads after a week: a second net below our own
        housekeeping. False where it knows no such rules."""
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
        except ClientError:
            return False
        except _UNREACHABLE as error:
            raise StorageUnavailable from error
        return True

    async def put(self, key: str, body: bytes, *, content_type: str) -> None:
        """Store a small object, with Content-MD5 so that the endpoint checks what it received."""
        checksum = base64.b64encode(checksum_of(body, Algorithm.MD5).digest).decode()
        await self._call(
            self._client.put_object, Key=key, Body=body, ContentType=content_type, ContentMD5=checksum
        )

    async def put_streamed(
        self, key: str, body: Body, *, size_bytes: int, checksum: Checksum, content_type: str
    ) -> None:
        """Store an object from a stream that can be opened again.

        Raises:
            ChecksumMismatch: the endpoint received other bytes.
            TruncatedBody: the stream did not have ``size_bytes``.
        """
        headers = {"Content-Type": content_type}
        await self._bytes.send(key, {}, headers, body, size_bytes=size_bytes, checksum=checksum)

    async def create_multipart(
        self, key: str, *, content_type: str, algorithm: Algorithm = Algorithm.MD5
    ) -> str:
        """Begin a multipart upload and return its id.

        Args:
            algorithm: how the checksums of all its parts will be computed.
        """
        announced = {}
        if algorithm is not Algorithm.MD5:
            # Of the whole object, so that completing need not repeat those of the parts.
            announced = {"ChecksumAlgorithm": algorithm.upper(), "ChecksumType": "FULL_OBJECT"}
        answer = await self._call(
            self._client.create_multipart_upload, Key=key, ContentType=content_type, **announced
        )
        upload_id = str(answer["UploadId"])
        if answer["ResponseMetadata"].get("RetryAttempts"):
            # An attempt whose answer was lost may have begun another one.
            await self.abort_multiparts(key, kept=upload_id)
        return upload_id

    async def upload_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        body: Body,
        *,
        size_bytes: int,
        checksum: Checksum,
        attempts: int = ATTEMPTS,
    ) -> StoredPart:
        """Store one part from a stream.

        ``body`` is called for each attempt; a stream that can't be opened again takes one. What it raises
        passes through.

        Raises:
            ChecksumMismatch: the endpoint received other bytes.
            TruncatedBody: the stream did not have ``size_bytes``.
        """
        query = {"uploadId": upload_id, "partNumber": str(number)}
        etag = await self._bytes.send(
            key, query, {}, body, size_bytes=size_bytes, checksum=checksum, attempts=attempts
        )
        return StoredPart(number, etag)

    async def complete_multipart(
        self, key: str, upload_id: str, parts: list[StoredPart], *, size_bytes: int
    ) -> None:
        """Join the parts into an object of that size, whose key is used by this upload alone.

        Safe to repeat: an upload that is joined already is fine.

        Raises:
            ObjectMissing: there is neither the upload nor the object.
            PartsMissing: the endpoint does not have the parts as they were acknowledged.
        """
        ordered = sorted(parts, key=lambda part: part.number)
        listed = [{"PartNumber": part.number, "ETag": part.etag} for part in ordered]
        try:
            await self._call(
                self._client.complete_multipart_upload,
                Key=key,
                UploadId=upload_id,
                MultipartUpload={"Parts": listed},
            )
        except ObjectMissing:
            # The answer to an earlier attempt may have been lost.
            if await self.size_of(key) != size_bytes:
                raise

    async def list_parts(self, key: str, upload_id: str) -> list[ListedPart]:
        """The parts of a multipart upload that the endpoint has."""
        found: list[ListedPart] = []
        marker: dict[str, Any] = {}
        while True:
            page = await self._call(self._client.list_parts, Key=key, UploadId=upload_id, **marker)
            for item in page.get("Parts", ()):
                part = StoredPart(int(item["PartNumber"]), str(item["ETag"]).strip('"'))
                found.append(ListedPart(part, int(item["Size"])))
            if not page.get("IsTruncated"):
                return found
            marker = {"PartNumberMarker": int(page["NextPartNumberMarker"])}

    async def abort_multipart(self, key: str, upload_id: str, *, bucket: str | None = None) -> None:
        """Drop a multipart upload and its parts; one that is gone is fine."""
        with contextlib.suppress(ObjectMissing):
            await self._call(self._client.abort_multipart_upload, bucket=bucket, Key=key, UploadId=upload_id)

    async def abort_multiparts(self, key: str, *, bucket: str | None = None, kept: str | None = None) -> None:
        """Drop the multipart uploads of a key that the endpoint lists, but for the one with the id ``kept``.

        Some endpoints list none that are active, or do not have the call; of those nothing is dropped.
        """
        try:
            # A key is used by one upload, so its multipart uploads are few and the first page has them.
            page = await self._call(self._client.list_multipart_uploads, bucket=bucket, Prefix=key)
        except CallUnknown:
            return
        for begun in page.get("Uploads", ()):
            if begun["Key"] == key and begun["UploadId"] != kept:
                await self.abort_multipart(key, begun["UploadId"], bucket=bucket)

    async def delete(self, key: str, *, bucket: str | None = None) -> None:
        """Delete an object; one that is gone is fine."""
        with contextlib.suppress(ObjectMissing):
            await self._call(self._client.delete_object, bucket=bucket, Key=key)

    async def size_of(self, key: str) -> int:
        """The size of an object in bytes."""
        answer = await self._call(self._client.head_object, Key=key)
        return int(answer["ContentLength"])

    async def list_sizes(self, prefix: str, *, page_size: int = 1000) -> dict[str, int]:
        """The objects under a prefix, key to size in bytes, asked for by pages."""
        found: dict[str, int] = {}
        async for page in self.list_pages(prefix, page_size=page_size):
            found.update(page)
        return found

    async def list_pages(self, prefix: str, *, page_size: int = 1000) -> AsyncIterator[dict[str, int]]:
        """The objects under a prefix, key to size in bytes, page by page in the order of the keys' bytes."""
        token: dict[str, str] = {}
        while True:
            page = await self._call(self._client.list_objects_v2, Prefix=prefix, MaxKeys=page_size, **token)
            yield {item["Key"]: item["Size"] for item in page.get("Contents", ())}
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    async def list_folders(
        self, prefix: str, *, start_after: str = "", page_size: int = 1000
    ) -> AsyncIterator[list[str]]:
        """What stands under a prefix up to the next slash, which is included, page by page.

        In the order of the keys' bytes, from the first key after ``start_after`` on.
        """
        token = {"StartAfter": start_after} if start_after else {}
        while True:
            page = await self._call(
                self._client.list_objects_v2, Prefix=prefix, Delimiter="/", MaxKeys=page_size, **token
            )
            yield [item["Prefix"] for item in page.get("CommonPrefixes", ())]
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def presign_download(self, key: str, *, content_disposition: str, content_type: str, seconds: int) -> str:
        """A URL that gives the object to whoever has it, for ``seconds``, under these two headers."""
        headers = {
            "response-content-disposition": content_disposition,
            "response-content-type": content_type,
        }
        return self._presigner.presign("GET", key, query=headers, seconds=seconds)

    def presign_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        *,
        size_bytes: int,
        seconds: int,
        checksum: Checksum | None = None,
    ) -> str:
        """A URL that takes one part of this very size, for ``seconds``; with a checksum these very bytes,
        sent with its header.
        """
        query = {"uploadId": upload_id, "partNumber": str(number)}
        headers = {"Content-Length": str(size_bytes)} | ({} if checksum is None else checksum.header)
        return self._presigner.presign("PUT", key, query=query, headers=headers, seconds=seconds)

    def read(self, key: str, *, start: int, end: int) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The bytes ``start`` to ``end`` (inclusive) of an object, in blocks, as they arrive."""
        return self._bytes.read(key, start=start, end=end)

    @property
    def _bytes(self) -> Transfers:
        assert self._transfers is not None  # noqa: S101 - set by open
        return self._transfers

    async def _call(
        self, method: Callable[..., Awaitable[Any]], *, bucket: str | None = None, **params: Any
    ) -> Any:
        try:
            with calling_s3(_operation(method.__name__), bucket=bucket or self.bucket):
                return await method(Bucket=bucket or self.bucket, **params)
        except ClientError as error:
            status = int(error.response["ResponseMetadata"]["HTTPStatusCode"])
            code = str(error.response.get("Error", {}).get("Code", ""))
            raise refusal(status, code, params.get("Key", params.get("Prefix", ""))) from error
        except _UNREACHABLE as error:
            raise StorageUnavailable from error


def _operation(method: str) -> str:
    """What S3 calls an operation that botocore calls so."""
    return method.title().replace("_", "")


async def open_storage(
    registry: svcs.Registry, settings: StorageSettings, *, writes_only: bool = False
) -> Storage:
    """Open the object storage of a service, and register it.

    Args:
        writes_only: the credentials may store parts and nothing else.
    """
    storage = Storage(settings)
    await storage.open()
    ping = Storage.ping_endpoint if writes_only else Storage.ping
    registry.register_value(Storage, storage, ping=ping, on_registry_close=storage.close)
    return storage
