"""The desktop CDN's page in Chromium, in both themes: signing in, 200 MB over edges, pause, kill, resume.

`make desktop-pictures` runs it and leaves its pictures in docs/images.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.integration.jettyspeed.conftest import Account, Site, provisioned, running_site, site
from tests.support.cdn import CdnProcess, cdn_process

pytestmark = pytest.mark.browser

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
PICTURES = REPOSITORY / "docs" / "images"
MODULES = REPOSITORY / ".browser"
FILE_BYTES = 200_000_000
RATE = 5e6
__all__ = ["running_site", "site"]


@pytest.fixture(scope="module")
def browser() -> str:
    """Chromium, installed where it was missing."""
    subprocess.run([HERE / "install", MODULES], check=True)
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    assert found is not None
    return found


@pytest.fixture
async def account(site: Site, tmp_path: Path) -> Account:
    """An account whose tier has JettySpeed."""
    return await provisioned(site, tmp_path, "pro")


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def test_the_page_in_a_browser(
    browser: str, site: Site, account: Account, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    site.set_rate(RATE)
    file = account.file(FILE_BYTES, "mountains-4k.mp4")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "JETTYTHUNDER_CONFIG": str(tmp_path / "login.toml"),
        "JETTYTHUNDER_STATE_DIR": str(tmp_path / "state"),
        "JETTYTHUNDER_CDN_DIR": str(tmp_path / "cache"),
        "JETTYTHUNDER_CDN_MIN_FREE_MB": "0",
        "JETTYTHUNDER_CDN_MAX_MB": "1000",
        "JETTYSPEED_CDN_URL": f"http://localhost:{port}",
    }
    options = {
        "url": f"http://localhost:{port}/",
        "api_url": site.services.base_url,
        "api_key": account.environment["JETTYTHUNDER_API_KEY"],
        "api_secret": account.environment["JETTYTHUNDER_API_SECRET"],
        "file": str(file),
        "pictures": str(PICTURES),
        "browser": browser,
        "modules": str(MODULES),
    }
    async with cdn_process(environment, http) as first:
        script = await asyncio.create_subprocess_exec(
            "node",
            HERE / "desktop.mjs",
            json.dumps(options),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "NODE_NO_WARNINGS": "1"},
        )
        await _line(script, "restart")
        await first.kill()
        async with cdn_process(environment, http) as second:
            _go_on(script)
            await _line(script, "read")
            await _read_all(http, second)
            _go_on(script)
            async with asyncio.timeout(120):
                out, _ = await script.communicate()
    assert script.returncode == 0
    report: dict[str, Any] = json.loads(out)
    print(json.dumps(report, indent=2))
    assert report["findings"] == []
    assert report["errors"] == []
    assert report["lanes"] == 3
    assert report["focused"] == "Resume"
    assert report["signedIn"]


def _uploaded(cdn: CdnProcess) -> list[str]:
    """The assets that the page's uploads became."""
    folder = Path(cdn.environment["JETTYTHUNDER_STATE_DIR"]) / "cdn" / "uploads"
    return [json.loads(file.read_text())["asset_id"] for file in sorted(folder.glob("*/upload.json"))]


async def _read_all(http: aiohttp.ClientSession, cdn: CdnProcess) -> None:
    """Read everything that was uploaded, through the desktop CDN."""
    headers = {"Authorization": f"Bearer {cdn.token}"}
    for asset_id in _uploaded(cdn):
        async with http.get(f"{cdn.url}/v1/assets/{asset_id}", headers=headers) as response:
            assert response.status == 200
            async for _ in response.content.iter_chunked(1024 * 1024):
                pass


async def _line(script: asyncio.subprocess.Process, expected: str) -> None:
    assert script.stdout is not None
    async with asyncio.timeout(240):
        assert (await script.stdout.readline()).decode().strip() == expected


def _go_on(script: asyncio.subprocess.Process) -> None:
    assert script.stdin is not None
    script.stdin.write(b"go on\n")
