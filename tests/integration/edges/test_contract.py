"""The contract of edges: chunks that clients send are stored, refused, sent again.

It holds for every kind: for chunk-workers, and, with `-m worker`, for the Cloudflare Worker in workerd.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from tests.support.infrastructure import RunningService
from tests.support.uploads import CHUNK_BYTES, Upload, Uploads, md5_of, random_chunk
from tests.support.waiting import eventually

from jettythunder.signatures import SigningKeys, new_signing_key

from .conftest import CHUNKS_PER_ACCOUNT, Client, HalfSent, Reachable, content_md5


@pytest.fixture(scope="module", params=["python", pytest.param("worker", marks=pytest.mark.worker)])
def edges(request: pytest.FixtureRequest, edges: list[RunningService]) -> list[Reachable]:
    """Two edges, `near` of the kind that is tested, and `far` of Python."""
    near: Reachable = edges[0] if request.param == "python" else request.getfixturevalue("worker_edge")
    return [near, edges[1]]


async def test_a_chunk_is_answered_with_what_is_stored(
    client: Client, edge: Reachable, uploads: Uploads
) -> None:
    upload, data = await uploads.begin("session"), random_chunk()
    answer = await client.put(edge, upload, data, number=3)
    assert answer.status == 200
    (row,) = await uploads.rows(upload)
    assert answer.body == {
        "number": 3,
        "size_bytes": CHUNK_BYTES,
        "md5": md5_of(data),
        "etag": row["etag"],
        "edge": "near",
    }


async def test_any_edge_takes_any_chunk(client: Client, edges: list[Reachable], uploads: Uploads) -> None:
    upload, chunks = await uploads.begin("session"), [random_chunk() for _ in range(6)]
    answers = await asyncio.gather(
        *(client.put(edges[number % 2], upload, data, number=number) for number, data in enumerate(chunks, 1))
    )
    assert [answer.body["edge"] for answer in answers] == ["far", "near"] * 3
    assert await uploads.object_of(upload) == b"".join(chunks)


async def test_a_chunk_sent_again_is_answered_from_the_record(
    client: Client, edges: list[Reachable], uploads: Uploads
) -> None:
    upload, data = await uploads.begin("session"), random_chunk()
    first = await client.put(edges[0], upload, data)
    again = await client.put(edges[1], upload, data)
    assert (again.status, again.body) == (200, first.body)


async def test_a_chunk_sent_over_two_edges_at_once_is_stored_once(
    client: Client, edges: list[Reachable], uploads: Uploads
) -> None:
    upload, data = await uploads.begin("session"), random_chunk()
    answers = await asyncio.gather(*(client.put(edge, upload, data) for edge in edges))
    assert [answer.status for answer in answers] == [200, 200]
    assert await uploads.object_of(upload) == data


async def test_other_bytes_replace_the_chunk_while_the_upload_is_open(
    client: Client, edge: Reachable, uploads: Uploads
) -> None:
    upload, data = await uploads.begin("session"), random_chunk()
    await client.put(edge, upload, random_chunk())
    assert (await client.put(edge, upload, data)).status == 200
    assert await uploads.object_of(upload) == data


async def test_a_chunk_of_unannounced_length_is_taken(
    client: Client, edge: Reachable, uploads: Uploads
) -> None:
    upload, data = await uploads.begin("session"), random_chunk()
    answer = await client.put(
        edge,
        upload,
        in_blocks(data),
        token=client.token(upload, len(data)),
        headers={"Content-MD5": content_md5(data)},
    )
    assert answer.status == 200
    assert await uploads.object_of(upload) == data


async def in_blocks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 1 << 16):
        yield data[start : start + (1 << 16)]


@pytest.mark.parametrize(
    "token", ["nonsense", "bm9uc2Vuc2U.bm9uc2Vuc2U", f"W10.{'A' * 43}", "x" * 5000, ".", "\xe4.\xf6"]
)
async def test_a_token_that_is_none_is_refused(
    client: Client, edge: Reachable, uploads: Uploads, token: str
) -> None:
    upload = await uploads.begin("session")
    answer = await client.put(edge, upload, b"bytes", token=token)
    assert answer.problem == (403, "link_invalid")


async def test_a_chunk_without_token_is_refused(client: Client, edge: Reachable, uploads: Uploads) -> None:
    upload = await uploads.begin("session")
    answer = await client.put(edge, upload, b"bytes", headers={"Authorization": None})
    assert answer.problem == (401, "unauthenticated")


async def test_a_token_that_somebody_else_signed_is_refused(
    client: Client, edge: Reachable, uploads: Uploads
) -> None:
    upload = await uploads.begin("session")
    stranger = Client(client.http, SigningKeys.parse(new_signing_key("1")))
    answer = await client.put(edge, upload, b"bytes", token=stranger.token(upload, 5))
    assert answer.problem == (403, "link_invalid")


async def test_a_token_that_was_changed_is_refused(client: Client, edge: Reachable, uploads: Uploads) -> None:
    upload = await uploads.begin("session")
    payload, _, _ = client.token(upload, 5, number=2).partition(".")
    _, _, signature = client.token(upload, 5, number=1).partition(".")
    answer = await client.put(edge, upload, b"bytes", number=2, token=f"{payload}.{signature}")
    assert answer.problem == (403, "link_invalid")


async def test_an_expired_token_is_refused(client: Client, edge: Reachable, uploads: Uploads) -> None:
    upload = await uploads.begin("session")
    token = client.token(upload, 5, expires_at=int(time.time()) - 1)
    answer = await client.put(edge, upload, b"bytes", token=token)
    assert answer.problem == (403, "link_expired")


async def test_a_token_for_another_chunk_is_refused(
    client: Client, edge: Reachable, uploads: Uploads
) -> None:
    upload = await uploads.begin("session")
    answer = await client.put(edge, upload, b"bytes", number=2, token=client.token(upload, 5, number=1))
    assert answer.problem == (403, "link_invalid")


async def test_a_token_for_another_size_is_refused(client: Client, edge: Reachable, uploads: Uploads) -> None:
    upload = await uploads.begin("session")
    answer = await client.put(edge, upload, b"bytes", token=client.token(upload, 6))
    assert answer.problem == (403, "link_invalid")


async def test_a_token_for_another_account_s_upload_is_refused(
    client: Client, edge: Reachable, uploads: Uploads
) -> None:
    upload, theirs = await uploads.begin("session"), await uploads.begin("session")
    answer = await client.put(edge, theirs, b"bytes", token=client.token(upload, 5))
    assert answer.problem == (403, "link_invalid")


@pytest.mark.parametrize("other", [{"s3_key": "accounts/another/key"}, {"s3_upload_id": "another"}])
async def test_a_token_for_another_object_stores_nothing(
    client: Client, edge: Reachable, uploads: Uploads, other: dict[str, Any]
) -> None:
    upload, data = await uploads.begin("session"), random_chunk()
    answer = await client.put(edge, upload, data, token=client.token(upload, len(data), **other))
    assert answer.problem == (403, "link_invalid")
    assert await uploads.rows(upload) == []


async def test_an_upload_is_not_found_under_another_account(
    client: Client, edge: Reachable, uploads: Uploads
) -> None:
    upload = await uploads.begin("session")
    answer = await client.put(edge, upload, b"bytes", token=client.token(upload, 5, account_id=uuid4()))
    assert answer.problem == (404, "upload_not_found")


async def test_a_flipped_bit_is_refused_and_not_recorded(
    client: Client, edge: Reachable, uploads: Uploads
) -> None:
    upload, data = await uploads.begin("session"), random_chunk()
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    answer = await client.put(edge, upload, flipped, headers={"Content-MD5": content_md5(data)})
    assert answer.problem == (422, "checksum_mismatch")
    assert answer.body["retryable"] is True
    assert await uploads.rows(upload) == []
    assert await uploads.storage.list_parts(upload.s3_key, upload.s3_upload_id) == []


@pytest.mark.parametrize("difference", [-1, 1])
async def test_a_body_of_another_size_is_refused_and_not_recorded(
    client: Client, edge: Reachable, uploads: Uploads, difference: int
) -> None:
    upload, data = await uploads.begin("session"), random_chunk()
    answer = await client.put(
        edge,
        upload,
        in_blocks(data),
        token=client.token(upload, len(data) + difference),
        headers={"Content-MD5": content_md5(data)},
    )
    assert answer.problem == (400, "truncated_body")
    assert await uploads.rows(upload) == []


@pytest.mark.parametrize(
    ("header", "problem"),
    [(None, (422, "invalid_field")), ("nonsense", (422, "invalid_field")), ("QUJD", (422, "invalid_field"))],
)
async def test_the_checksum_must_be_announced(
    client: Client, edge: Reachable, uploads: Uploads, header: str | None, problem: tuple[int, str]
) -> None:
    upload = await uploads.begin("session")
    answer = await client.put(edge, upload, b"bytes", headers={"Content-MD5": header})
    assert answer.problem == problem


@pytest.mark.parametrize("status", ["completing", "completed", "aborted", "expired"])
async def test_a_closed_upload_takes_no_chunk(
    client: Client, edge: Reachable, uploads: Uploads, status: str
) -> None:
    upload = await uploads.begin("session")
    await uploads.set_status(upload, status)
    answer = await client.put(edge, upload, random_chunk())
    assert answer.problem == (409, "upload_not_open")


async def test_a_straggler_s_twin_is_fine_after_completion(
    client: Client, edge: Reachable, uploads: Uploads
) -> None:
    upload, data = await uploads.begin("session"), random_chunk()
    first = await client.put(edge, upload, data)
    await uploads.set_status(upload, "completed")
    assert (await client.put(edge, upload, data)).body == first.body


async def test_a_stored_chunk_of_an_aborted_upload_is_refused_when_sent_again(
    client: Client, edge: Reachable, uploads: Uploads
) -> None:
    upload, data = await uploads.begin("session"), random_chunk()
    await client.put(edge, upload, data)
    await uploads.set_status(upload, "aborted")
    assert (await client.put(edge, upload, data)).problem == (409, "upload_not_open")


async def test_a_suspended_account_s_chunk_is_refused(
    client: Client, edge: Reachable, uploads: Uploads
) -> None:
    upload = await uploads.begin("session")
    await uploads.change_account(upload, "suspended_at = now()")
    assert (await client.put(edge, upload, random_chunk())).problem == (409, "upload_not_open")
    assert await uploads.rows(upload) == []


async def test_a_revoked_token_is_refused(client: Client, edge: Reachable, uploads: Uploads) -> None:
    upload, data = await uploads.begin("session"), random_chunk()
    token = client.token(upload, len(data))
    assert (await client.put(edge, upload, data, token=token)).status == 200
    await uploads.change_account(upload, "epoch = epoch + 1")
    assert (await client.put(edge, upload, data, token=token)).problem == (403, "link_revoked")
    renewed = client.token(upload, len(data), epoch=1)
    assert (await client.put(edge, upload, random_chunk(), token=renewed)).status == 200


@pytest.mark.parametrize("number", [0, 10_001])
async def test_a_number_no_part_can_have_is_refused(
    client: Client, edge: Reachable, uploads: Uploads, number: int
) -> None:
    upload = await uploads.begin("session")
    answer = await client.put(edge, upload, b"bytes", number=number)
    assert answer.problem == (422, "invalid_field")


@contextlib.asynccontextmanager
async def all_places_taken(client: Client, edge: Reachable, upload: Upload) -> AsyncIterator[list[HalfSent]]:
    """As many chunks under way as the account may have, so that the next one is refused."""
    async with contextlib.AsyncExitStack() as stack:

        async def begun(number: int) -> HalfSent:
            return await stack.enter_async_context(
                client.half_sent(edge, upload, random_chunk(), number=number)
            )

        sending = [await begun(number) for number in range(1, CHUNKS_PER_ACCOUNT + 1)]

        async def refused() -> bool:
            answer = await client.put(edge, upload, random_chunk(), number=CHUNKS_PER_ACCOUNT + 1)
            if answer.status == 200:
                # It may have taken the place of one of the others.
                for index, chunk in enumerate(sending):
                    if chunk.was_refused:
                        sending[index] = await begun(index + 1)
                return False
            assert answer.problem == (503, "edge_busy")
            assert int(answer.headers["Retry-After"]) >= 1
            return True

        await eventually(refused)
        yield sending


async def test_an_account_has_a_bounded_number_of_chunks_in_flight(
    client: Client, edge: Reachable, uploads: Uploads
) -> None:
    upload, other = await uploads.begin("session"), await uploads.begin("session")
    async with all_places_taken(client, edge, upload) as sending:
        assert (await client.put(edge, other, random_chunk())).status == 200
        assert await sending[0].finish() == 200
        assert (await client.put(edge, upload, random_chunk(), number=CHUNKS_PER_ACCOUNT + 1)).status == 200
        for rest in sending[1:]:
            assert await rest.finish() == 200


async def test_chunks_whose_client_goes_away_are_no_longer_in_flight(
    client: Client, edge: Reachable, uploads: Uploads
) -> None:
    upload = await uploads.begin("session")
    async with all_places_taken(client, edge, upload):
        pass

    async def taken() -> bool:
        answer = await client.put(edge, upload, random_chunk(), number=CHUNKS_PER_ACCOUNT + 1)
        return answer.status == 200

    await eventually(taken)


async def test_a_ping_needs_no_token(client: Client, edge: Reachable) -> None:
    async with client.http.get(f"{edge.url}/edge/ping") as answer:
        assert (answer.status, await answer.read()) == (204, b"")


async def test_a_browser_may_send_chunks(client: Client, edge: Reachable, uploads: Uploads) -> None:
    upload = await uploads.begin("session")
    asked = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization,content-md5,content-type",
    }
    async with client.http.options(f"{edge.url}/edge/uploads/{upload.id}/chunks/1", headers=asked) as answer:
        assert answer.status == 200
        assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def test_a_browser_may_read_refusals(client: Client, edge: Reachable, uploads: Uploads) -> None:
    upload = await uploads.begin("session")
    answer = await client.put(
        edge, upload, b"bytes", token="nonsense", headers={"Origin": "https://app.example"}
    )
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
