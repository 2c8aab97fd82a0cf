"""Upload sessions: opened, continued, completed and aborted."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from jettythunder import edge_tokens
from jettythunder.contracts.uploads import UploadCompletedV1
from jettythunder.errors import (
    BrokerUnavailable,
    InvalidField,
    StorageUnavailable,
    UploadNotFound,
    UploadNotOpen,
)
from jettythunder.storage import ListedPart, StoredPart
from storage_gateway.assets.model import Asset
from storage_gateway.errors import (
    ContentHashMismatch,
    JettySpeedNotIncluded,
    TooManySessions,
    UploadIncomplete,
)
from storage_gateway.uploads.model import MIN_CHUNK_BYTES, Result, Status, StoredChunk, Upload, UploadOptions
from storage_gateway.uploads.sessions import NewSession, Session

from .fakes import (
    ACCOUNT_ID,
    EPOCH,
    LATE_WRITE_SECONDS,
    NOW,
    OPEN_SESSIONS,
    QUOTA_BYTES,
    SIGNING_KEYS,
    FakeStorage,
    Gateway,
    made_asset,
    made_tenant,
    md5_of,
    others_run,
    sha256_of,
)

CHUNKS = {1: b"aaaa", 2: b"bbbb", 3: b"end"}
CONTENT = b"".join(CHUNKS.values())
HASH = sha256_of(CONTENT)
PARTS_MD5 = md5_of(b"".join(bytes.fromhex(md5_of(chunk)) for chunk in CHUNKS.values()))


class AbortedMeanwhile(FakeStorage):
    """Multipart uploads are aborted when it is asked for their parts."""

    async def list_parts(self, key: str, upload_id: str) -> list[ListedPart]:
        await self.abort_multipart(key, upload_id)
        return await super().list_parts(key, upload_id)


class JoinedLate(FakeStorage):
    """Parts are joined, and the object is there once ``meanwhile`` is over."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], Awaitable[None]] = others_run

    async def complete_multipart(
        self, key: str, upload_id: str, parts: list[StoredPart], *, size_bytes: int
    ) -> None:
        await super().complete_multipart(key, upload_id, parts, size_bytes=size_bytes)
        joined = self.objects.pop(key)
        await self.meanwhile()
        self.objects[key] = joined


class Client:
    """A client of a session, with the edges that its chunks go by."""

    def __init__(self, *, direct: bool = False, storage: type[FakeStorage] = FakeStorage) -> None:
        self.gateway = Gateway(direct=direct, storage=storage)
        self.state = self.gateway.state
        self.sessions = self.gateway.sessions
        self.upload_id = UUID(int=0)

    async def create(self, options: UploadOptions | None = None) -> Session | Result:
        wanted = NewSession("a.bin", len(CONTENT), "text/plain", 1, options or UploadOptions())
        made = await self.sessions.create(made_tenant(), wanted)
        if isinstance(made, Session):
            self.upload_id = made.upload.id
        return made

    async def begin(
        self, options: UploadOptions | None = None, *, numbers: tuple[int, ...] = (1, 2, 3)
    ) -> None:
        """Create the session, in smaller chunks than S3 takes, and send these chunks."""
        await self.create(options)
        self.state.change(self.upload_id, chunk_size_bytes=len(CHUNKS[1]))
        await self.sessions.tickets(made_tenant(), self.upload_id, [1, 2, 3])
        for number in numbers:
            self.send(number)

    def send(self, number: int, *, is_recorded: bool = True) -> None:
        """Have an edge store a chunk, and record it."""
        self.gateway.storage.multiparts[self.row.multipart_id][number] = CHUNKS[number]
        if is_recorded:
            md5 = md5_of(CHUNKS[number])
            chunk = StoredChunk(number, len(CHUNKS[number]), md5, f'"{md5}"')
            self.state.chunks.setdefault(self.upload_id, {})[number] = chunk

    def lose(self, number: int) -> None:
        """Have the object storage lose a chunk that is recorded."""
        del self.gateway.storage.multiparts[self.row.multipart_id][number]

    async def complete(self, *, content_hash: str | None = HASH, parts_md5: str | None = None) -> Result:
        return await self.sessions.complete(
            ACCOUNT_ID, self.upload_id, content_hash=content_hash, parts_md5=parts_md5
        )

    @property
    def row(self) -> Upload:
        return self.state.uploads[self.upload_id]


