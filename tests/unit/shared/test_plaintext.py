"""A live service speaks to other machines encrypted only, and says which setting is wrong."""

import importlib
import os

import pytest

from jettythunder.plaintext import NetworkAddress
from jettythunder.settings import load
from jettythunder.signatures import SigningKeys, new_signing_key

SIGNING_KEY = new_signing_key("test")
SERVICES = ("provisioning", "storage_gateway", "chunk_worker", "usage_meter", "operations")
REQUIRED = {
    "DATABASE_URL": "postgresql://user:hunter2@db.example/name?sslmode=verify-full",
    "RABBITMQ_URL": "amqps://user:hunter2@broker.example/",
    "JETTYTHUNDER_OPS_TOKEN": "a token of operators, long enough for them",
    "JETTYTHUNDER_MASTER_KEY": "a master key of thirty-two characters or more",
    "JETTYTHUNDER_SIGNING_KEYS": SIGNING_KEY,
    "JETTYTHUNDER_VERIFYING_KEYS": str(SigningKeys.parse(SIGNING_KEY).verifying),
    "JETTYTHUNDER_INTERNAL_KEY": "an internal key of thirty-two characters or more",
    "GATEWAY_INTERNAL_URLS": "https://gateway.example",
    "AGENTCACHE_WEBHOOK_SECRET": "a secret of AgentCache, long enough for all",
    "LYVE_ACCESS_KEY_ID": "id",
    "LYVE_SECRET_ACCESS_KEY": "hunter2",
    "INTERNAL_PORT": "9000",
}


def settings_of(monkeypatch: pytest.MonkeyPatch, service: str, **changes: str) -> str:
    """What the service says of its settings; empty where it starts."""
    for name in os.environ:
        monkeypatch.delenv(name)
    for name, value in {**REQUIRED, **changes}.items():
        monkeypatch.setenv(name, value)
    try:
        load(importlib.import_module(f"{service}.settings").Settings)
    except SystemExit as refusal:
        return str(refusal)
    return ""


@pytest.mark.parametrize("service", SERVICES)
def test_a_live_service_starts_where_all_is_encrypted(monkeypatch: pytest.MonkeyPatch, service: str) -> None:
    assert settings_of(monkeypatch, service) == ""


@pytest.mark.parametrize(
    ("service", "name", "value", "host"),
    [
        ("operations", "DATABASE_URL", "postgresql://user:hunter2@db.example/name", "db.example"),
        (
            "operations",
            "DATABASE_URL",
            "postgresql://user:hunter2@db.example:5432/name?sslmode=prefer",
            "db.example",
        ),
        (
            "operations",
            "DATABASE_URL",
            "postgresql://user:hunter2@localhost,db2.example/name",
            "db2.example",
        ),
        (
            "operations",
            "DATABASE_URL",
            "postgresql://localhost/name?host=db.example&user=hunter2",
            "db.example",
        ),
        ("operations", "RABBITMQ_URL", "amqp://user:hunter2@broker.example/", "broker.example"),
        ("operations", "RABBITMQ_URL", "amqp://user:hunter2@10.0.0.5/", "10.0.0.5"),
        ("operations", "SENTRY_DSN", "http://hunter2@sentry.example/1", "sentry.example"),
        ("usage_meter", "LYVE_ENDPOINT", "http://s3.example", "s3.example"),
        ("usage_meter", "AGENTCACHE_WEBHOOK_URL", "http://agentcache.example/hooks", "agentcache.example"),
        ("storage_gateway", "JETTYTHUNDER_API_URL", "http://api.example/api/agentcache", "api.example"),
        ("storage_gateway", "GATEWAY_INTERNAL_URL", "http://gateway-1:3000", "gateway-1"),
        ("storage_gateway", "AGENTCACHE_API_URL", "http://agentcache.example/api", "agentcache.example"),
        ("storage_gateway", "JETTYSPEED_CDN_URL", "http://cdn.example", "cdn.example"),
        ("chunk_worker", "EDGE_URL", "http://edge.example", "edge.example"),
        ("chunk_worker", "GATEWAY_INTERNAL_URLS", "https://gateway-1, http://gateway-2:3000", "gateway-2"),
        ("chunk_worker", "AGENTCACHE_API_URL", "http://agentcache.example/api", "agentcache.example"),
    ],
)
def test_plaintext_to_another_machine_is_refused(
    monkeypatch: pytest.MonkeyPatch, service: str, name: str, value: str, host: str
) -> None:
    said = settings_of(monkeypatch, service, **{name: value})
    assert said.startswith(f"{name} has {host} spoken to without encryption")
    assert "ALLOW_PLAINTEXT_HOSTS" in said
    assert "hunter2" not in said
    assert settings_of(monkeypatch, service, **{name: value, "JETTYTHUNDER_ENVIRONMENT": "test"}) == ""
    assert settings_of(monkeypatch, service, **{name: value, "ALLOW_PLAINTEXT_HOSTS": host}) == ""


def test_each_wrong_setting_has_its_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    said = settings_of(
        monkeypatch, "usage_meter", RABBITMQ_URL="amqp://broker.example/", LYVE_ENDPOINT="http://s3.example"
    )
    assert {line.split()[0] for line in said.splitlines()} == {"RABBITMQ_URL", "LYVE_ENDPOINT"}


@pytest.mark.parametrize(
    "value",
    [
        "postgresql://user@localhost/name",
        "postgresql://user@127.0.0.1/name",
        "postgresql://user@[::1]/name",
        "postgresql://localhost/name?host=/run/postgresql",
        "postgresql://user@%2Frun%2Fpostgresql/name",
        "postgresql://user@db.example/name?sslmode=require",
        "postgresql://user@db.example/name?sslmode=verify-ca&sslrootcert=/etc/ca.pem",
    ],
)
def test_this_machine_and_encrypted_databases_are_taken(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert settings_of(monkeypatch, "operations", DATABASE_URL=value) == ""


@pytest.mark.parametrize(
    ("allowed", "host", "is_taken"),
    [
        (".svc.cluster.local", "broker.messaging.svc.cluster.local", True),
        (".svc.cluster.local", "svc.cluster.local.example", False),
        ("broker, other", "broker", True),
        ("broker", "broker.example", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "ten.example", False),
    ],
)
def test_private_networks_are_named(
    monkeypatch: pytest.MonkeyPatch, allowed: str, host: str, is_taken: bool
) -> None:
    said = settings_of(
        monkeypatch, "operations", RABBITMQ_URL=f"amqp://{host}/", ALLOW_PLAINTEXT_HOSTS=allowed
    )
    assert (said == "") is is_taken


def test_a_malformed_network_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    said = settings_of(monkeypatch, "operations", ALLOW_PLAINTEXT_HOSTS="10.0.0.0/99")
    assert said.startswith("ALLOW_PLAINTEXT_HOSTS has a value that is not allowed")


@pytest.mark.parametrize("service", SERVICES)
def test_every_address_is_looked_at(service: str) -> None:
    fields = importlib.import_module(f"{service}.settings").Settings.model_fields
    named = {name for name in fields if name.endswith(("_url", "_urls", "_endpoint", "_dsn"))}
    assert named == {name for name, field in fields.items() if NetworkAddress in field.metadata}
