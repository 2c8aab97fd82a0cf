"""`docker compose up --wait`, the five calls of the contract, and a large upload over eight workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.containers.composed import Composed, composed
from tests.e2e.test_five_calls import IMAGE, LISTING, PROVISION, QUOTA, UPLOAD
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

LARGE_BYTES = 1_000_000_000
WORKERS = 8


@pytest.fixture(scope="module")
def project() -> Iterator[Composed]:
    with composed() as made:
        print(f"\nup --wait: {made.up():.1f} s")
        yield made


def shell(project: Composed, folder: Path, command: str) -> str:
    """Run one of the contract's calls on the project; what it printed."""
    here = command.replace("http://localhost:3000", project.base_url)
    here = here.replace("shared_secret_here_123456789", project.environment["AGENTCACHE_WEBHOOK_SECRET"])
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**project.environment, "PATH": tools, "HOME": str(folder)}
    done = subprocess.run(
        ["bash", "-c", here], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_five_calls_and_a_large_upload_over_eight_workers(project: Composed, tmp_path: Path) -> None:
    (tmp_path / "test.jpg").write_bytes(IMAGE)
    pro = json.loads(shell(project, tmp_path, PROVISION))["account"]
    # The tier of the contract's example takes no file of a gigabyte.
    larger = PROVISION.replace("test-123", "test-124").replace('"pro"', '"enterprise"')
    enterprise = json.loads(shell(project, tmp_path, larger))["account"]

    def as_tenant(command: str, account: dict[str, str] = pro) -> str:
        own = command.replace("jt_test_xxxxxxxx", account["api_key"])
        return shell(project, tmp_path, own.replace("jts_xxxxxxxx", account["api_secret"]))

    asset = json.loads(as_tenant(UPLOAD))["asset"]
    assert asset["size_bytes"] == len(IMAGE)

    def is_counted() -> bool:
        storage = json.loads(as_tenant(QUOTA))["storage"]
        return (storage["used_bytes"], storage["reserved_bytes"]) == (len(IMAGE), 0)

    eventually_sync(is_counted, timeout_seconds=60, poll_seconds=0.5)
    psql = ("psql", "-U", "postgres", "jettythunder", "-c", "SELECT * FROM tier_configs;")
    assert "(5 rows)" in project.compose("exec", "-T", "postgres", *psql)
    assert "PRE accounts/" in as_tenant(LISTING)
    print("the five calls: provision, upload, quota, tiers, listing")

    scaled = project.up("--no-recreate", "--scale", f"chunk-worker={WORKERS}")
    print(f"--scale chunk-worker={WORKERS}: {scaled:.1f} s")
    with (tmp_path / "test.jpg").open("wb") as large:
        for _ in range(LARGE_BYTES // 10_000_000):
            large.write(os.urandom(10_000_000))
    began = time.monotonic()
    stored = json.loads(as_tenant(UPLOAD, enterprise))["asset"]
    print(f"1 GB in {time.monotonic() - began:.1f} s")
    assert stored["size_bytes"] == LARGE_BYTES
    with psycopg.connect(project.environment["DATABASE_URL"]) as connection:
        by_worker = connection.execute(
            "SELECT edge, count(*), sum(size_bytes)::bigint FROM upload_chunks GROUP BY 1 ORDER BY 1"
        ).fetchall()
    for worker, chunks, size_bytes in by_worker:
        print(f"  {worker}: {chunks} chunks, {size_bytes / 1e6:.0f} MB")
    assert len(by_worker) == WORKERS
    assert sum(size_bytes for _, _, size_bytes in by_worker) == LARGE_BYTES
    began = time.monotonic()
    project.compose("down", "--volumes")
    print(f"down: {time.monotonic() - began:.1f} s")
