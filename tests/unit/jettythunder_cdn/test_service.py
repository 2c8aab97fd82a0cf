"""The service's files, and the calls of its manager."""

from __future__ import annotations

import configparser
import os
import plistlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.cdn import environment_in

from jettythunder_cdn.errors import DidNotStart
from jettythunder_cdn.service import UNIT, Launchd, Systemd, agent, kept, unit
from jettythunder_dev.layout import REPOSITORY

SYSTEMD_USER = REPOSITORY / "tests" / "support" / "systemd-user"

ENVIRONMENT = {
    "JETTYTHUNDER_CDN_DIR": '/my "files"/100%',
    "JETTYTHUNDER_API_KEY": "jt_secret",
    "JETTYTHUNDER_API_SECRET": "jts_secret",
    "JETTYSPEED_CDN_URL": "",
    "PATH": "/bin",
}


class Manager:
    """Notes the calls, and answers with a code."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.calls: list[str] = []

    def __call__(self, command: Sequence[str]) -> int:
        self.calls.append(" ".join(command))
        return self.code


def test_a_service_gets_no_secrets() -> None:
    assert kept(ENVIRONMENT) == {"JETTYTHUNDER_CDN_DIR": ENVIRONMENT["JETTYTHUNDER_CDN_DIR"]}


def test_the_unit_can_be_read(tmp_path: Path) -> None:
    text = unit("/my $HOME/it's/python3", kept(ENVIRONMENT))
    parser = configparser.RawConfigParser(strict=True)
    parser.read_string(text)
    assert parser["Service"]["ExecStart"] == '/usr/bin/env "/my $$HOME/it\'s/python3" -m jettythunder_cdn'
    assert parser["Service"]["Environment"] == r'"JETTYTHUNDER_CDN_DIR=/my \"files\"/100%%"'
    assert "secret" not in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs Debian's package systemd")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    file = tmp_path / UNIT
    file.write_text(unit("""/my $HOME/it's "100%"/python3""", kept(ENVIRONMENT)))
    found = subprocess.run(
        ["systemd-analyze", "--user", "verify", "--man=no", file],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stderr) == (0, "")


STEPS = """
set -e
jettythunder cdn install
pid=$(systemctl --user show --property MainPID --value jettythunder-cdn.service)
jettythunder cdn status
kill -KILL $pid
until [ "$(systemctl --user show --property NRestarts --value jettythunder-cdn.service)" = 1 ]; do :; done
until jettythunder cdn status; do :; done
jettythunder cdn stop
systemctl --user show --property Result --value jettythunder-cdn.service
jettythunder cdn start
systemctl --user is-enabled jettythunder-cdn.service
jettythunder cdn uninstall
systemctl --user show --property LoadState --value jettythunder-cdn.service
"""
_IS_POSSIBLE = (
    shutil.which("systemd") is not None
    and shutil.which("unshare") is not None
    and os.geteuid() == 0
    and not Path("/run/systemd/system").exists()
)


@pytest.mark.deep
@pytest.mark.skipif(not _IS_POSSIBLE, reason="needs root, the package systemd, and no running systemd")
def test_a_user_s_systemd_runs_it_and_restarts_it(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tmp_path / 'a "home" of 100%'
    home.mkdir()
    environment = environment_in(home, api_url="http://127.0.0.1:9", port=port)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    found = subprocess.run(
        [SYSTEMD_USER, "bash", "-c", STEPS],
        env={**environment, "HOME": str(home), "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    lines = found.stdout.splitlines()
    assert [line for line in lines if line in ("success", "enabled", "not-found")] == [
        "success",
        "enabled",
        "not-found",
    ]
    assert not list((home / ".config" / "systemd" / "user").glob("*.service"))


def test_the_agent_can_be_read(tmp_path: Path) -> None:
    found = plistlib.loads(agent("/usr/bin/python3", kept(ENVIRONMENT), tmp_path / "log"))
    assert found["ProgramArguments"] == ["/usr/bin/python3", "-m", "jettythunder_cdn"]
    assert found["EnvironmentVariables"] == kept(ENVIRONMENT)
    assert found["RunAtLoad"] is True


def test_systemd_is_told_and_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    manager = Manager()
    service = Systemd(tmp_path, manager)
    service.install(ENVIRONMENT)
    assert service.file == tmp_path / ".config/systemd/user/jettythunder-cdn.service"
    assert service.file.exists()
    assert manager.calls == [
        "systemctl --user daemon-reload",
        "systemctl --user enable --now jettythunder-cdn.service",
    ]
    service.uninstall()
    assert not service.file.exists()
    assert manager.calls[2:] == [
        "systemctl --user disable --now jettythunder-cdn.service",
        "systemctl --user daemon-reload",
    ]


def test_launchd_is_told_and_forgets(tmp_path: Path) -> None:
    manager = Manager()
    service = Launchd(tmp_path, manager)
    service.install(ENVIRONMENT)
    assert service.file.exists()
    assert manager.calls[-1].startswith("launchctl bootstrap gui/")
    service.uninstall()
    assert not service.file.exists()


def test_a_manager_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DidNotStart, match="jettythunder cdn start"):
        Systemd(tmp_path, Manager(1)).install({})
