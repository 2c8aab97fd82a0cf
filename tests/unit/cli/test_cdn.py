"""`jettythunder cdn`, from starting to stopping."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.support.cdn import environment_in
from tests.support.commands import output_of


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return environment_in(tmp_path, api_url="http://127.0.0.1:9", port=port)


async def command(environment: dict[str, str], *arguments: str, expected: int = 0) -> dict[str, Any]:
    code, out, complaint = await output_of(environment, "cdn", *arguments, "--json")
    assert code == expected, out + complaint
    found: dict[str, Any] = json.loads(out)
    return found


async def test_it_is_started_asked_and_stopped(environment: dict[str, str]) -> None:
    assert (await command(environment, "status", expected=3))["running"] is False
    assert (await command(environment, "clear", "--yes"))["freed_bytes"] == 0
    started = await command(environment, "start")
    try:
        assert started["url"] == environment["JETTYSPEED_CDN_URL"]
        assert (await command(environment, "start"))["pid"] == started["pid"]
        status = await command(environment, "status")
        assert (status["running"], status["stats"]["kept"]["contents"]) == (True, 0)
        assert "#code=" in (await command(environment, "open"))["url"]
        assert (await command(environment, "pin", "unknown", expected=1))["code"] == "upstream_unavailable"
        code, out, _ = await output_of(environment, "cdn", "status")
        assert (code, "Saved 0 B" in out) == (0, True)
    finally:
        stopped = await command(environment, "stop")
    assert stopped["was_running"] is True
    assert (await command(environment, "stop"))["was_running"] is False
    assert (await command(environment, "unpin", "unknown", expected=1))["code"] == "cdn_not_running"


async def test_a_port_that_is_taken_is_said(environment: dict[str, str]) -> None:
    port = int(environment["JETTYSPEED_CDN_URL"].rpartition(":")[2])
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        problem = await command(environment, "start", expected=1)
    assert problem["code"] == "cdn_did_not_start"
    assert f"port {port}" in problem["detail"]
