"""What stops the service at start."""

import pytest

from jettythunder.settings import load
from provisioning.settings import Settings

ENVIRONMENT = {
    "DATABASE_URL": "postgresql://user@localhost/name",
    "RABBITMQ_URL": "amqp://localhost/",
    "JETTYTHUNDER_OPS_TOKEN": "a token of thirty-two characters.",
    "LYVE_ACCESS_KEY_ID": "an id",
    "LYVE_SECRET_ACCESS_KEY": "a secret",
    "JETTYTHUNDER_MASTER_KEY": "k" * 32,
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for name in ("JETTYTHUNDER_ENVIRONMENT", "JETTYTHUNDER_MASTER_KEYS"):
        monkeypatch.delenv(name, raising=False)


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


def test_the_single_key_is_the_oldest_of_the_ring_with_the_id_1(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(Settings).master_keys == {"1": "k" * 32}
    monkeypatch.setenv("JETTYTHUNDER_MASTER_KEYS", f"3:{'c' * 32}, 2:{'b' * 32}")
    assert list(load(Settings).master_keys.items()) == [("3", "c" * 32), ("2", "b" * 32), ("1", "k" * 32)]


def test_a_ring_needs_no_single_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JETTYTHUNDER_MASTER_KEY")
    monkeypatch.setenv("JETTYTHUNDER_MASTER_KEYS", f"2:{'b' * 32}")
    assert load(Settings).master_keys == {"2": "b" * 32}


@pytest.mark.parametrize(
    ("ring", "sentence"),
    [
        ("hunter2hunter2hunter2hunter2hunter2", "it must be id:key"),
        ("a b:hunter2hunter2hunter2hunter2hunter2", "it must be id:key"),
        (f"2:hunter2{'x' * 32},2:hunter2{'y' * 32}", "the id 2 occurs twice"),
        ("2:hunter2", "at least 32 characters"),
    ],
)
def test_a_ring_of_another_form_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, ring: str, sentence: str
) -> None:
    monkeypatch.setenv("JETTYTHUNDER_MASTER_KEYS", ring)
    with pytest.raises(SystemExit, match=sentence) as stopped:
        load(Settings)
    assert str(stopped.value).startswith("JETTYTHUNDER_MASTER_KEYS has a value that is not allowed")
    assert "hunter2" not in str(stopped.value)


def test_an_id_has_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JETTYTHUNDER_MASTER_KEYS", f"1:{'b' * 32}")
    with pytest.raises(SystemExit, match="JETTYTHUNDER_MASTER_KEYS has a key with the id 1 already"):
        load(Settings)
