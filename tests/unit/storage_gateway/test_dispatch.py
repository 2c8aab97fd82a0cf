"""Handing a chunk to the chunk-workers: again where it failed, and never for longer than it may take."""

from uuid import uuid4

import pytest
from tests.support.virtual_time import now, run_virtually

from jettythunder.checksums import Algorithm
from jettythunder.contracts.envelope import Payload
from jettythunder.contracts.replies import Denied
from jettythunder.contracts.uploads import UploadChunkV2
from jettythunder.errors import BrokerUnavailable, LinkInvalid
from jettythunder.storage import StoredPart
from storage_gateway.errors import ChunkUploadFailed
from storage_gateway.uploads.dispatch import ChunkDispatcher
from storage_gateway.uploads.model import StoredChunk

from .fakes import ACCOUNT_ID, BUCKET, CHUNK_BYTES, CHUNK_SECONDS, CHUNK_URLS, FakeWorker, Gateway, md5_of

CONTENT = b"content"
STORED = StoredPart(1, md5_of(CONTENT))
AGAIN = Denied(code="storage_unavailable", detail="It failed.", status=503, retryable=True)
NEVER = Denied(code="chunk_gone", detail="It is gone.", status=404, retryable=False)


class Dispatch:
    """One chunk in the spool, and a worker that stores it."""

    def __init__(self, worker: type[FakeWorker] = FakeWorker) -> None:
        self.gateway = Gateway()
        self.worker = worker(self.gateway.state, self.gateway.storage, self.gateway.spool)
        self.upload_id = uuid4()
        self.dispatcher = ChunkDispatcher(
            self.gateway.uploads,
            self.worker,
            CHUNK_URLS,
            internal_url="http://gateway",
            timeout_seconds=CHUNK_SECONDS,
        )

    async def store(self) -> StoredPart:
        self.gateway.storage.multiparts["multipart"] = {}
        chunk = self.gateway.spool.add(
            self.upload_id, 1, account_id=ACCOUNT_ID, most_bytes=CHUNK_BYTES, algorithm=Algorithm.MD5
        )
        chunk.append([memoryview(CONTENT)])
        return await self.dispatcher.store(
            chunk,
            account_id=ACCOUNT_ID,
            upload_id=self.upload_id,
            s3_bucket=BUCKET,
            s3_key="key",
            s3_upload_id="multipart",
        )


def test_a_stored_chunk_is_a_part() -> None:
    dispatch = Dispatch()
    assert run_virtually(dispatch.store()) == STORED
    assert dispatch.gateway.storage.multiparts == {"multipart": {1: CONTENT}}


def test_a_chunk_is_sent_again_where_the_storage_failed() -> None:
    dispatch = Dispatch()
    dispatch.worker.denials = [AGAIN] * 5
    assert run_virtually(dispatch.store()) == STORED
    assert len(dispatch.worker.chunks_asked) == 6


def test_a_refusal_that_would_come_again_is_final() -> None:
    dispatch = Dispatch()
    dispatch.worker.denials = [NEVER]
    with pytest.raises(ChunkUploadFailed, match="chunk_gone"):
        run_virtually(dispatch.store())
    assert len(dispatch.worker.chunks_asked) == 1


@pytest.mark.parametrize("failure", [BrokerUnavailable(), AGAIN])
def test_it_is_tried_for_as_long_as_a_chunk_may_take(failure: BrokerUnavailable | Denied) -> None:
    dispatch = Dispatch()
    if isinstance(failure, Denied):
        dispatch.worker.denials = [failure] * 1000
    else:
        dispatch.worker.failure = failure

    async def run() -> float:
        with pytest.raises(ChunkUploadFailed if isinstance(failure, Denied) else BrokerUnavailable):
            await dispatch.store()
        return now()

    assert CHUNK_SECONDS - 5 < run_virtually(run()) <= CHUNK_SECONDS
    # With pauses that grow, so that many chunks do not add to what has failed.
    assert len(dispatch.worker.chunks_asked) < CHUNK_SECONDS / 4


class LosesAnswers(FakeWorker):
    """Stores the chunk; its answer does not arrive."""

    async def call(self, command: Payload, *, exchange: str, source: str, timeout_seconds: float) -> bytes:
        await super().call(command, exchange=exchange, source=source, timeout_seconds=timeout_seconds)
        raise BrokerUnavailable


def test_a_chunk_whose_answer_was_lost_is_not_sent_again() -> None:
    dispatch = Dispatch(LosesAnswers)
    assert run_virtually(dispatch.store()) == STORED
    assert dispatch.worker.chunks_asked == [1]


def test_a_record_of_other_bytes_is_no_answer() -> None:
    dispatch = Dispatch()
    other = md5_of(b"other")
    dispatch.gateway.state.chunks[dispatch.upload_id] = {1: StoredChunk(1, len(CONTENT), other, other)}
    dispatch.worker.failure = BrokerUnavailable()
    with pytest.raises(BrokerUnavailable):
        run_virtually(dispatch.store())


class Silent(FakeWorker):
    """Never answers."""

    async def call(self, command: Payload, *, exchange: str, source: str, timeout_seconds: float) -> bytes:
        self.timeout_seconds = timeout_seconds
        raise TimeoutError


def test_a_worker_that_never_answers_fails_the_chunk() -> None:
    dispatch = Dispatch(Silent)
    with pytest.raises(ChunkUploadFailed):
        run_virtually(dispatch.store())
    assert isinstance(dispatch.worker, Silent)
    assert dispatch.worker.timeout_seconds == CHUNK_SECONDS


class Keeps(FakeWorker):
    """Keeps the command."""

    async def call(self, command: Payload, *, exchange: str, source: str, timeout_seconds: float) -> bytes:
        assert isinstance(command, UploadChunkV2)
        self.command = command
        return await super().call(command, exchange=exchange, source=source, timeout_seconds=timeout_seconds)


def test_the_worker_is_told_where_the_chunk_is_and_may_read_it_and_no_other() -> None:
    dispatch = Dispatch(Keeps)
    run_virtually(dispatch.store())
    assert isinstance(dispatch.worker, Keeps)
    command = dispatch.worker.command
    assert (command.size_bytes, command.checksum) == (len(CONTENT), md5_of(CONTENT))
    url = command.source_url
    assert url.startswith(f"http://gateway/internal/chunks/{dispatch.upload_id}/1?")
    CHUNK_URLS.check_url(url, dispatch.upload_id, 1)
    with pytest.raises(LinkInvalid):
        CHUNK_URLS.check_url(url, dispatch.upload_id, 2)
