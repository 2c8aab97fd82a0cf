"""The object storage: an S3 client that asks the endpoint what it can, and streams bytes unheld.

Control calls go through aioboto3. Bytes go through presigned URLs and one aiohttp session, because botocore
reads and signs whole bodies, and a streamed part must not be in memory at once.

Guarantees given here: every body is sent with its length and Content-MD5, so the endpoint refuses bytes that
were cut or changed on the way; an endpoint that stalls is given up after STORAGE_STALL_SECONDS, wherever in
the exchange it stalls.
"""

import asyncio
import base64
import contextlib
import hashlib
import random
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aioboto3
import aiohttp
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError

from jettythunder import telemetry
from jettythunder.errors import ChecksumMismatch, StorageUnavailable, TruncatedBody, UploadIncomplete
from jettythunder.settings import StorageSettings

log = telemetry.logger(__name__)

_PRESIGNED_SECONDS = 3600
_ATTEMPTS = 3
_READ_BUFFER_BYTES = 256 * 1024

# Of other 4xx answers the same request would only get the same again.
_WORTH_REPEATING = (408, 409, 429)
_MD5 = re.compile(r"[0-9a-f]{32}")
_ERROR_CODE = re.compile(r"<Code>(\w{1,64})</Code>")

_UNREACHABLE: tuple[type[Exception], ...] = (BotoCoreError, aiohttp.ClientError, OSError, TimeoutError)

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


