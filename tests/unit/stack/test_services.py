"""Each service gets the variables that it reads, and no secret of another."""

from pathlib import Path

import pytest

from jettythunder_dev.layout import Layout
from jettythunder_dev.services import (
    Service,
    all_variables,
    service_environment,
    service_kinds,
    service_urls,
)

KINDS = {kind.name: kind for kind in service_kinds()}
SHARED = {
    "DATABASE_URL": "postgresql://jettythunder@127.0.0.1/jettythunder",
    "JETTYTHUNDER_MASTER_KEY": "master",
    "JETTYTHUNDER_SIGNING_KEYS": "signing",
    "JETTYTHUNDER_VERIFYING_KEYS": "verifying",
    "JETTYTHUNDER_INTERNAL_KEY": "internal",
    "JETTYTHUNDER_OPS_TOKEN": "ops",
    "AGENTCACHE_WEBHOOK_SECRET": "webhook",
    "EDGE_REGION": "eu-1",
    "EDGE_ID": "of the user",
    "SSH_AUTH_SOCK": "/tmp/agent",
}


def environment_of(name: str, index: int = 1) -> dict[str, str]:
    layout = Layout(root=Path("/data"), shown=Path("/data"))
    service = Service(KINDS[name], 3100, index)
    return service_environment(service, gateway_port=3000, layout=layout, shared=SHARED)


@pytest.mark.parametrize(
    ("name", "secrets"),
    [
        ("provisioning", {"JETTYTHUNDER_MASTER_KEY"}),
        ("usage-meter", {"AGENTCACHE_WEBHOOK_SECRET"}),
        ("chunk-worker", {"JETTYTHUNDER_INTERNAL_KEY", "JETTYTHUNDER_VERIFYING_KEYS"}),
        (
            "storage-gateway",
            {"JETTYTHUNDER_INTERNAL_KEY", "JETTYTHUNDER_SIGNING_KEYS", "AGENTCACHE_WEBHOOK_SECRET"},
        ),
    ],
)
def test_a_service_gets_its_own_secrets_and_no_others(name: str, secrets: set[str]) -> None:
    all_secrets = {variable for variable in SHARED if variable.endswith(("_KEY", "_KEYS", "_SECRET"))}
    assert environment_of(name).keys() & all_secrets == secrets


def test_every_service_is_told_where_its_database_is() -> None:
    assert all("DATABASE_URL" in environment_of(name) for name in KINDS)


def test_nothing_that_no_service_reads_reaches_one() -> None:
    assert not any("SSH_AUTH_SOCK" in environment_of(name) for name in KINDS)


def test_an_edge_keeps_its_own_name_and_address_whatever_the_user_set() -> None:
    edge = environment_of("chunk-worker", 2)
    assert (edge["EDGE_ID"], edge["EDGE_URL"]) == ("edge-2", "http://127.0.0.1:3100")
    assert edge["EDGE_REGION"] == "eu-1"


@pytest.mark.parametrize("name", ["EDGE_BUDGET_BYTES", "EDGE_STALL_SECONDS", "RATE_LIMIT_MAX_REQUESTS"])
def test_a_user_may_set_what_a_service_reads(name: str) -> None:
    assert name in all_variables()


def test_commands_find_the_services_that_they_call() -> None:
    services = [Service(KINDS["usage-meter"], 3020), Service(KINDS["provisioning"], 3010)]
    assert service_urls(services) == {
        "JETTYTHUNDER_USAGE_METER_URL": "http://127.0.0.1:3020",
        "JETTYTHUNDER_PROVISIONING_URL": "http://127.0.0.1:3010",
    }
