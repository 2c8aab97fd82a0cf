"""Opening uploads: storage is reserved with the upload, or there is neither."""

from uuid import uuid4

import pytest

from jettythunder.contracts.uploads import UploadCreatedV1
from storage_gateway.errors import StorageQuotaExceeded
from storage_gateway.uploads.model import Kind, Status, UploadOptions

from .fakes import ACCOUNT_ID, BUCKET, QUOTA_BYTES, Gateway, made_tenant

UPLOAD_ID = uuid4()


async def open_upload(gateway: Gateway, *, kind: Kind = Kind.FORM, reserve_bytes: int = 100) -> None:
    await gateway.opener.open(
        made_tenant(),
        upload_id=UPLOAD_ID,
        kind=kind,
        filename="a.bin",
        content_type="text/plain",
        s3_key="key",
        size_bytes=None,
        reserve_bytes=reserve_bytes,
        chunk_size_bytes=10,
        options=UploadOptions(cache_key="k"),
        open_seconds=60,
    )


@pytest.mark.parametrize(("kind", "status"), [(Kind.FORM, Status.RECEIVING), (Kind.SESSION, Status.CREATED)])
async def test_where_there_is_room_the_upload_is_open_and_published(kind: Kind, status: Status) -> None:
    gateway = Gateway()
    await open_upload(gateway, kind=kind)
    upload = gateway.state.uploads[UPLOAD_ID]
    assert (upload.status, upload.s3_bucket, upload.cache_key) == (status, BUCKET, "k")
    assert gateway.state.free_bytes == QUOTA_BYTES - 100
    assert gateway.state.events == [
        UploadCreatedV1(
            account_id=ACCOUNT_ID, upload_id=UPLOAD_ID, kind=kind, filename="a.bin", reserved_bytes=100
        )
    ]


async def test_the_last_free_byte_may_be_reserved() -> None:
    gateway = Gateway()
    await open_upload(gateway, reserve_bytes=QUOTA_BYTES)
    assert gateway.state.free_bytes == 0


async def test_without_room_nothing_is_opened_and_the_figures_are_given() -> None:
    gateway = Gateway()
    gateway.state.free_bytes = 99
    with pytest.raises(StorageQuotaExceeded) as caught:
        await open_upload(gateway)
    assert caught.value.extra == {
        "used_bytes": 0,
        "reserved_bytes": QUOTA_BYTES - 99,
        "quota_bytes": QUOTA_BYTES,
        "requested_bytes": 100,
    }
    assert (gateway.state.uploads, gateway.state.events) == ({}, [])
