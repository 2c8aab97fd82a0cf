"""Receiving forms: what is stored, reserved and left over, whatever the client sends."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import pytest
from starlette.requests import Request
from starlette.types import Message
from tests.support.virtual_time import now, run_virtually

from jettythunder.checksums import Algorithm
from jettythunder.contracts.uploads import UploadAbortedV1, UploadCompletedV1
from jettythunder.errors import (
    BrokerUnavailable,
    StorageUnavailable,
    TruncatedBody,
    UploadNotOpen,
    UploadTimedOut,
)
from jettythunder.outbox import Rows
from storage_gateway.access.model import Tenant
from storage_gateway.errors import (
    ChunkUploadFailed,
    ContentHashMismatch,
    FileTooLarge,
    GatewayBusy,
    MissingFile,
    MultipleFiles,
    StorageQuotaExceeded,
    TooManyUploads,
)
from storage_gateway.uploads.form import Form
from storage_gateway.uploads.model import Result, Status
from storage_gateway.uploads.store import NewUpload, Room

from .fakes import (
    ACCOUNT_ID,
    CHUNK_BYTES,
    CHUNK_SECONDS,
    LEASE_SECONDS,
    QUOTA_BYTES,
    UPLOAD_SECONDS,
    FakeUploadStore,
    Gateway,
    made_tenant,
    sha256_of,
)

BOUNDARY = "b0undary"
SMALL = b"content"
LARGE = bytes(range(256))[: 2 * CHUNK_BYTES + 50]


def part(name: str, filename: str | None, content: bytes) -> bytes:
    disposition = f'form-data; name="{name}"' + ("" if filename is None else f'; filename="{filename}"')
    return f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + content + b"\r\n"


def body(*parts: tuple[str, str | None, bytes]) -> bytes:
    return b"".join(part(*one) for one in parts) + f"--{BOUNDARY}--\r\n".encode()


def file(content: bytes) -> tuple[str, str | None, bytes]:
    return ("file", "a.bin", content)


def form(
    blocks: Iterable[bytes],
    *,
    length: int | None = None,
    pauses: Callable[[], Awaitable[object]] | None = None,
) -> Form:
    """A form whose body arrives in these blocks, with a pause before each."""
    messages: list[Message] = [{"type": "http.request", "body": block, "more_body": True} for block in blocks]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Message:
        if pauses is not None:
            await pauses()
        return messages.pop(0)

    headers = [(b"content-type", f"multipart/form-data; boundary={BOUNDARY}".encode())]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    return Form(request, timeout_seconds=30)


async def upload(
    gateway: Gateway,
    *parts: tuple[str, str | None, bytes],
    tenant: Tenant | None = None,
    is_known: bool = True,
) -> Result:
    """Send these parts as a form, in small blocks, with or without its length in the header."""
    sent = body(*parts)
    blocks = [sent[start : start + 7] for start in range(0, len(sent), 7)]
    return await gateway.forms.receive_form(
        tenant or made_tenant(), form(blocks, length=len(sent) if is_known else None)
    )


def left(gateway: Gateway) -> dict[str, object]:
    """What there is of an upload but for its row and its events."""
    return {
        "objects": gateway.storage.objects,
        "multiparts": gateway.storage.multiparts,
        "spooled": gateway.spooled_bytes,
        "assets": gateway.state.assets,
    }


NOTHING: dict[str, object] = {"objects": {}, "multiparts": {}, "spooled": 0, "assets": {}}


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize(
    ("content", "chunks"),
    [(b"", 1), (SMALL, 1), (LARGE[:CHUNK_BYTES], 1), (LARGE[: CHUNK_BYTES + 1], 2), (LARGE, 3)],
)
async def test_a_file_becomes_an_asset_whatever_its_size(content: bytes, chunks: int, is_known: bool) -> None:
    gateway = Gateway()
    result = await upload(gateway, ("cache_key", None, b"k"), file(content), is_known=is_known)
    asset = result.asset
    assert gateway.storage.objects == {asset.s3_key: content}
    assert (asset.size_bytes, asset.content_hash) == (len(content), sha256_of(content))
    assert (asset.cache_key, asset.content_hash_verified) == ("k", True)
    assert (gateway.storage.multiparts, gateway.spooled_bytes) == ({}, 0)
    assert gateway.told == ["upload.created", "upload.completed", "asset.stored"]
    (completed,) = [event for event in gateway.state.events if isinstance(event, UploadCompletedV1)]
    assert (completed.size_bytes, completed.stored_bytes, completed.chunk_count) == (
        len(content),
        len(content),
        chunks,
    )


@pytest.mark.parametrize("content", [SMALL, LARGE])
async def test_bytes_that_the_account_has_are_not_kept_twice(content: bytes) -> None:
    gateway = Gateway()
    first = await upload(gateway, file(content))
    again = await upload(gateway, file(content))
    assert (first.deduplicated, again.deduplicated) == (False, True)
    assert again.asset.id == first.asset.id
    assert gateway.storage.objects == {first.asset.s3_key: content}
    assert (gateway.storage.multiparts, gateway.spooled_bytes) == ({}, 0)


@pytest.mark.parametrize("content", [SMALL, LARGE])
@pytest.mark.parametrize("is_known", [True, False])
async def test_a_file_that_is_cut_off_leaves_nothing(content: bytes, is_known: bool) -> None:
    gateway = Gateway()
    sent = body(file(content))
    cut = sent[: -len(BOUNDARY) - 10]
    with pytest.raises(TruncatedBody):
        await gateway.forms.receive_form(made_tenant(), form([cut], length=len(sent) if is_known else None))
    assert left(gateway) == NOTHING
    assert gateway.told == ["upload.created", "upload.aborted"]


async def test_a_body_without_a_file_opens_nothing() -> None:
    gateway = Gateway()
    # What browsers send for a file input that was left empty.
    for parts in ([], [("cache_key", None, b"k")], [("file", "", b"")]):
        with pytest.raises(MissingFile):
            await upload(gateway, *parts)
    assert (gateway.state.uploads, left(gateway)) == ({}, NOTHING)


@pytest.mark.parametrize("content", [SMALL, LARGE])
async def test_a_second_file_is_refused_and_the_first_is_not_kept(content: bytes) -> None:
    gateway = Gateway()
    with pytest.raises(MultipleFiles):
        await upload(gateway, file(content), file(b"other"))
    assert left(gateway) == NOTHING
    assert gateway.told == ["upload.created", "upload.aborted"]


@pytest.mark.parametrize("content", [SMALL, LARGE])
async def test_other_bytes_than_announced_are_not_kept(content: bytes) -> None:
    gateway = Gateway()
    with pytest.raises(ContentHashMismatch) as caught:
        await upload(gateway, file(content), ("content_hash", None, sha256_of(b"other").encode()))
    assert caught.value.extra == {"received_hash": sha256_of(content)}
    assert left(gateway) == NOTHING
    assert gateway.state.events[-1] == aborted(gateway, "content_hash_mismatch")


def aborted(gateway: Gateway, code: str) -> UploadAbortedV1:
    (upload_id,) = gateway.state.uploads
    return UploadAbortedV1(account_id=ACCOUNT_ID, upload_id=upload_id, code=code)


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_file_over_the_tier_s_limit_is_refused(is_known: bool) -> None:
    gateway = Gateway()
    tenant = made_tenant(max_file_size_mb=0)
    with pytest.raises(FileTooLarge):
        await upload(gateway, file(LARGE), tenant=tenant, is_known=is_known)
    assert left(gateway) == NOTHING
    assert gateway.state.free_bytes == QUOTA_BYTES


@pytest.mark.parametrize("room_bytes", [0, CHUNK_BYTES, len(LARGE) - 1])
async def test_a_file_that_does_not_fit_the_quota_is_refused_and_leaves_nothing(room_bytes: int) -> None:
    gateway = Gateway()
    gateway.state.free_bytes = room_bytes
    with pytest.raises(StorageQuotaExceeded):
        await upload(gateway, file(LARGE), is_known=False)
    assert left(gateway) == NOTHING


async def test_the_last_bytes_of_a_quota_are_given_though_no_whole_step_is_left() -> None:
    gateway = Gateway()
    gateway.state.free_bytes = len(LARGE)
    result = await upload(gateway, file(LARGE), is_known=False)
    assert gateway.storage.objects == {result.asset.s3_key: LARGE}
    assert gateway.state.free_bytes == 0


@pytest.mark.parametrize("content", [SMALL, LARGE])
async def test_a_storage_that_does_not_answer_refuses_the_upload(content: bytes) -> None:
    gateway = Gateway()
    gateway.storage.is_down = True
    with pytest.raises(StorageUnavailable):
        await upload(gateway, file(content))
    assert left(gateway) == NOTHING
    assert gateway.state.events[-1] == aborted(gateway, "storage_unavailable")


def test_a_chunk_that_no_worker_can_store_fails_the_upload_in_the_end() -> None:
    gateway = Gateway()
    gateway.worker.failure = BrokerUnavailable()

    async def run() -> float:
        with pytest.raises(BrokerUnavailable):
            await upload(gateway, file(LARGE))
        return now()

    assert CHUNK_SECONDS - 10 < run_virtually(run()) <= CHUNK_SECONDS
    assert left(gateway) == NOTHING
    assert gateway.state.events[-1] == aborted(gateway, "broker_unavailable")


async def test_an_upload_that_was_closed_meanwhile_is_given_up() -> None:
    gateway = Gateway()

    async def close() -> None:
        for upload_id in list(gateway.state.uploads):
            await gateway.finisher.abort(upload_id, code="expired")

    gateway.worker.before_answer = lambda: asyncio.ensure_future(close())
    with pytest.raises((UploadNotOpen, ChunkUploadFailed)):
        await upload(gateway, file(LARGE))
    assert left(gateway) == NOTHING
    assert gateway.told == ["upload.created", "upload.aborted"]


def test_an_upload_may_be_opened_while_the_leases_are_renewed() -> None:
    class SlowStore(FakeUploadStore):
        async def open(self, upload: NewUpload, events: Rows) -> Room:
            await asyncio.sleep(LEASE_SECONDS)
            return await super().open(upload, events)

    async def run() -> Result:
        gateway = Gateway(uploads=SlowStore)
        gateway.leases.start()
        try:
            return await upload(gateway, file(SMALL))
        finally:
            await gateway.leases.close()

    assert run_virtually(run()).asset.size_bytes == len(SMALL)


def test_an_upload_that_never_ends_is_ended() -> None:
    gateway = Gateway()

    async def run() -> float:
        sent = [part("file", "a.bin", b"")[:-2], *[b"x"] * UPLOAD_SECONDS]
        with pytest.raises(UploadTimedOut):
            await gateway.forms.receive_form(made_tenant(), form(sent, pauses=lambda: asyncio.sleep(25)))
        return now()

    assert run_virtually(run()) == UPLOAD_SECONDS
    assert left(gateway) == NOTHING
    assert gateway.state.events[-1] == aborted(gateway, "upload_timed_out")


async def test_an_upload_whose_request_is_cancelled_is_closed_to_the_end() -> None:
    gateway = Gateway()
    arrived = asyncio.Event()

    async def hang_after_the_first() -> None:
        if gateway.state.uploads:
            arrived.set()
            await asyncio.Event().wait()

    sent = [part("file", "a.bin", LARGE)[:-2], b"never"]
    receiving = asyncio.create_task(
        gateway.forms.receive_form(made_tenant(), form(sent, pauses=hang_after_the_first))
    )
    await arrived.wait()
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    await gateway.forms.close()
    assert left(gateway) == NOTHING
    assert gateway.state.events[-1] == aborted(gateway, "shutting_down")
    (row,) = gateway.state.uploads.values()
    assert row.status is Status.ABORTED


async def test_an_account_has_so_many_uploads_under_way_and_no_more() -> None:
    gateway = Gateway()
    go_on = asyncio.Event()
    waiting = [
        asyncio.create_task(
            gateway.forms.receive_form(made_tenant(), form([body(file(content))], pauses=go_on.wait))
        )
        for content in (b"one", b"two")
    ]
    await asyncio.sleep(0)
    with pytest.raises(TooManyUploads) as caught:
        await upload(gateway, file(b"three"))
    assert caught.value.retry_after_seconds is not None
    go_on.set()
    await asyncio.gather(*waiting)
    # The slots are free again.
    await upload(gateway, file(b"three"))
    assert sorted(gateway.storage.objects.values()) == [b"one", b"three", b"two"]


def test_a_gateway_without_room_refuses_at_the_first_byte() -> None:
    gateway = Gateway()

    async def run() -> float:
        others = [
            gateway.spool.add(
                made_tenant().account_id,
                n,
                account_id=made_tenant().account_id,
                most_bytes=CHUNK_BYTES,
                algorithm=Algorithm.MD5,
            )
            for n in (1, 2)
        ]
        # One chunk holds the account's whole share, and another what one may hold beyond it.
        await gateway.spool.make_room(others[0], 5_000)
        other = asyncio.create_task(gateway.spool.make_room(others[1], 100))
        await asyncio.sleep(0)
        with pytest.raises(GatewayBusy):
            await upload(gateway, file(SMALL))
        await other
        return now()

    assert run_virtually(run()) == 10
    assert gateway.state.uploads == {}
