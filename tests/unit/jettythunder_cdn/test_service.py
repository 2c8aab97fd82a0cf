"""The service's files, and the calls of its manager."""

from __future__ import annotations

import configparser
import plistlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from jettythunder_cdn.errors import DidNotStart
from jettythunder_cdn.service import Launchd, Systemd, agent, kept, unit

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
    text = unit("/usr/bin/python3", kept(ENVIRONMENT))
    parser = configparser.RawConfigParser(strict=True)
    parser.read_string(text)
    assert parser["Service"]["ExecStart"] == '"/usr/bin/python3" -m jettythunder_cdn'
    assert parser["Service"]["Environment"] == r'"JETTYTHUNDER_CDN_DIR=/my \"files\"/100%%"'
    assert "secret" not in text


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