@dataclass(frozen=True)
class ListedPart:
    """A part as the object storage lists it."""

    part: StoredPart
    size_bytes: int


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
        self._credentials = Credentials(
            settings.lyve_access_key_id, settings.lyve_secret_access_key.get_secret_value()
        )
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
            read_timeout=self._settings.storage_stall_seconds,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
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
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=5, sock_read=self._settings.storage_stall_seconds
                ),
                auto_decompress=False,
                read_bufsize=_READ_BUFFER_BYTES,
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
        except (ClientError, *_UNREACHABLE) as error:
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
            except (ClientError, *_UNREACHABLE) as creation:
                raise StorageUnavailable from creation
        except _UNREACHABLE as error:
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
        except _UNREACHABLE as error:
            raise StorageUnavailable from error
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
        except ClientError:
            return False
        except _UNREACHABLE as error:
            raise StorageUnavailable from error
        return True

    async def put(self, key: str, body: bytes, *, content_type: str) -> None:
        """Store a small object, with Content-MD5 so that the endpoint checks what it received."""
        checksum = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        await self._call(
            self._client.put_object, Key=key, Body=body, ContentType=content_type, ContentMD5=checksum
        )

    async def put_streamed(
        self, key: str, body: Body, *, size_bytes: int, md5: str, content_type: str
    ) -> None:
        """Store an object from a stream that can be opened again. ``md5`` is hexadecimal.

        Raises:
            ChecksumMismatch: the endpoint received other bytes.
            TruncatedBody: the stream did not have ``size_bytes``.
        """
        headers = {"Content-Type": content_type}
        await self._send(key, {}, headers, body, size_bytes=size_bytes, md5=md5)

    async def create_multipart(self, key: str, *, content_type: str) -> str:
        """Begin a multipart upload and return its id."""
        answer = await self._call(self._client.create_multipart_upload, Key=key, ContentType=content_type)
        return str(answer["UploadId"])

    async def upload_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        body: Body,
        *,
        size_bytes: int,
        md5: str,
        attempts: int = _ATTEMPTS,
    ) -> StoredPart:
        """Store one part from a stream. ``md5`` is hexadecimal.

        ``body`` is called for each attempt; a stream that can't be opened again takes one. What it raises
        passes through.

        Raises:
            ChecksumMismatch: the endpoint received other bytes.
            TruncatedBody: the stream did not have ``size_bytes``.
        """
        query = {"uploadId": upload_id, "partNumber": str(number)}
        etag = await self._send(key, query, {}, body, size_bytes=size_bytes, md5=md5, attempts=attempts)
        return StoredPart(number, etag)

    async def complete_multipart(self, key: str, upload_id: str, parts: list[StoredPart]) -> None:
        """Join the parts into the object. Safe to repeat: an upload that is joined already is fine.

        Raises:
            UploadIncomplete: the endpoint does not have the parts as they were acknowledged.
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
            answer = await self._call(self._client.head_object, Key=key)
            if str(answer["ETag"]).strip('"') != joined_etag(ordered):
                raise

    async def list_parts(self, key: str, upload_id: str) -> list[ListedPart]:
        """The parts of a multipart upload that the endpoint has."""
        found: list[ListedPart] = []
        marker: dict[str, int] = {}
        while True:
            page = await self._call(self._client.list_parts, Key=key, UploadId=upload_id, **marker)
            for item in page.get("Parts", ()):
                part = StoredPart(int(item["PartNumber"]), str(item["ETag"]).strip('"'))
                found.append(ListedPart(part, int(item["Size"])))
            if not page.get("IsTruncated"):
                return found
            marker = {"PartNumberMarker": int(page["NextPartNumberMarker"])}

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

    async def list_sizes(self, prefix: str, *, page_size: int = 1000) -> dict[str, int]:
        """The objects under a prefix, key to size in bytes, asked for by pages."""
        found: dict[str, int] = {}
        token: dict[str, str] = {}
        while True:
            page = await self._call(self._client.list_objects_v2, Prefix=prefix, MaxKeys=page_size, **token)
            found.update({item["Key"]: item["Size"] for item in page.get("Contents", ())})
            if not page.get("IsTruncated"):
                return found
            token = {"ContinuationToken": page["NextContinuationToken"]}

    async def list_folders(self, prefix: str, *, page_size: int = 1000) -> AsyncIterator[list[str]]:
        """What stands under a prefix up to the next slash, which is included, page by page."""
        token: dict[str, str] = {}
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
        return self._presign("GET", key, query=headers, seconds=seconds)

    def presign_part(self, key: str, upload_id: str, number: int, *, seconds: int) -> str:
        """A URL that takes one part, for ``seconds``."""
        query = {"uploadId": upload_id, "partNumber": str(number)}
        return self._presign("PUT", key, query=query, seconds=seconds)

    def _presign(
        self,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: int = _PRESIGNED_SECONDS,
    ) -> str:
        """A path-style URL signed with SigV4, by botocore's signer.

        The client's own generate_presigned_url resolves the endpoint by rules each time, which costs more
        than all the rest of storing a small file.
        """
        request = AWSRequest(
            method=method,
            url=f"{self._settings.lyve_endpoint.rstrip('/')}/{self.bucket}/{quote(key, safe='/~')}",
            params=dict(query or {}),
            headers=dict(headers or {}),
        )
        S3SigV4QueryAuth(self._credentials, "s3", self._settings.lyve_region, expires=seconds).add_auth(
            request
        )
        return str(request.url)

    @contextlib.asynccontextmanager
    async def read(self, key: str, *, start: int, end: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes ``start`` to ``end`` (inclusive) of an object, in blocks, as they arrive."""
        assert self._http is not None  # noqa: S101 - set by open
        if end < start:
            yield _nothing()
            return
        url = self._presign("GET", key)
        try:
            answer = await self._http.get(url, headers={"Range": f"bytes={start}-{end}"})
        except _UNREACHABLE as error:
            raise StorageUnavailable from error
        async with answer:
            if answer.status >= 400:
                raise _refusal(answer.status, await _error_code(answer), key)
            # A server that ignores Range answers 200 with everything; that is right only where all was asked.
            if answer.status != 206 and (start > 0 or answer.content_length != end + 1):
                raise StorageUnavailable("The object storage ignored the range that was asked for.")
            yield _arriving(answer)

    async def _call(self, method: Callable[..., Awaitable[Any]], **params: Any) -> Any:
        try:
            return await method(Bucket=self.bucket, **params)
        except ClientError as error:
            status = int(error.response["ResponseMetadata"]["HTTPStatusCode"])
            code = str(error.response.get("Error", {}).get("Code", ""))
            raise _refusal(status, code, params.get("Key", params.get("Prefix", ""))) from error
        except _UNREACHABLE as error:
            raise StorageUnavailable from error

    async def _send(
        self,
        key: str,
        query: dict[str, str],
        headers: dict[str, str],
        body: Body,
        *,
        size_bytes: int,
        md5: str,
        attempts: int = _ATTEMPTS,
    ) -> str:
        """PUT a stream to a presigned URL, again where the endpoint failed, and return the ETag."""
        checksum = base64.b64encode(bytes.fromhex(md5)).decode()
        url = self._presign("PUT", key, query=query, headers={"Content-MD5": checksum, **headers})
        # Without Content-Length aiohttp would send chunks, which S3 refuses.
        sent = {"Content-Length": str(size_bytes), "Content-MD5": checksum, **headers}
        attempt = 1
        while True:
            outgoing = _Outgoing(body, size_bytes)
            try:
                status, code, etag = await self._put(url, sent, outgoing)
            except _UNREACHABLE as error:
                if outgoing.failure is not None:
                    raise outgoing.failure from None
                if attempt >= attempts:
                    raise StorageUnavailable from error
            else:
                if status == 200:
                    return _checked_etag(etag, md5)
                if attempt >= attempts or not _worth_repeating(status, code):
                    raise _refusal(status, code, key)
            await asyncio.sleep(0.2 * 2**attempt * random.uniform(0.5, 1))  # noqa: S311 - jitter, not a secret
            attempt += 1

    async def _put(self, url: str, headers: dict[str, str], outgoing: "_Outgoing") -> tuple[int, str, str]:
        """One attempt: the status, the error's code, and the ETag."""
        assert self._http is not None  # noqa: S101 - set by open
        stall_seconds = self._settings.storage_stall_seconds
        async with asyncio.timeout(stall_seconds) as limit:

            def moved_on() -> None:
                # aiohttp writes in a task of its own, which may go on for a moment after this one has ended.
                with contextlib.suppress(RuntimeError):
                    limit.reschedule(asyncio.get_running_loop().time() + stall_seconds)

            async with self._http.put(url, data=outgoing.blocks(moved_on), headers=headers) as answer:
                code = "" if answer.status == 200 else await _error_code(answer)
                return answer.status, code, answer.headers.get("ETag", "")


