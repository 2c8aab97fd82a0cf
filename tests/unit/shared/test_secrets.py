"""What a live environment takes as a secret, and what the others take."""

import os
import re
from pathlib import Path

import pytest

from jettythunder.secrets import check_strength
from jettythunder.settings import load
from jettythunder.signatures import new_signing_key
from storage_gateway.settings import Settings

REPOSITORY = Path(__file__).parents[3]
DOCUMENTS = [
    REPOSITORY / "README.md",
    *(REPOSITORY / "docs").rglob("*.md"),
    *(REPOSITORY / "deploy" / "compose").iterdir(),
]
STRONG = "a secret of thirty-two characters"
EXAMPLE = "shared_secret_here_123456789"  # as in the example calls of the contract
ENVIRONMENT = {
    "DATABASE_URL": "postgresql://user@localhost/name",
    "RABBITMQ_URL": "amqp://localhost/",
    "JETTYTHUNDER_OPS_TOKEN": STRONG,
    "JETTYTHUNDER_SIGNING_KEYS": new_signing_key("test"),
    "JETTYTHUNDER_INTERNAL_KEY": STRONG,
    "INTERNAL_PORT": "3001",
    "LYVE_ACCESS_KEY_ID": "an id",
    "LYVE_SECRET_ACCESS_KEY": "a secret",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The gateway's environment, without AgentCache's secret."""
    for name in os.environ:
        monkeypatch.delenv(name)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_agentcache_s_calls_have_the_webhooks_secret_where_they_have_none_of_their_own(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("AGENTCACHE_WEBHOOK_SECRET", "w" * 32)
    assert load(Settings).agentcache_secrets == ("w" * 32,)
    environment.setenv("AGENTCACHE_PROVISION_SECRETS", f"{'n' * 32},{'o' * 32}")
    assert load(Settings).agentcache_secrets == ("n" * 32, "o" * 32)
    environment.delenv("AGENTCACHE_WEBHOOK_SECRET")
    assert load(Settings).agentcache_secrets == ("n" * 32, "o" * 32)


@pytest.mark.usefixtures("environment")
def test_without_any_the_one_of_the_contract_is_named() -> None:
    with pytest.raises(SystemExit, match="AGENTCACHE_WEBHOOK_SECRET is not set"):
        load(Settings)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("AGENTCACHE_WEBHOOK_SECRET", EXAMPLE, "is an example of the documentation"),
        ("AGENTCACHE_WEBHOOK_SECRET", "hunter2", "needs at least 32 characters, and has 7"),
        ("AGENTCACHE_PROVISION_SECRETS", f"{STRONG},hunter2", "needs at least 32 characters, and has 7"),
        ("AGENTCACHE_PROVISION_SECRETS", f"{STRONG},,{STRONG}", "and has 0"),
        ("AGENTCACHE_PROVISION_SECRETS", ",".join(c * 32 for c in "abc"), "two secrets are accepted at most"),
        ("JETTYTHUNDER_OPS_TOKEN", "hunter2", "needs at least 32 characters, and has 7"),
        ("JETTYTHUNDER_OPS_TOKENS", "alice:ops:read:hunter2", "needs at least 32 characters, and has 7"),
    ],
)
def test_a_live_environment_refuses_a_weak_secret_and_does_not_show_it(
    environment: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    environment.setenv("AGENTCACHE_WEBHOOK_SECRET", STRONG)
    environment.setenv(name, value)
    with pytest.raises(SystemExit, match=sentence) as stopped:
        load(Settings)
    assert str(stopped.value).startswith(f"{name} has a value that is not allowed")
    assert "hunter2" not in str(stopped.value)


def test_a_test_environment_takes_the_contract_s_example(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("JETTYTHUNDER_ENVIRONMENT", "test")
    environment.setenv("AGENTCACHE_WEBHOOK_SECRET", EXAMPLE)
    environment.setenv("JETTYTHUNDER_OPS_TOKEN", "short")
    assert load(Settings).agentcache_secrets == (EXAMPLE,)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_secret_of_a_document_is_good_for_a_live_environment(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    examples = re.findall(r"(?:_SECRETS?|_TOKENS?|_KEYS?|PASSWORD)[=:]\s*['\"]?([\w-]{8,})", text)
    for example in [*examples, *re.findall(r"Bearer ([\w-]{8,})", text)]:
        with pytest.raises(ValueError, match="live environment"):
            check_strength(example)