async def test_a_session_is_opened_with_its_storage_reserved_and_planned_in_chunks() -> None:
    client = Client()
    wanted = NewSession("a.bin", 2 * MIN_CHUNK_BYTES + 1, "text/plain", 1, UploadOptions(cache_key="k"))
    made = await client.sessions.create(made_tenant(), wanted)
    assert isinstance(made, Session)
    assert (made.upload.status, made.missing, made.upload.plan.count) == (Status.CREATED, [[1, 3]], 3)
    assert client.state.free_bytes == QUOTA_BYTES - wanted.size_bytes
    assert list(client.gateway.storage.multiparts) == [made.upload.multipart_id]


@pytest.mark.parametrize("size_bytes", [0, -1])
async def test_an_empty_file_needs_no_session(size_bytes: int) -> None:
    wanted = NewSession("a.bin", size_bytes, None, None, UploadOptions())
    with pytest.raises(InvalidField):
        await Client().sessions.create(made_tenant(), wanted)


async def test_a_tier_without_jettyspeed_has_no_sessions() -> None:
    with pytest.raises(JettySpeedNotIncluded):
        await Client().sessions.create(
            made_tenant(jetty_speed_enabled=False), NewSession("a", 1, None, None, UploadOptions())
        )


async def test_a_session_that_the_storage_does_not_begin_is_aborted() -> None:
    client = Client()
    client.gateway.storage.is_down = True
    with pytest.raises(StorageUnavailable):
        await client.create()
    assert client.gateway.told == ["upload.created", "upload.aborted"]
    (upload,) = client.state.uploads.values()
    assert (upload.status, upload.failure_code) == (Status.ABORTED, "storage_unavailable")


async def test_bytes_with_a_verified_hash_are_not_sent_again() -> None:
    client = Client()
    later = NOW + timedelta(hours=2)
    known = client.state.add_asset(made_asset(content_hash=HASH, expires_at=NOW + timedelta(hours=1)))
    made = await client.create(UploadOptions(content_hash=HASH, cache_key="k", expires_at=later))
    assert isinstance(made, Result)
    assert (made.deduplicated, made.asset.id, made.asset.expires_at) == (True, known.id, later)
    assert client.state.cache_keys == {"k": known.id}
    assert client.state.uploads == {}


def claimed_asset(client: Client, content: bytes, *, content_hash: str = HASH) -> Asset:
    """An asset with a hash that is only claimed, and what its object really holds."""
    asset = made_asset(content_hash=content_hash, content_hash_verified=False, size_bytes=len(content))
    client.gateway.storage.objects[asset.s3_key] = content
    return client.state.add_asset(asset, serves=False)


async def test_a_claimed_hash_that_is_true_spares_the_sending_once_it_is_verified() -> None:
    client = Client()
    known = claimed_asset(client, CONTENT)
    made = await client.create(UploadOptions(content_hash=HASH))
    assert isinstance(made, Result)
    assert (made.asset.id, made.asset.content_hash_verified) == (known.id, True)
    assert client.gateway.worker.asked == [known.id]


async def test_a_claimed_hash_that_is_wrong_spares_nobody_the_sending() -> None:
    client = Client()
    known = claimed_asset(client, b"other bytes")
    assert isinstance(await client.create(UploadOptions(content_hash=HASH)), Session)
    assert client.state.assets[known.id].content_hash == sha256_of(b"other bytes")


