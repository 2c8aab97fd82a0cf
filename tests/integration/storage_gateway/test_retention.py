"""Uploads that were closed long ago are forgotten; their assets, and uploads that are open, are not."""

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
