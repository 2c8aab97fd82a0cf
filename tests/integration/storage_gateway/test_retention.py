"""What is left of closed uploads and deleted assets: rows for a while, and objects never."""

from uuid import UUID

from tests.support.gateway import Backstage, Tenant
from tests.support.infrastructure import RunningService
from tests.support.waiting import eventually


async def age(backstage: Backstage, upload_id: str, *, days: int) -> None:
    """Have an upload changed last some days ago."""
    await backstage.pool.execute(
        "UPDATE uploads SET updated_at = now() - make_interval(days => $2) WHERE id = $1",
        UUID(upload_id),
        days,
    )


async def uploads_of(backstage: Backstage, tenant: Tenant) -> set[str]:
    rows = await backstage.pool.fetch("SELECT id FROM uploads WHERE account_id = $1", tenant.account_id)
    return {str(row["id"]) for row in rows}


async def test_closed_uploads_are_forgotten_after_their_time(
    tenant: Tenant, backstage: Backstage, impatient_gateway: RunningService
) -> None:
    old, recent = await tenant.store(b"old"), await tenant.store(b"recent")
    body = {"filename": "a.bin", "size_bytes": 10_000_000}
    opened = await tenant.call("POST", "/api/storage/uploads", json=body)
    session = opened.json()["upload"]["id"]
    await age(backstage, old["id"], days=31)
    await age(backstage, recent["id"], days=29)
    await age(backstage, session, days=31)

    async def forgotten() -> bool:
        return await uploads_of(backstage, tenant) == {recent["id"], session}

    await eventually(forgotten, timeout_seconds=30)
    assert (await tenant.get(f"/api/storage/assets/{old['id']}")).status_code == 200
    assert (await tenant.get(f"/api/storage/stream/{old['id']}")).content == b"old"


async def put(backstage: Backstage, key: str) -> None:
    """Make an object as a write does whose answer was lost and that is carried out late."""
    await backstage.storage.put(key, b"late", content_type="text/plain")


async def make_due(backstage: Backstage, key: str) -> None:
    """Let the time pass after which an object is deleted for the last time."""
    moved = await backstage.pool.execute(
        "UPDATE object_deletions SET not_before = now(), requested_at = now() - make_interval(days => 2)"
        " WHERE s3_key = $1 AND not_before > now()",
        key,
    )
    assert moved == "UPDATE 1"


async def removed(backstage: Backstage, tenant: Tenant, key: str) -> None:
    """Wait until housekeeping has deleted the object for the last time."""

    async def gone() -> bool:
        is_noted = await backstage.pool.fetchval("SELECT true FROM object_deletions WHERE s3_key = $1", key)
        return not is_noted and key not in await backstage.objects(tenant)

    await eventually(gone, timeout_seconds=30)


async def test_a_deleted_asset_s_object_that_appears_again_is_deleted_once_more(
    tenant: Tenant, backstage: Backstage, impatient_gateway: RunningService
) -> None:
    asset = await tenant.store()
    (key,) = await backstage.objects(tenant)
    assert (await tenant.call("DELETE", f"/api/storage/assets/{asset['id']}")).is_success
    assert await backstage.objects(tenant) == {}
    await put(backstage, key)
    await make_due(backstage, key)
    await removed(backstage, tenant, key)


async def test_an_object_that_appears_after_the_last_deletion_is_deleted_when_its_upload_is_given_up_again(
    tenant: Tenant, backstage: Backstage, impatient_gateway: RunningService
) -> None:
    opened = await tenant.call(
        "POST", "/api/storage/uploads", json={"filename": "a.bin", "size_bytes": 10_000_000}
    )
    session = f"/api/storage/uploads/{opened.json()['upload']['id']}"
    key = (await backstage.last_upload(tenant))["s3_key"]
    assert (await tenant.call("DELETE", session)).is_success
    await make_due(backstage, key)
    await removed(backstage, tenant, key)
    await put(backstage, key)
    assert (await tenant.call("DELETE", session)).is_success

    async def gone() -> bool:
        return await backstage.objects(tenant) == {}

    await eventually(gone, timeout_seconds=30)