async def test_a_claimed_hash_that_nobody_verifies_spares_nobody_the_sending() -> None:
    client = Client()
    claimed_asset(client, CONTENT)
    client.gateway.worker.failure = TimeoutError()
    assert isinstance(await client.create(UploadOptions(content_hash=HASH)), Session)


async def test_tickets_let_one_chunk_through_each() -> None:
    client = Client()
    await client.begin(numbers=())
    tickets, expires_at = await client.sessions.tickets(made_tenant(), client.upload_id, [1, 3])
    assert [(ticket.number, ticket.size_bytes) for ticket in tickets] == [(1, 4), (3, 3)]
    token = edge_tokens.read(SIGNING_KEYS.verifying, tickets[1].token)
    assert (token.upload_id, token.number, token.size_bytes) == (client.upload_id, 3, 3)
    assert (token.s3_key, token.s3_upload_id) == (client.row.s3_key, client.row.multipart_id)
    assert (token.epoch, token.expires_at) == (EPOCH, expires_at.timestamp())
    assert [ticket.direct_url for ticket in tickets] == [None, None]
    assert client.row.status is Status.RECEIVING


async def test_where_the_storage_takes_chunks_tickets_lead_there_too() -> None:
    client = Client(direct=True)
    await client.begin(numbers=())
    (ticket,), _ = await client.sessions.tickets(made_tenant(), client.upload_id, [2])
    assert ticket.direct_url is not None
    assert "part=2&size=4" in ticket.direct_url


@pytest.mark.parametrize("numbers", [[0], [4], [1, 4]])
async def test_there_are_no_tickets_for_chunks_outside_the_plan(numbers: list[int]) -> None:
    client = Client()
    await client.begin(numbers=())
    with pytest.raises(InvalidField):
        await client.sessions.tickets(made_tenant(), client.upload_id, numbers)


async def test_another_account_s_session_does_not_exist() -> None:
    client = Client()
    await client.begin()
    with pytest.raises(UploadNotFound):
        await client.sessions.find(uuid4(), client.upload_id)
    with pytest.raises(UploadNotFound):
        await client.sessions.complete(uuid4(), client.upload_id, content_hash=HASH, parts_md5=None)
    with pytest.raises(UploadNotFound):
        await client.sessions.abort(uuid4(), client.upload_id)


async def test_all_chunks_become_an_asset_with_the_claimed_hash() -> None:
    client = Client()
    await client.begin(UploadOptions(cache_key="k", content_hash=HASH))
    result = await client.complete(content_hash=None, parts_md5=PARTS_MD5.upper())
    assert (result.deduplicated, result.asset.id, result.cache_key) == (False, client.upload_id, "k")
    assert (result.asset.content_hash, result.asset.content_hash_verified) == (HASH, False)
    assert client.gateway.storage.objects == {client.row.s3_key: CONTENT}
    # Believed until it matters.
    assert client.gateway.worker.asked == []
    completed = next(event for event in client.state.events if isinstance(event, UploadCompletedV1))
    assert (completed.chunk_count, completed.size_bytes) == (3, len(CONTENT))


async def test_missing_chunks_are_named_and_the_session_stays_open_for_them() -> None:
    client = Client()
    await client.begin(numbers=(2,))
    with pytest.raises(UploadIncomplete) as caught:
        await client.complete()
    assert caught.value.extra == {"missing": [[1, 1], [3, 3]]}
    assert client.row.status is Status.RECEIVING
    client.send(1)
    client.send(3)
    assert (await client.complete()).asset.id == client.upload_id


async def test_chunks_that_are_not_those_of_the_file_are_refused_and_the_session_stays_open() -> None:
    client = Client()
    await client.begin()
    with pytest.raises(ContentHashMismatch):
        await client.complete(parts_md5="0" * 32)
    assert client.row.status is Status.RECEIVING
    assert client.gateway.storage.objects == {}
    assert (await client.complete(parts_md5=PARTS_MD5)).asset.id == client.upload_id