class _Outgoing:
    """A body on its way out. Keeps the body's own error, which aiohttp would hide behind one of its own."""

    def __init__(self, body: Body, size_bytes: int) -> None:
        self._body = body
        self._size_bytes = size_bytes
        self.failure: Exception | None = None

    async def blocks(self, moved_on: Callable[[], None]) -> AsyncGenerator[bytes, None]:
        left_bytes = self._size_bytes
        try:
            async for block in self._body():
                left_bytes -= len(block)
                moved_on()
                if left_bytes < 0:
                    break
                yield block
                moved_on()
            if left_bytes != 0:
                raise TruncatedBody(f"The body does not have the announced {self._size_bytes} bytes.")
        except Exception as error:
            self.failure = error
            raise


async def _arriving(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for block in answer.content.iter_any():
            yield block
    except _UNREACHABLE as error:
        raise StorageUnavailable from error


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield


async def _error_code(answer: aiohttp.ClientResponse) -> str:
    """The ``Code`` of an S3 error body (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html)."""
    text = (await answer.content.read(4096)).decode(errors="replace")
    found = _ERROR_CODE.search(text)
    return found.group(1) if found else ""


def _worth_repeating(status: int, code: str) -> bool:
    return status >= 500 or status in _WORTH_REPEATING or code == "RequestTimeout"


def _refusal(status: int, code: str, key: str) -> Exception:
    """What an error answer means."""
    if code in ("BadDigest", "InvalidDigest"):
        return ChecksumMismatch()
    if code in ("InvalidPart", "InvalidPartOrder", "EntityTooSmall"):
        return UploadIncomplete(f"The object storage does not have the chunks as they were stored: {code}.")
    if status == 404 and code != "NoSuchBucket":
        return ObjectMissing(key)
    return StorageUnavailable(f"The object storage answered {status} {code}".rstrip() + ".")


def joined_etag(parts: list[StoredPart]) -> str | None:
    """The ETag S3 gives an object made of parts, in their order: the MD5 of their MD5s, and their count.

    None where a part's ETag is not its MD5, as with keys of one's own (SSE-KMS).
    """
    digest = hashlib.md5(usedforsecurity=False)
    for part in parts:
        bare = part.etag.strip('"')
        if _MD5.fullmatch(bare) is None:
            return None
        digest.update(bytes.fromhex(bare))
    return f"{digest.hexdigest()}-{len(parts)}"


def _checked_etag(etag: str, md5: str) -> str:
    bare = etag.strip('"')
    # Of an unencrypted part the ETag is the MD5; other forms (KMS) can't be compared.
    if _MD5.fullmatch(bare) is not None and bare != md5:
        raise ChecksumMismatch
    return etag
