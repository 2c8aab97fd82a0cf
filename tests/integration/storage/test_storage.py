"""The storage client against the real S3 server."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest

from jettythunder.checksums import Algorithm, checksum_of
from jettythunder.errors import ChecksumMismatch, StorageUnavailable, TruncatedBody
from jettythunder.folders import end_of
from jettythunder.storage import ObjectMissing, PartsMissing, Storage, StoredPart
from jettythunder.storage.probing import Capabilities, probe
from storage_gateway.assets.names import content_disposition

from .conftest import Opener, misbehaving

MIB = 1 << 20
PART_BYTES = 5 * MIB
TYPE = "application/octet-stream"


def streamed(data: bytes, block_bytes: int = MIB) -> Callable[[], AsyncIterator[bytes]]:
    async def blocks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), block_bytes):
            yield data[start : start + block_bytes]

    return blocks


def md5_of(data: bytes) -> str:
    return str(checksum_of(data, Algorithm.MD5))


async def content(storage: Storage, key: str, start: int, end: int) -> bytes:
    async with storage.read(key, start=start, end=end) as blocks:
        return b"".join([block async for block in blocks])


async def put_streamed(storage: Storage, key: str, data: bytes) -> None:
    checksum = checksum_of(data, Algorithm.MD5)
    await storage.put_streamed(
        key, streamed(data), size_bytes=len(data), checksum=checksum, content_type=TYPE
    )


async def upload_part(
    storage: Storage,
    key: str,
    upload_id: str,
    number: int,
    data: bytes,
    algorithm: Algorithm = Algorithm.MD5,
) -> StoredPart:
    checksum = checksum_of(data, algorithm)
    return await storage.upload_part(
        key, upload_id, number, streamed(data), size_bytes=len(data), checksum=checksum
    )


async def test_a_put_object_reads_back(storage: Storage, key: str) -> None:
    await storage.put(key, b"small", content_type=TYPE)
    assert await content(storage, key, 0, 4) == b"small"


async def test_a_put_announces_its_checksum(open_storage: Opener, key: str) -> None:
    heads: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await reader.readexactly(5)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with misbehaving(note) as address, open_storage(lyve_endpoint=address) as storage:
        await storage.put(key, b"small", content_type=TYPE)
    checksum = base64.b64encode(bytes.fromhex(md5_of(b"small")))
    assert b"content-md5: " + checksum.lower() in heads[0].lower()


async def test_a_streamed_object_reads_back(storage: Storage, key: str) -> None:
    data = os.urandom(3 * MIB + 1)
    await put_streamed(storage, key, data)
    assert await content(storage, key, 0, len(data) - 1) == data


async def test_a_streamed_body_is_sent_with_its_length(open_storage: Opener, key: str) -> None:
    heads: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        await reader.readexactly(2 * MIB)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with misbehaving(note) as address, open_storage(lyve_endpoint=address) as storage:
        await put_streamed(storage, key, bytes(2 * MIB))
    head = heads[0].lower()
    assert b"content-length: 2097152" in head
    assert b"transfer-encoding" not in head


@pytest.mark.parametrize("algorithm", Algorithm)
async def test_a_streamed_object_with_other_bytes_is_refused(
    storage: Storage, key: str, algorithm: Algorithm
) -> None:
    data = os.urandom(MIB)
    flipped = bytes([data[0] ^ 1]) + data[1:]
    with pytest.raises(ChecksumMismatch):
        await storage.put_streamed(
            key,
            streamed(flipped),
            size_bytes=MIB,
            checksum=checksum_of(data, algorithm),
            content_type=TYPE,
        )
    with pytest.raises(ObjectMissing):
        await storage.size_of(key)


@pytest.mark.parametrize("algorithm", Algorithm)
async def test_parts_join_into_the_object(storage: Storage, key: str, algorithm: Algorithm) -> None:
    data = os.urandom(PART_BYTES + 1000)
    upload_id = await storage.create_multipart(key, content_type=TYPE, algorithm=algorithm)
    parts = [
        await upload_part(storage, key, upload_id, 2, data[PART_BYTES:], algorithm),
        await upload_part(storage, key, upload_id, 1, data[:PART_BYTES], algorithm),
    ]
    await storage.complete_multipart(key, upload_id, parts, size_bytes=len(data))
    assert await content(storage, key, 0, len(data) - 1) == data


async def test_completing_again_is_fine(storage: Storage, key: str) -> None:
    upload_id = await storage.create_multipart(key, content_type=TYPE)
    part = await upload_part(storage, key, upload_id, 1, b"bytes")
    await storage.complete_multipart(key, upload_id, [part], size_bytes=5)
    await storage.complete_multipart(key, upload_id, [part], size_bytes=5)
    assert await storage.size_of(key) == 5


async def test_completing_with_another_part_than_stored_is_refused(storage: Storage, key: str) -> None:
    upload_id = await storage.create_multipart(key, content_type=TYPE)
    await upload_part(storage, key, upload_id, 1, b"bytes")
    with pytest.raises(PartsMissing):
        await storage.complete_multipart(
            key, upload_id, [StoredPart(1, f'"{md5_of(b"other")}"')], size_bytes=5
        )


async def test_completing_an_unknown_upload_says_so(storage: Storage, key: str) -> None:
    with pytest.raises(ObjectMissing):
        await storage.complete_multipart(key, "bm9uZQ", [StoredPart(1, f'"{md5_of(b"x")}"')], size_bytes=1)


@pytest.mark.parametrize("algorithm", Algorithm)
async def test_a_part_with_other_bytes_is_refused(storage: Storage, key: str, algorithm: Algorithm) -> None:
    upload_id = await storage.create_multipart(key, content_type=TYPE)
    data = os.urandom(PART_BYTES)
    flipped = data[:-1] + bytes([data[-1] ^ 0x80])
    with pytest.raises(ChecksumMismatch):
        await storage.upload_part(
            key, upload_id, 1, streamed(flipped), size_bytes=PART_BYTES, checksum=checksum_of(data, algorithm)
        )


@pytest.mark.parametrize("difference", [-1, 1])
async def test_a_body_of_another_size_is_refused(storage: Storage, key: str, difference: int) -> None:
    upload_id = await storage.create_multipart(key, content_type=TYPE)
    data = os.urandom(2 * MIB)
    with pytest.raises(TruncatedBody):
        await storage.upload_part(
            key,
            upload_id,
            1,
            streamed(data),
            size_bytes=len(data) - difference,
            checksum=checksum_of(data, Algorithm.MD5),
        )


async def test_a_body_s_own_error_passes_through(storage: Storage, key: str) -> None:
    upload_id = await storage.create_multipart(key, content_type=TYPE)

    async def failing() -> AsyncIterator[bytes]:
        yield bytes(MIB)
        raise ChildProcessError("the source failed")

    with pytest.raises(ChildProcessError):
        await storage.upload_part(
            key, upload_id, 1, failing, size_bytes=2 * MIB, checksum=checksum_of(b"", Algorithm.MD5)
        )


async def test_a_part_of_an_aborted_upload_is_missing_its_upload(storage: Storage, key: str) -> None:
    upload_id = await storage.create_multipart(key, content_type=TYPE)
    await storage.abort_multipart(key, upload_id)
    with pytest.raises(ObjectMissing):
        await upload_part(storage, key, upload_id, 1, os.urandom(PART_BYTES))


async def test_aborting_again_is_fine(storage: Storage, key: str) -> None:
    upload_id = await storage.create_multipart(key, content_type=TYPE)
    await upload_part(storage, key, upload_id, 1, b"bytes")
    await storage.abort_multipart(key, upload_id)
    await storage.abort_multipart(key, upload_id)
    with pytest.raises(ObjectMissing):
        await storage.complete_multipart(
            key, upload_id, [StoredPart(1, f'"{md5_of(b"bytes")}"')], size_bytes=5
        )


async def test_all_multipart_uploads_of_a_key_are_aborted_but_for_the_one_that_is_kept(
    storage: Storage, key: str
) -> None:
    lost = await storage.create_multipart(key, content_type=TYPE)
    kept = await storage.create_multipart(key, content_type=TYPE)
    longer = await storage.create_multipart(f"{key}.png", content_type=TYPE)
    await storage.abort_multiparts(key, kept=kept)
    with pytest.raises(ObjectMissing):
        await storage.list_parts(key, lost)
    assert await storage.list_parts(key, kept) == []
    await storage.abort_multiparts(key)
    with pytest.raises(ObjectMissing):
        await storage.list_parts(key, kept)
    assert await storage.list_parts(f"{key}.png", longer) == []


async def test_stored_parts_are_listed(storage: Storage, key: str) -> None:
    upload_id = await storage.create_multipart(key, content_type=TYPE)
    for number, data in ((3, b"three"), (1, b"one")):
        await upload_part(storage, key, upload_id, number, data)
    listed = await storage.list_parts(key, upload_id)
    assert [(part.part.number, part.size_bytes, part.part.etag) for part in listed] == [
        (1, 3, md5_of(b"one")),
        (3, 5, md5_of(b"three")),
    ]


async def test_deleting_a_missing_object_is_fine(storage: Storage, key: str) -> None:
    await storage.delete(key)
    with pytest.raises(ObjectMissing):
        await storage.size_of(key)


async def test_a_listing_goes_on_over_its_pages(storage: Storage, key: str) -> None:
    sizes = {f"{key}/{n} ä&b": n for n in range(5)}
    for name, size_bytes in sizes.items():
        await storage.put(name, bytes(size_bytes), content_type=TYPE)
    assert await storage.list_sizes(f"{key}/", page_size=2) == sizes


async def test_folders_are_listed_without_what_is_in_them(storage: Storage, key: str) -> None:
    folders = [f"{key}/{n}/" for n in range(3)]
    for folder in folders:
        await storage.put(folder, b"", content_type=TYPE)
        await storage.put(f"{folder}file", b"1", content_type=TYPE)
    await storage.put(f"{key}/file", b"1", content_type=TYPE)
    pages = [page async for page in storage.list_folders(f"{key}/", page_size=2)]
    assert len(pages) > 1
    assert [folder for page in pages for folder in page] == folders
    later = storage.list_folders(f"{key}/", start_after=end_of(folders[0]), page_size=1)
    assert [folder async for page in later for folder in page] == folders[1:]


@pytest.mark.parametrize(
    "filename",
    ['a"b.txt', "a\r\nX-Evil: 1.txt", "naïve 文件.pdf", "a;b=c,d.txt", "100%20.txt", "back\\slash", "🎬.mp4"],
)
async def test_a_download_link_survives_any_file_name(storage: Storage, key: str, filename: str) -> None:
    await storage.put(key, b"bytes", content_type=TYPE)
    header = content_disposition("attachment", filename)
    url = storage.presign_download(key, content_disposition=header, content_type="text/x-test", seconds=60)
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        assert await answer.read() == b"bytes"
        assert answer.headers["Content-Disposition"] == header
        assert answer.content_type == "text/x-test"
        assert "X-Evil" not in answer.headers


async def test_a_part_link_takes_the_part(storage: Storage, key: str) -> None:
    upload_id = await storage.create_multipart(key, content_type=TYPE)
    url = storage.presign_part(key, upload_id, 1, size_bytes=5, seconds=60)
    async with aiohttp.ClientSession() as http, http.put(url, data=b"bytes") as answer:
        part = StoredPart(1, answer.headers["ETag"])
    await storage.complete_multipart(key, upload_id, [part], size_bytes=5)
    assert await storage.size_of(key) == 5


@pytest.mark.parametrize("data", [b"byte", b"bytes and more"])
async def test_a_part_link_takes_no_part_of_another_size(storage: Storage, key: str, data: bytes) -> None:
    upload_id = await storage.create_multipart(key, content_type=TYPE)
    url = storage.presign_part(key, upload_id, 1, size_bytes=5, seconds=60)
    async with aiohttp.ClientSession() as http, http.put(url, data=data) as answer:
        assert answer.status == 403
    assert await storage.list_parts(key, upload_id) == []


async def test_a_part_link_takes_no_part_of_unannounced_size(storage: Storage, key: str) -> None:
    async def blocks() -> AsyncIterator[bytes]:
        yield b"bytes"

    upload_id = await storage.create_multipart(key, content_type=TYPE)
    url = storage.presign_part(key, upload_id, 1, size_bytes=5, seconds=60)
    async with aiohttp.ClientSession() as http, http.put(url, data=blocks()) as answer:
        assert answer.status in (403, 411)
    assert await storage.list_parts(key, upload_id) == []


@pytest.mark.parametrize(("start", "end"), [(0, 0), (10, 99_999), (MIB, 2 * MIB - 1), (0, 2 * MIB - 1)])
async def test_a_range_has_its_bytes(storage: Storage, key: str, start: int, end: int) -> None:
    data = os.urandom(2 * MIB)
    await put_streamed(storage, key, data)
    assert await content(storage, key, start, end) == data[start : end + 1]


async def test_an_empty_object_reads_as_nothing(storage: Storage, key: str) -> None:
    await storage.put(key, b"", content_type=TYPE)
    assert await content(storage, key, 0, -1) == b""


async def test_reading_a_missing_object_says_so(storage: Storage, key: str) -> None:
    with pytest.raises(ObjectMissing):
        await content(storage, key, 0, 9)


async def test_a_reader_s_own_error_passes_through(storage: Storage, key: str) -> None:
    await storage.put(key, b"bytes", content_type=TYPE)
    with pytest.raises(BrokenPipeError):
        async with storage.read(key, start=0, end=4):
            raise BrokenPipeError("the client went away")


async def test_what_the_server_verifies_is_found_out(storage: Storage, key: str) -> None:
    assert await probe(storage, f"{key}/") == Capabilities(Algorithm.CRC64NVME, etag_is_md5=True)
    assert await storage.list_sizes(f"{key}/") == {}


async def test_a_server_without_lifecycle_rules_is_seen(storage: Storage) -> None:
    assert not await storage.expire_incomplete_uploads()


async def test_a_missing_bucket_is_made_once(open_storage: Opener) -> None:
    async with open_storage(lyve_bucket_name=f"made-{os.urandom(6).hex()}") as storage:
        with pytest.raises(StorageUnavailable):
            await storage.ping()
        await storage.ensure_bucket()
        await storage.ensure_bucket()
        await storage.ping()


async def test_a_missing_bucket_is_not_a_missing_object(open_storage: Opener, key: str) -> None:
    async with open_storage(lyve_bucket_name=f"absent-{os.urandom(6).hex()}") as storage:
        with pytest.raises(StorageUnavailable):
            await put_streamed(storage, key, b"bytes")


async def test_an_endpoint_that_refuses_a_look_at_the_bucket_is_there(open_storage: Opener) -> None:
    async with open_storage(lyve_secret_access_key="wrong") as storage:
        await storage.ping_endpoint()
        with pytest.raises(StorageUnavailable):
            await storage.ping()
    async with open_storage(lyve_endpoint="http://127.0.0.1:9") as storage:
        with pytest.raises(StorageUnavailable):
            await storage.ping_endpoint()


async def test_a_wrong_secret_is_unavailable_storage(open_storage: Opener, key: str) -> None:
    async with open_storage(lyve_secret_access_key="wrong") as storage:
        with pytest.raises(StorageUnavailable):
            await put_streamed(storage, key, b"bytes")
