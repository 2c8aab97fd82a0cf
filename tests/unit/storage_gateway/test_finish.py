"""How uploads end: as a new asset, as one the account had already, or as nothing."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from jettythunder.contracts.assets import AssetDeletedV1, AssetStoredV1
from jettythunder.contracts.uploads import UploadAbortedV1, UploadCompletedV1
from jettythunder.errors import DatabaseConflict, DatabaseUnavailable, StorageUnavailable, UploadNotOpen
from storage_gateway.assets.model import Asset
from storage_gateway.assets.store import UnwantedObject
from storage_gateway.errors import TooManyCacheKeys
from storage_gateway.uploads.model import Received, Result, Status, Upload, UploadOptions

from .fakes import (
    ACCOUNT_ID,
    CACHE_KEYS_PER_ASSET,
    LATE_WRITE_SECONDS,
    NOW,
    Deletion,
    FakeAssetStore,
    FakeUploadStore,
    Gateway,
    made_asset,
    made_upload,
    received_upload,
    sha256_of,
)

CONTENT = b"content"
SOON = NOW + timedelta(hours=1)
LATER = NOW + timedelta(hours=2)
PAST = NOW - timedelta(seconds=1)


class Ending:
    """One open upload, and what becomes of it."""

    def __init__(self, gateway: Gateway | None = None, **columns: object) -> None:
        self.gateway = gateway or Gateway()
        self.state = self.gateway.state
        self.upload = self.state.add(made_upload(**columns))
        self.stored = 0

    @property
    def received(self) -> Received:
        return received_upload(self.upload, content=CONTENT)

    async def store_bytes(self) -> None:
        self.stored += 1
        self.gateway.storage.objects[self.upload.s3_key] = CONTENT

    async def complete(
        self,
        options: UploadOptions | None = None,
        *,
        received: Received | None = None,
        meanwhile: Callable[[], Awaitable[object]] | None = None,
    ) -> Result:
        """Complete the upload; ``meanwhile`` happens while its bytes are stored."""

        async def store() -> None:
            await self.store_bytes()
            if meanwhile is not None:
                await meanwhile()

        return await self.gateway.finisher.complete(
            received or self.received, options or UploadOptions(), store
        )

    @property
    def row(self) -> Upload:
        return self.state.uploads[self.upload.id]


async def test_new_bytes_become_an_asset() -> None:
    ending = Ending()
    result = await ending.complete(UploadOptions(cache_key="k", expires_at=SOON))
    assert (result.deduplicated, result.asset.id, result.cache_key) == (False, ending.upload.id, "k")
    assert result.asset.expires_at == SOON
    assert result.asset.content_hash_verified
    assert ending.row.status is Status.COMPLETED
    assert ending.state.assets == {result.asset.id: result.asset}
    assert ending.state.cache_keys == {"k": result.asset.id}
    assert ending.stored == 1
    completed, stored = ending.state.events
    assert isinstance(completed, UploadCompletedV1)
    assert (completed.stored_bytes, completed.deduplicated) == (len(CONTENT), False)
    assert isinstance(stored, AssetStoredV1)
    assert stored.content_hash == sha256_of(CONTENT)


async def test_bytes_that_the_account_has_are_not_stored_again() -> None:
    ending = Ending(s3_upload_id="multipart")
    ending.gateway.storage.multiparts["multipart"] = {1: CONTENT}
    known = ending.state.add_asset(made_asset())
    result = await ending.complete(UploadOptions(cache_key="k"))
    assert (result.deduplicated, result.asset, result.upload_id) == (True, known, ending.upload.id)
    assert ending.stored == 0
    assert ending.gateway.storage.multiparts == {}
    assert ending.state.cache_keys == {"k": known.id}
    assert (ending.row.status, ending.row.asset_id) == (Status.COMPLETED, known.id)
    (completed,) = ending.state.events
    assert isinstance(completed, UploadCompletedV1)
    assert (completed.asset_id, completed.stored_bytes, completed.size_bytes) == (known.id, 0, len(CONTENT))
    assert ending.state.due == []


async def test_bytes_that_can_not_be_dropped_at_once_stay_noted() -> None:
    ending = Ending()
    ending.state.add_asset(made_asset())
    ending.gateway.storage.failing_keys.add(ending.upload.s3_key)
    assert (await ending.complete()).deduplicated
    assert ending.state.due == [UnwantedObject(ending.upload.s3_bucket, ending.upload.s3_key)]


@pytest.mark.parametrize(
    ("known", "wanted", "kept"),
    [(SOON, LATER, LATER), (LATER, SOON, LATER), (None, SOON, None), (SOON, None, None), (None, None, None)],
)
async def test_a_duplicate_is_kept_until_the_later_expiry_and_none_is_the_latest(
    known: datetime | None, wanted: datetime | None, kept: datetime | None
) -> None:
    ending = Ending()
    asset = ending.state.add_asset(made_asset(expires_at=known))
    result = await ending.complete(UploadOptions(expires_at=wanted))
    assert result.asset.expires_at == kept
    assert ending.state.assets[asset.id].expires_at == kept


async def test_another_account_s_asset_serves_nobody_else() -> None:
    ending = Ending()
    ending.state.add_asset(made_asset(account_id=made_upload().id))
    assert not (await ending.complete()).deduplicated


async def test_an_expired_duplicate_serves_nobody_and_makes_room() -> None:
    ending = Ending()
    expired = ending.state.add_asset(made_asset(expires_at=PAST))
    result = await ending.complete()
    assert not result.deduplicated
    assert set(ending.state.assets) == {ending.upload.id}
    assert ending.stored == 1
    assert ending.gateway.told == ["asset.deleted", "upload.completed", "asset.stored"]
    assert ending.state.events[0] == AssetDeletedV1(
        account_id=ACCOUNT_ID, asset_id=expired.id, size_bytes=expired.size_bytes, reason="expired"
    )
    assert UnwantedObject(expired.s3_bucket, expired.s3_key) in ending.state.due


async def test_where_the_duplicate_is_deleted_before_it_is_locked_the_new_bytes_are_stored() -> None:
    ending = Ending()
    known = ending.state.add_asset(made_asset())

    async def delete() -> None:
        ending.state.delete_asset(known.id)

    ending.gateway.database.before_transaction = delete
    result = await ending.complete()
    assert (result.deduplicated, result.asset.id, ending.stored) == (False, ending.upload.id, 1)


async def test_where_another_upload_stores_the_same_bytes_first_its_asset_serves_both() -> None:
    ending = Ending()
    other = ending.state.add(made_upload())

    async def complete_other() -> None:
        await ending.gateway.finisher.complete(received_upload(other), UploadOptions(), ending.store_bytes)

    result = await ending.complete(meanwhile=complete_other)
    assert (result.deduplicated, result.asset.id) == (True, other.id)
    assert set(ending.state.assets) == {other.id}
    # The bytes of the later one are dropped.
    assert ending.upload.s3_key not in ending.gateway.storage.objects


async def test_where_the_upload_was_completed_meanwhile_the_answer_is_the_same_asset() -> None:
    ending = Ending()
    result = await ending.complete(meanwhile=ending.complete)
    assert (result.deduplicated, result.asset.id) == (False, ending.upload.id)
    assert ending.gateway.told == ["upload.completed", "asset.stored"]
    assert ending.upload.s3_key in ending.gateway.storage.objects


async def test_where_the_upload_was_closed_meanwhile_it_has_no_result() -> None:
    ending = Ending()

    async def abort() -> None:
        await ending.gateway.finisher.abort(ending.upload.id, code="aborted_by_client")

    with pytest.raises(UploadNotOpen):
        await ending.complete(meanwhile=abort)
    assert ending.state.assets == {}
    assert ending.gateway.told == ["upload.aborted"]


async def test_an_object_that_is_made_long_after_its_upload_was_closed_is_deleted() -> None:
    ending = Ending()
    gateway = ending.gateway

    async def expire() -> None:
        ending.state.change(ending.upload.id, expires_at=PAST)
        await gateway.finisher.expire()
        ending.state.wait(LATE_WRITE_SECONDS)
        await gateway.deleter.delete_objects()
        await ending.store_bytes()

    with pytest.raises(UploadNotOpen):
        await ending.complete(meanwhile=expire)
    assert not await gateway.finisher.abort(ending.upload.id, code="upload_not_open")
    await gateway.deleter.delete_objects()
    assert gateway.storage.objects == {}


async def test_giving_up_a_completed_upload_leaves_its_object_alone() -> None:
    ending = Ending()
    await ending.complete()
    assert not await ending.gateway.finisher.abort(ending.upload.id, code="late")
    await ending.gateway.deleter.delete_objects()
    assert list(ending.gateway.storage.objects) == [ending.upload.s3_key]


async def test_a_closed_upload_does_not_become_a_duplicate() -> None:
    ending = Ending(status=Status.EXPIRED)
    ending.state.add_asset(made_asset())
    with pytest.raises(UploadNotOpen):
        await ending.complete()
    assert ending.state.events == []


class HidingAssets(FakeAssetStore):
    """Each time that somebody looks, the duplicate is away; when the asset is made, it is there."""

    async def find_known(self, *, account_id: UUID, content_hash: str) -> Asset | None:
        return None


async def test_a_duplicate_that_comes_and_goes_again_and_again_is_a_conflict() -> None:
    ending = Ending(Gateway(assets=HidingAssets))
    ending.state.add_asset(made_asset())
    with pytest.raises(DatabaseConflict):
        await ending.complete()
    assert ending.stored == 1


async def test_an_asset_with_a_claimed_hash_serves_no_duplicates() -> None:
    ending = Ending()
    known = ending.state.add_asset(made_asset())
    claimed = received_upload(ending.upload, content=CONTENT, hash_verified=False)
    result = await ending.complete(received=claimed)
    assert (result.deduplicated, result.asset.content_hash_verified) == (False, False)
    assert ending.state.serving == {known.id}


async def test_what_a_completed_upload_came_to_can_be_asked_until_its_asset_is_gone() -> None:
    ending = Ending()
    result = await ending.complete()
    assert await ending.gateway.finisher.completed(ending.row) == result
    ending.state.delete_asset(result.asset.id)
    with pytest.raises(UploadNotOpen, match="gone"):
        await ending.gateway.finisher.completed(ending.row)


async def test_an_aborted_upload_leaves_nothing_and_its_object_is_deleted_once_more_later() -> None:
    ending = Ending(s3_upload_id="multipart")
    ending.gateway.storage.multiparts["multipart"] = {1: CONTENT}
    await ending.store_bytes()
    assert await ending.gateway.finisher.abort(ending.upload.id, code="truncated_body")
    assert (ending.gateway.storage.objects, ending.gateway.storage.multiparts) == ({}, {})
    assert (ending.row.status, ending.row.failure_code) == (Status.ABORTED, "truncated_body")
    unwanted = UnwantedObject(ending.upload.s3_bucket, ending.upload.s3_key)
    assert ending.state.deletions == {unwanted: Deletion(LATE_WRITE_SECONDS)}
    assert ending.state.events == [
        UploadAbortedV1(account_id=ACCOUNT_ID, upload_id=ending.upload.id, code="truncated_body")
    ]


async def test_a_multipart_upload_that_no_row_names_goes_with_its_upload() -> None:
    ending = Ending(expires_at=PAST)
    gateway = ending.gateway
    await gateway.storage.create_multipart(ending.upload.s3_key, content_type="image/png")
    other = await gateway.storage.create_multipart(made_upload().s3_key, content_type="image/png")
    await gateway.finisher.expire()
    gateway.state.wait(LATE_WRITE_SECONDS)
    await gateway.deleter.delete_objects()
    assert list(gateway.storage.multiparts) == [other]
    assert gateway.state.deletions == {}


async def test_an_upload_ends_once() -> None:
    ending = Ending()
    assert await ending.gateway.finisher.abort(ending.upload.id, code="first")
    assert not await ending.gateway.finisher.abort(ending.upload.id, code="second")
    assert ending.gateway.told == ["upload.aborted"]


async def test_an_upload_is_aborted_though_the_storage_does_not_answer() -> None:
    ending = Ending(s3_upload_id="multipart")
    ending.gateway.storage.failing_keys.add(ending.upload.s3_key)
    assert await ending.gateway.finisher.abort(ending.upload.id, code="c")
    # Housekeeping finds both by the row and the note.
    assert (ending.row.s3_upload_id, len(ending.state.deletions)) == ("multipart", 1)


async def test_uploads_that_nobody_works_on_expire() -> None:
    ending = Ending(expires_at=PAST, correlation_id="c")
    kept = ending.state.add(made_upload())
    assert await ending.gateway.finisher.expire() is None
    assert (ending.row.status, ending.state.uploads[kept.id].status) == (Status.EXPIRED, Status.RECEIVING)
    assert ending.state.events == [
        UploadAbortedV1(account_id=ACCOUNT_ID, upload_id=ending.upload.id, code="expired")
    ]
    assert len(ending.state.deletions) == 1


async def test_a_full_batch_of_expired_uploads_is_followed_by_the_next_at_once() -> None:
    gateway = Gateway()
    for _ in range(51):
        gateway.state.add(made_upload(expires_at=PAST))
    assert await gateway.finisher.expire() == 0
    assert await gateway.finisher.expire() is None
    assert len(gateway.state.events) == 51


async def test_an_upload_whose_bytes_can_not_be_stored_stays_open() -> None:
    ending = Ending()

    async def fail() -> None:
        raise StorageUnavailable

    with pytest.raises(StorageUnavailable):
        await ending.complete(meanwhile=fail)
    assert ending.row.status.is_open


class FailingUploads(FakeUploadStore):
    """The connection is lost before an upload can be closed as a duplicate."""

    async def close_as_duplicate(self, *_: object, **__: object) -> bool:
        raise DatabaseUnavailable


async def test_a_duplicate_keeps_its_expiry_where_the_upload_could_not_be_closed() -> None:
    ending = Ending(Gateway(uploads=FailingUploads))
    known = ending.state.add_asset(made_asset(expires_at=SOON))
    with pytest.raises(DatabaseUnavailable):
        await ending.complete(UploadOptions(expires_at=LATER))
    assert ending.state.assets[known.id].expires_at == SOON
    assert ending.row.status.is_open


async def test_a_duplicate_under_more_cache_keys_than_there_may_be_is_refused() -> None:
    ending = Ending()
    known = ending.state.add_asset(made_asset())
    for number in range(CACHE_KEYS_PER_ASSET):
        ending.state.cache_keys[f"k{number}"] = known.id
    with pytest.raises(TooManyCacheKeys):
        await ending.complete(UploadOptions(cache_key="one more"))
    assert "one more" not in ending.state.cache_keys
    assert (await ending.complete(UploadOptions(cache_key="k0"))).deduplicated
