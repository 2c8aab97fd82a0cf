"""What stops the usage-meter at start."""

import pytest

from jettythunder.settings import load
from usage_meter.settings import Settings

ENVIRONMENT = {
    "DATABASE_URL": "postgresql://user@localhost/name",
    "RABBITMQ_URL": "amqp://localhost/",
    "JETTYTHUNDER_OPS_TOKEN": "a token",
    "LYVE_ACCESS_KEY_ID": "an id",
    "LYVE_SECRET_ACCESS_KEY": "a secret",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for name in ("AGENTCACHE_WEBHOOK_URL", "AGENTCACHE_WEBHOOK_SECRET", "USAGE_THRESHOLDS_PERCENT"):
        monkeypatch.delenv(name, raising=False)


def test_thresholds_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USAGE_THRESHOLDS_PERCENT", "[50, 100]")
    assert load(Settings).usage_thresholds_percent == (50, 100)


def test_webhooks_are_never_sent_unsigned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTCACHE_WEBHOOK_URL", "https://agentcache.example/webhooks")
    with pytest.raises(SystemExit, match="AGENTCACHE_WEBHOOK_SECRET"):
        load(Settings)


def test_jobs_never_wait_for_each_other_s_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_POOL_SIZE", "9")
    with pytest.raises(SystemExit, match="DATABASE_POOL_SIZE"):
        load(Settings)
