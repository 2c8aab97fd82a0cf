"""The master key is replaced as docs/operations.md says, with the commands of operators."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.support.commands import output_of
from tests.support.infrastructure import Infrastructure, RunningService, ServiceStarter

NEW_RING = {"JETTYTHUNDER_MASTER_KEYS": f"2:{'a new master key ' * 3}"}
WITHOUT_THE_OLD_KEY = {**NEW_RING, "JETTYTHUNDER_MASTER_KEY": None}


class Site:
    """A gateway, and provisioning with a ring that is changed by starting it anew."""

    def __init__(self, infrastructure: Infrastructure, starter: ServiceStarter) -> None:
        self._environment = infrastructure.environment
        self._starter = starter
        # First, because it makes the bucket.
        self._provisioning = starter("provisioning")
        self._gateway = starter("storage-gateway")
        self._http = httpx.AsyncClient(base_url=self._gateway.url, timeout=30)

    async def close(self) -> None:
        await self._http.aclose()

    def restart(self, environment: Mapping[str, str | None]) -> None:
        """Start provisioning with another ring."""
        self._provisioning.terminate()
        self._provisioning = self._starter("provisioning", environment)

    def refusal(self, environment: Mapping[str, str | None]) -> str:
        """What provisioning says when it refuses to start with a ring."""
        refused: RunningService = self._starter("provisioning", environment, wait=False)
        assert refused.wait_for_end() != 0
        return refused.log()

    async def account(self, call: str, user: str, **fields: Any) -> dict[str, str]:
        """A user's account as AgentCache's calls answer it."""
        answer = await self._http.post(
            f"/api/agentcache/{call}",
            json={"agentcache_user_id": user, **fields},
            headers={"Authorization": f"Bearer {self._environment['AGENTCACHE_WEBHOOK_SECRET']}"},
        )
        assert answer.is_success, answer.text
        account: dict[str, str] = answer.json()["account"]
        return account

    async def provision(self, user: str) -> dict[str, str]:
        return await self.account("provision", user, agentcache_email="test@example.com", tier="pro")

    async def accepts(self, account: dict[str, str]) -> bool:
        """Whether the gateway accepts a pair."""
        pair = {"Authorization": f"Bearer {account['api_key']}", "X-API-Secret": account["api_secret"]}
        answer = await self._http.get("/api/agentcache/quota", headers=pair)
        assert answer.status_code in (200, 401), answer.text
        return answer.status_code == 200

    async def keys(self, *arguments: str, url: str | None = None) -> Any:
        """What `jettythunder keys` answers to a program."""
        environment = {
            "JETTYTHUNDER_PROVISIONING_URL": url or self._provisioning.url,
            "JETTYTHUNDER_OPS_TOKEN": self._environment["JETTYTHUNDER_OPS_TOKEN"],
            "DATABASE_URL": self._environment["DATABASE_URL"],
        }
        code, printed, complaint = await output_of(environment, "keys", *arguments, "--json")
        assert code == 0, printed + complaint
        return json.loads(printed)

    async def counts(self, **how: Any) -> dict[str, tuple[int, int]]:
        """Each key's accounts, and those of them in a grace time."""
        return {key["id"]: (key["accounts"], key["in_grace"]) for key in await self.keys("list", **how)}


@pytest_asyncio.fixture
async def site(own_infrastructure: Infrastructure, tmp_path: Path) -> AsyncIterator[Site]:
    starter = ServiceStarter(own_infrastructure, tmp_path)
    try:
        opened = Site(own_infrastructure, starter)
        yield opened
        await opened.close()
    finally:
        starter.end()


async def test_the_master_key_is_rotated_and_the_old_one_retired(site: Site) -> None:
    old = {user: await site.provision(user) for user in ("anna", "bert", "carl")}
    rotated = await site.account("rotate", "carl", grace_seconds=3600)
    assert await site.counts() == {"1": (3, 1)}

    assert "those with the ids 1: add them" in site.refusal(WITHOUT_THE_OLD_KEY)
    wrong = {"JETTYTHUNDER_MASTER_KEY": "another key " * 4}
    assert "The master key with the id 1 is not the key" in site.refusal(wrong)

    site.restart(NEW_RING)
    assert await site.provision("anna") == old["anna"]
    new_user = await site.provision("dora")
    assert await site.counts() == {"1": (3, 1), "2": (1, 0)}
    assert (await site.keys("rotate", "--dry-run"))["movable"] == 2
    first = await site.keys("rotate", "--yes", "--limit", "1")
    rest = await site.keys("rotate", "--yes")
    assert (first["moved"], rest["moved"], rest["left"], rest["left_in_grace"]) == (1, 1, 1, 1)

    for user in ("anna", "bert"):
        new = await site.provision(user)
        assert new["api_secret"] != old[user]["api_secret"]
        assert [await site.accepts(pair) for pair in (old[user], new)] == [True, True]
    assert [await site.accepts(pair) for pair in (old["carl"], rotated, new_user)] == [True] * 3

    # As after a leak: nothing that the old key gave stays valid.
    assert (await site.keys("rotate", "--yes", "--grace-seconds", "0"))["left"] == 0
    assert await site.counts() == {"1": (0, 0), "2": (4, 2)}
    carl = await site.provision("carl")
    assert [await site.accepts(pair) for pair in (old["carl"], rotated, carl)] == [False, False, True]

    # Where provisioning can't be reached, keys are counted on the database.
    assert await site.counts(url="http://127.0.0.1:9") == await site.counts()

    site.restart(WITHOUT_THE_OLD_KEY)
    assert await site.provision("carl") == carl
    assert "The master key with the id 2 is not the key" in site.refusal(
        {**WITHOUT_THE_OLD_KEY, "JETTYTHUNDER_MASTER_KEYS": f"2:{'a wrong master key ' * 3}"}
    )


@pytest.mark.parametrize(("kind", "names"), [("master", ["key"]), ("signing", ["key", "public_key"])])
async def test_new_keys_are_printed_with_an_id(kind: str, names: list[str]) -> None:
    code, printed, _ = await output_of({}, "keys", "new", kind, "--json")
    made = json.loads(printed)
    assert (code, list(made)) == (0, names)
    assert len({value.partition(":")[0] for value in made.values()}) == 1
    assert all(len(value.partition(":")[2]) == 43 for value in made.values())