async def test_another_hash_than_the_announced_one_is_refused() -> None:
    client = Client()
    await client.begin(UploadOptions(content_hash="0" * 64))
    with pytest.raises(ContentHashMismatch):
        await client.complete()


async def test_without_any_hash_nothing_is_completed() -> None:
    client = Client()
    await client.begin()
    with pytest.raises(InvalidField, match="content_hash"):
        await client.complete(content_hash=None)


async def test_chunks_that_the_storage_lacks_are_forgotten_and_named_as_missing() -> None:
    client = Client()
    await client.begin()
    client.lose(2)
    with pytest.raises(UploadIncomplete) as caught:
        await client.complete()
    assert caught.value.extra == {"missing": [[2, 2]]}
    assert sorted(client.state.chunks[client.upload_id]) == [1, 3]
    assert client.row.status is Status.RECEIVING
    client.send(2)
    assert (await client.complete()).asset.id == client.upload_id


async def test_a_session_that_is_aborted_while_its_lost_chunks_are_looked_for_is_not_open() -> None:
    client = Client(storage=AbortedMeanwhile)
    await client.begin()
    client.lose(2)
    with pytest.raises(UploadNotOpen):
        await client.complete()


async def test_an_object_that_a_session_makes_long_after_it_was_closed_is_deleted() -> None:
    client = Client(storage=JoinedLate)
    gateway = client.gateway
    await client.begin()

    async def expire() -> None:
        client.state.change(client.upload_id, expires_at=NOW - timedelta(seconds=1))
        await gateway.finisher.expire()
        client.state.wait(LATE_WRITE_SECONDS)
        await gateway.deleter.delete_objects()

    assert isinstance(gateway.storage, JoinedLate)
    gateway.storage.meanwhile = expire
    with pytest.raises(UploadNotOpen):
        await client.complete()
    assert list(gateway.storage.objects) == [client.row.s3_key]
    await gateway.deleter.delete_objects()
    assert gateway.storage.objects == {}


async def test_a_completed_session_answers_the_same_again() -> None:
    client = Client()
    await client.begin()
    first = await client.complete()
    assert await client.complete() == first
    assert client.gateway.told == ["upload.created", "upload.completed", "asset.stored"]


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("turns_apart", range(8))
async def test_five_completions_at_once_give_the_same_asset_five_times(
    direct: bool, is_known: bool, turns_apart: int
) -> None:
    client = Client(direct=direct)
    await client.begin(numbers=() if direct else (1, 2, 3))
    if direct:
        for number in CHUNKS:
            client.send(number, is_recorded=False)
    known = client.state.add_asset(made_asset(content_hash=HASH)) if is_known else None

    async def complete(turns: int) -> Result:
        for _ in range(turns):
            await others_run()
        return await client.complete()

    results = await asyncio.gather(*(complete(turns_apart * number) for number in range(5)))
    assert {result.asset.id for result in results} == {known.id if known else client.upload_id}
    assert {result.deduplicated for result in results} == {is_known}
    assert client.gateway.told.count("upload.completed") == 1


async def test_an_equal_hash_that_is_true_makes_a_duplicate() -> None:
    client = Client()
    known = client.state.add_asset(made_asset(content_hash=HASH))
    await client.begin()
    result = await client.complete()
    assert (result.deduplicated, result.asset.id) == (True, known.id)
    assert client.gateway.worker.asked == [client.upload_id]
    assert client.gateway.storage.objects == {}


async def test_an_equal_hash_that_is_wrong_is_stored_under_the_true_one() -> None:
    client = Client()
    claimed = sha256_of(b"somebody's secret")
    known = client.state.add_asset(made_asset(content_hash=claimed))
    await client.begin()
    result = await client.complete(content_hash=claimed)
    assert (result.deduplicated, result.asset.id) == (False, client.upload_id)
    assert (result.asset.content_hash, result.asset.content_hash_verified) == (HASH, True)
    assert client.state.serving == {known.id, client.upload_id}


