"""The five calls of the contract, typed into a shell with curl, psql and aws-cli."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.infrastructure import Services
from tests.support.waiting import eventually_sync

PROVISION = r"""
curl -sS -X POST http://localhost:3000/api/agentcache/provision \
  -H "Authorization: Bearer shared_secret_here_123456789" -H "Content-Type: application/json" \
  -d '{"agentcache_user_id":"test-123","agentcache_email":"test@example.com","tier":"pro"}'
"""
UPLOAD = r"""
curl -sS -X POST http://localhost:3000/api/storage/upload \
  -H "Authorization: Bearer jt_test_xxxxxxxx" -H "X-API-Secret: jts_xxxxxxxx" -F "file=@test.jpg"
"""
QUOTA = r"""
curl -sS -X GET http://localhost:3000/api/agentcache/quota \
  -H "Authorization: Bearer jt_test_xxxxxxxx" -H "X-API-Secret: jts_xxxxxxxx"
"""
TIERS = 'psql $DATABASE_URL -c "SELECT * FROM tier_configs;"'
LISTING = "aws s3 ls s3://agentcache-assets --endpoint-url=$LYVE_ENDPOINT"

IMAGE = os.urandom(4321)

Shell = Callable[[str], str]


@pytest.fixture(scope="module")
def shell(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A shell with the stack's environment, in a folder with the image."""
    folder = tmp_path_factory.mktemp("shell")
    (folder / "test.jpg").write_bytes(IMAGE)
    given = services.environment
    environment = {
        **given,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "AWS_ACCESS_KEY_ID": given["LYVE_ACCESS_KEY_ID"],
        "AWS_SECRET_ACCESS_KEY": given["LYVE_SECRET_ACCESS_KEY"],
        "AWS_DEFAULT_REGION": given["LYVE_REGION"],
    }

    def run(command: str) -> str:
        here = command.replace("http://localhost:3000", services.base_url)
        here = here.replace("shared_secret_here_123456789", given["AGENTCACHE_WEBHOOK_SECRET"])
        done = subprocess.run(
            ["bash", "-c", here], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def account(shell: Shell) -> dict[str, Any]:
    data = json.loads(shell(PROVISION))
    found: dict[str, Any] = data["account"]
    return found


@pytest.fixture(scope="module")
def tenant_shell(shell: Shell, account: dict[str, Any]) -> Shell:
    """The shell, with the account's own pair in the place of the example's."""

    def run(command: str) -> str:
        own = command.replace("jt_test_xxxxxxxx", account["api_key"])
        return shell(own.replace("jts_xxxxxxxx", account["api_secret"]))

    return run


def test_provision(shell: Shell, account: dict[str, Any]) -> None:
    expected = {
        "agentcache_user_id": "test-123",
        "tier": "pro",
        "storage_quota_gb": 20,
        "bandwidth_quota_gb": 50,
        "jetty_speed_enabled": True,
        "s3_bucket": "agentcache-assets",
        "s3_prefix": f"accounts/{account['id']}/",
        "status": "active",
    }
    assert expected.items() <= account.items()
    assert json.loads(shell(PROVISION)) == {"success": True, "account": account}


def test_upload(tenant_shell: Shell) -> None:
    answer = json.loads(tenant_shell(UPLOAD))
    assert answer["success"] is True
    assert (answer["asset"]["filename"], answer["asset"]["size_bytes"]) == ("test.jpg", len(IMAGE))


def test_quota(tenant_shell: Shell) -> None:
    tenant_shell(UPLOAD)

    def used() -> bool:
        storage = json.loads(tenant_shell(QUOTA))["storage"]
        return (storage["used_bytes"], storage["reserved_bytes"]) == (len(IMAGE), 0)

    eventually_sync(used, timeout_seconds=60, poll_seconds=0.5)


def test_tiers(shell: Shell) -> None:
    assert "(5 rows)" in shell(TIERS)


def test_listing(tenant_shell: Shell) -> None:
    tenant_shell(UPLOAD)
    assert "PRE accounts/" in tenant_shell(LISTING)
