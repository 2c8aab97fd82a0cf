"""What stops the usage-meter at start."""

import pytest

from jettythunder.settings import load
from usage_meter.settings import Settings

ENVIRONMENT = {
    "DATABASE_URL": "postgresql://user@localhost/name",
    "RABBITMQ_URL": "amqp://localhost/",
    "JETTYTHUNDER_OPS_TOKEN": "a token of thirty-two characters.",
    "LYVE_ACCESS_KEY_ID": "an id",
    "LYVE_SECRET_ACCESS_KEY": "a secret",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for name in (
        "AGENTCACHE_WEBHOOK_URL",
        "AGENTCACHE_WEBHOOK_SECRET",
        "AGENTCACHE_WEBHOOK_SECRETS",
        "JETTYTHUNDER_ENVIRONMENT",
        "USAGE_THRESHOLDS_PERCENT",
    ):
        monkeypatch.delenv(name, raising=False)


def test_thresholds_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USAGE_THRESHOLDS_PERCENT", "[50, 100]")
    assert load(Settings).usage_thresholds_percent == (50, 100)


def test_webhooks_are_never_sent_unsigned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTCACHE_WEBHOOK_URL", "https://agentcache.example/webhooks")
    with pytest.raises(SystemExit, match="AGENTCACHE_WEBHOOK_SECRET"):
        load(Settings)


def test_there_are_connections_for_reconciling_and_booking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_POOL_SIZE", "2")
    with pytest.raises(SystemExit, match="DATABASE_POOL_SIZE"):
        load(Settings)


@pytest.mark.parametrize(
    ("secret", "sentence"),
    [
        ("whsec_not base64!", "what follows whsec_ is not base64"),
        ("whsec_c2hvcnQ=", "has 5 bytes and needs at least 16"),
        ("too short", "has 9 bytes and needs at least 16"),
    ],
)
def test_a_secret_that_protects_nothing_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, secret: str, sentence: str
) -> None:
    monkeypatch.setenv("AGENTCACHE_WEBHOOK_SECRET", secret)
    with pytest.raises(SystemExit, match=sentence) as stopped:
        load(Settings)
    assert secret not in str(stopped.value)


def test_a_live_environment_takes_no_short_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTCACHE_WEBHOOK_SECRET", "sixteen bytes are few")
    with pytest.raises(SystemExit, match="needs at least 32 characters"):
        load(Settings)


def test_two_secrets_sign_while_one_replaces_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTCACHE_WEBHOOK_SECRET", "c" * 32)
    monkeypatch.setenv("AGENTCACHE_WEBHOOK_SECRETS", f"{'a' * 32}, whsec_{'b' * 40}")
    first, second = load(Settings).webhook_keys
    assert (first, len(second)) == (b"a" * 32, 30)


def test_three_secrets_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTCACHE_WEBHOOK_SECRETS", ",".join("abc"[n] * 32 for n in range(3)))
    with pytest.raises(SystemExit, match="AGENTCACHE_WEBHOOK_SECRETS"):
        load(Settings)


def test_both_forms_of_a_secret_give_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JETTYTHUNDER_ENVIRONMENT", "test")
    for secret, key in (
        ("shared_secret_here_123456789", b"shared_secret_here_123456789"),
        ("whsec_c2hhcmVkX3NlY3JldF9oZXJl", b"shared_secret_here"),
    ):
        monkeypatch.setenv("AGENTCACHE_WEBHOOK_SECRET", secret)
        assert load(Settings).webhook_keys == (key,)
