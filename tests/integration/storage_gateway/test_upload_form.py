"""Forms: whatever the order of the fields and the name of the file, the right thing or a clear error."""

import hashlib
import os
from typing import Any

import pytest
from tests.support.gateway import BOUNDARY, MEGABYTE, Backstage, Tenant, form, problem

CONTENT = b"the bytes of a file"
PIPELINE = "6a1df4a7-1be8-4d10-8a7a-6d2f2a3d9f10"


async def test_the_answer_describes_the_asset(tenant: Tenant, backstage: Backstage) -> None:
    answer = await tenant.upload(CONTENT, filename="test.jpg")
    assert answer.status_code == 201
    body = answer.json()
    asset = body["asset"]
    assert body["success"] is True
    assert asset["upload_speed_mbps"] >= 0
    assert asset["s3_key"].startswith(tenant.s3_prefix)
    assert asset["url"].endswith(f"/api/storage/stream/{asset['id']}")
    expected: dict[str, Any] = {
        "s3_bucket": "agentcache-assets",
        "filename": "test.jpg",
        "size_bytes": len(CONTENT),
        "content_type": "image/jpeg",
        "content_hash": hashlib.sha256(CONTENT).hexdigest(),
        "cache_key": None,
        "deduplicated": False,
        "uploaded_via": "api",
    }
    assert expected.items() <= asset.items()
    await backstage.holds_exactly(tenant, asset)


@pytest.mark.parametrize("fields_first", [True, False])
async def test_fields_count_before_and_after_the_file(tenant: Tenant, fields_first: bool) -> None:
    fields = [
        ("cache_key", None, b"k1"),
        ("pipeline_id", None, PIPELINE.encode()),
        ("ttl_seconds", None, b"600"),
    ]
    file = [("file", "a.txt", CONTENT)]
    parts: list[Any] = fields + file if fields_first else file + fields
    answer = await tenant.post_form(b"".join(form(*parts)))
    asset = answer.json()["asset"]
    assert (asset["cache_key"], asset["pipeline_id"], asset["size_bytes"]) == ("k1", PIPELINE, len(CONTENT))
    assert asset["expires_at"] is not None


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\\\x\\\\film.mp4", "film.mp4"),
        ("l" * 500 + ".mp4", "l" * 251 + ".mp4"),
        ("日本語.txt", "日本語.txt"),
        ("a%0d%0aSet-Cookie: x=1.txt", "a%0d%0aSet-Cookie: x=1.txt"),
        ("tab\there.txt", "tabhere.txt"),
        ("..", "file"),
        ("", "file"),
    ],
)
async def test_a_hostile_name_is_tamed_and_the_file_kept(
    tenant: Tenant, backstage: Backstage, name: str, kept: str
) -> None:
    asset = await tenant.store(CONTENT, filename=name)
    assert asset["filename"] == kept
    assert ".." not in asset["s3_key"]
    read = await tenant.get(f"/api/storage/stream/{asset['id']}")
    assert read.content == CONTENT
    await backstage.holds_exactly(tenant, asset)


async def test_a_line_break_in_the_name_makes_no_header(tenant: Tenant) -> None:
    answer = await tenant.upload(CONTENT, filename="a\r\nX-Evil: 1.txt")
    assert problem(answer) == (400, "malformed_form")


async def test_an_empty_file_is_an_asset_of_no_bytes(tenant: Tenant, backstage: Backstage) -> None:
    asset = await tenant.store(b"", filename="empty.txt")
    assert (asset["size_bytes"], asset["content_hash"]) == (0, hashlib.sha256(b"").hexdigest())
    read = await tenant.get(f"/api/storage/stream/{asset['id']}")
    assert (read.status_code, read.content) == (200, b"")
    await backstage.holds_exactly(tenant, asset)