async def test_two_claims_of_the_same_bytes_become_one_asset() -> None:
    client = Client()
    known = claimed_asset(client, CONTENT)
    await client.begin()
    result = await client.complete()
    assert (result.deduplicated, result.asset.id) == (True, known.id)
    assert client.gateway.worker.asked == [known.id, client.upload_id]


@pytest.mark.parametrize("failure", [TimeoutError(), BrokerUnavailable()])
async def test_where_nobody_verifies_an_equal_hash_the_bytes_are_stored_as_claimed(
    failure: Exception,
) -> None:
    client = Client()
    known = client.state.add_asset(made_asset(content_hash=HASH))
    client.gateway.worker.failure = failure
    await client.begin()
    result = await client.complete()
    assert (result.deduplicated, result.asset.id) == (False, client.upload_id)
    assert (result.asset.content_hash, result.asset.content_hash_verified) == (HASH, False)
    assert client.state.serving == {known.id}


async def test_chunks_sent_straight_to_the_storage_are_found_there() -> None:
    client = Client(direct=True)
    await client.begin(numbers=(1,))
    client.send(2, is_recorded=False)
    session = await client.sessions.find(ACCOUNT_ID, client.upload_id)
    assert [chunk.number for chunk in session.chunks] == [1, 2]
    assert session.missing == [[3, 3]]
    client.send(3, is_recorded=False)
    result = await client.complete(parts_md5=PARTS_MD5)
    assert client.gateway.storage.objects == {result.asset.s3_key: CONTENT}


@pytest.mark.parametrize("direct", [False, True])
async def test_a_completion_that_was_cut_off_after_the_join_can_be_repeated(direct: bool) -> None:
    client = Client(direct=direct)
    await client.begin(numbers=() if direct else (1, 2, 3))
    client.gateway.storage.multiparts.clear()
    client.gateway.storage.objects[client.row.s3_key] = CONTENT
    client.state.change(client.upload_id, status=Status.COMPLETING)
    assert (await client.complete()).asset.id == client.upload_id


async def test_a_session_whose_parts_are_gone_and_not_joined_is_not_open() -> None:
    client = Client()
    await client.begin()
    client.gateway.storage.multiparts.clear()
    with pytest.raises(UploadNotOpen):
        await client.complete()


async def test_a_session_that_is_being_completed_gives_no_tickets() -> None:
    client = Client()
    await client.begin()
    client.state.change(client.upload_id, status=Status.COMPLETING)
    with pytest.raises(UploadNotOpen):
        await client.sessions.tickets(made_tenant(), client.upload_id, [1])


async def test_an_aborted_session_releases_its_storage_and_stays_aborted() -> None:
    client = Client()
    await client.begin(numbers=(1,))
    await client.sessions.abort(ACCOUNT_ID, client.upload_id)
    await client.sessions.abort(ACCOUNT_ID, client.upload_id)
    assert client.gateway.storage.multiparts == {}
    assert client.gateway.told == ["upload.created", "upload.aborted"]
    with pytest.raises(UploadNotOpen):
        await client.complete()
    with pytest.raises(UploadNotOpen):
        await client.sessions.tickets(made_tenant(), client.upload_id, [2])


async def test_a_completed_session_is_not_aborted() -> None:
    client = Client()
    await client.begin()
    await client.complete()
    with pytest.raises(UploadNotOpen, match="delete its asset"):
        await client.sessions.abort(ACCOUNT_ID, client.upload_id)
    assert client.gateway.storage.objects == {client.row.s3_key: CONTENT}


async def test_an_account_has_a_number_of_open_sessions_at_most() -> None:
    client = Client()
    for _ in range(OPEN_SESSIONS):
        await client.create()
    with pytest.raises(TooManySessions):
        await client.create()
    await client.sessions.abort(ACCOUNT_ID, client.upload_id)
    await client.create()
