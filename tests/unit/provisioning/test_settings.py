"""What stops the service at start."""

import pytest

from jettythunder.settings import load
from provisioning.settings import Settings

ENVIRONMENT = {
    "DATABASE_URL": "postgresql://user@localhost/name",
    "RABBITMQ_URL": "amqp://localhost/",
    "JETTYTHUNDER_OPS_TOKEN": "a token",
    "LYVE_ACCESS_KEY_ID": "an id",
    "LYVE_SECRET_ACCESS_KEY": "a secret",
    "JETTYTHUNDER_MASTER_KEY": "k" * 32,
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("JETTYTHUNDER_ENVIRONMENT", raising=False)


def test_credentials_are_live_ones_by_default() -> None:
    assert load(Settings).jettythunder_environment == "live"


def test_a_missing_master_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JETTYTHUNDER_MASTER_KEY")
    with pytest.raises(SystemExit, match="JETTYTHUNDER_MASTER_KEY is not set"):
        load(Settings)


def test_a_short_master_key_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JETTYTHUNDER_MASTER_KEY", "short" * 6)
    with pytest.raises(SystemExit, match="at least 32 characters") as stopped:
        load(Settings)
    assert "shortshort" not in str(stopped.value)


def test_an_unknown_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JETTYTHUNDER_ENVIRONMENT", "staging")
    with pytest.raises(SystemExit, match="JETTYTHUNDER_ENVIRONMENT"):
        load(Settings)