@pytest.mark.parametrize(
    "size", [10 * MEGABYTE - 1, 10 * MEGABYTE, 10 * MEGABYTE + 1, 20 * MEGABYTE, 25 * MEGABYTE]
)
async def test_bytes_come_back_as_they_went_on_both_sides_of_a_chunk(
    tenant: Tenant, backstage: Backstage, size: int
) -> None:
    content = os.urandom(size)
    asset = await tenant.store(content)
    assert asset["content_hash"] == hashlib.sha256(content).hexdigest()
    assert (await tenant.get(f"/api/storage/stream/{asset['id']}")).content == content
    await backstage.holds_exactly(tenant, asset)


@pytest.mark.parametrize("size", [1000, 12 * MEGABYTE])
async def test_a_second_file_is_refused_and_nothing_stays(
    tenant: Tenant, backstage: Backstage, size: int
) -> None:
    body = b"".join(form(("file", "a", os.urandom(size)), ("file", "b", b"2")))
    assert problem(await tenant.post_form(body)) == (400, "multiple_files")
    await backstage.holds_exactly(tenant)


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        (b"".join(form(("cache_key", None, b"k"))), (400, "missing_file")),
        (b"".join(form(("file", None, b"text, not a file"))), (400, "missing_file")),
        (b"".join(form(("other", "a.txt", b"x"))), (400, "missing_file")),
        (f"--{BOUNDARY}--\r\n".encode(), (400, "missing_file")),
        (b"this is no form", (400, "malformed_form")),
        (b"", (400, "truncated_body")),
    ],
    ids=["field only", "no file name", "another field", "no parts", "no form", "no body"],
)
async def test_a_form_without_a_file_is_refused(
    tenant: Tenant, body: bytes, refused: tuple[int, str]
) -> None:
    assert problem(await tenant.post_form(body)) == refused


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "application/json", "application/x-www-form-urlencoded"]
)
async def test_a_body_without_a_boundary_is_refused(tenant: Tenant, content_type: str) -> None:
    answer = await tenant.post_form(b"x", headers={"Content-Type": content_type})
    assert problem(answer) == (415, "unsupported_media_type")


@pytest.mark.parametrize("size", [1000, 12 * MEGABYTE])
async def test_a_wrong_content_hash_is_refused_and_nothing_stays(
    tenant: Tenant, backstage: Backstage, size: int
) -> None:
    answer = await tenant.upload(os.urandom(size), content_hash="00" * 32)
    assert problem(answer) == (422, "content_hash_mismatch")
    await backstage.holds_exactly(tenant)


async def test_the_right_content_hash_is_taken(tenant: Tenant) -> None:
    asset = await tenant.store(CONTENT, content_hash="sha256:" + hashlib.sha256(CONTENT).hexdigest())
    assert asset["size_bytes"] == len(CONTENT)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pipeline_id", "seven"),
        ("ttl_seconds", "-1"),
        ("expires_at", "yesterday"),
        ("expires_at", "9999-12-31T23:59:59-12:00"),
        ("content_hash", "xyz"),
        ("cache_key", "a\x00b"),
        ("cache_key", "k" * 9000),
    ],
)
async def test_a_bad_field_is_refused_by_name_and_nothing_stays(
    tenant: Tenant, backstage: Backstage, field: str, value: str
) -> None:
    body = b"".join(form(("file", "a.txt", CONTENT), (field, None, value.encode())))
    answer = await tenant.post_form(body)
    assert problem(answer) == (422, "invalid_field")
    assert answer.json()["field"] == field
    await backstage.holds_exactly(tenant)


async def test_the_given_content_type_is_kept(tenant: Tenant) -> None:
    body = b"".join(form(("file", "a.bin", CONTENT), content_type="text/plain; charset=utf-8"))
    asset = (await tenant.post_form(body)).json()["asset"]
    assert asset["content_type"] == "text/plain; charset=utf-8"
    read = await tenant.get(f"/api/storage/stream/{asset['id']}")
    assert read.headers["content-type"] == "text/plain; charset=utf-8"
