"""Settings of chunk-workers and edges that are required only where others have certain values."""

import pytest

from chunk_worker.settings import EdgeProcessSettings, Settings
from jettythunder.settings import load
from jettythunder.signatures import SigningKeys, new_signing_key

KEYS = str(SigningKeys.parse(new_signing_key("test")).verifying)
EDGE = {
    "DATABASE_URL": "postgresql://localhost/name",
    "JETTYTHUNDER_OPS_TOKEN": "a token of operators, long enough for them",
    "LYVE_ACCESS_KEY_ID": "key",
    "LYVE_SECRET_ACCESS_KEY": "secret",
    "EDGE_URL": "https://edge",
    "JETTYTHUNDER_VERIFYING_KEYS": KEYS,
}
WORKER = EDGE | {
    "RABBITMQ_URL": "amqp://localhost",
    "JETTYTHUNDER_INTERNAL_KEY": "a key of at least thirty-two characters",
    "GATEWAY_INTERNAL_URLS": "https://gateway:3000",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (*WORKER, "JETTYTHUNDER_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("INTERNAL_PORT", "9000")
    return monkeypatch


def given(environment: pytest.MonkeyPatch, variables: dict[str, str], *without: str) -> None:
    for name, value in variables.items():
        if name not in without:
            environment.setenv(name, value)


def test_an_edge_needs_neither_broker_nor_a_key_that_signs(environment: pytest.MonkeyPatch) -> None:
    given(environment, EDGE)
    assert load(EdgeProcessSettings).edge_url == "https://edge"


@pytest.mark.parametrize("name", EDGE)
def test_an_edge_needs_these(environment: pytest.MonkeyPatch, name: str) -> None:
    given(environment, EDGE, name)
    with pytest.raises(SystemExit, match=f"^{name} is not set"):
        load(EdgeProcessSettings)


def test_a_worker_without_an_address_for_clients_needs_no_keys_of_tokens(
    environment: pytest.MonkeyPatch,
) -> None:
    given(environment, WORKER, "EDGE_URL", "JETTYTHUNDER_VERIFYING_KEYS")
    assert load(Settings).edge_url is None


@pytest.mark.parametrize("name", ["JETTYTHUNDER_VERIFYING_KEYS", "GATEWAY_INTERNAL_URLS"])
def test_a_live_worker_with_one_needs_these(environment: pytest.MonkeyPatch, name: str) -> None:
    given(environment, WORKER, name)
    with pytest.raises(SystemExit, match=f"^{name} is not set"):
        load(Settings)


def test_a_worker_for_tests_may_fetch_anywhere(environment: pytest.MonkeyPatch) -> None:
    given(environment, WORKER | {"JETTYTHUNDER_ENVIRONMENT": "test"}, "GATEWAY_INTERNAL_URLS")
    assert "http://anywhere:1/" in load(Settings).gateways


def test_keys_that_are_none_are_refused_without_being_shown(environment: pytest.MonkeyPatch) -> None:
    given(environment, EDGE | {"JETTYTHUNDER_VERIFYING_KEYS": "test:nonsense"})
    with pytest.raises(SystemExit, match="JETTYTHUNDER_VERIFYING_KEYS has a value") as caught:
        load(EdgeProcessSettings)
    assert "nonsense" not in str(caught.value)


def test_a_network_of_gateways_that_is_none_is_refused(environment: pytest.MonkeyPatch) -> None:
    given(environment, WORKER | {"GATEWAY_INTERNAL_URLS": "https://10.244.0.0/33"}, "EDGE_URL")
    with pytest.raises(SystemExit, match=r"^GATEWAY_INTERNAL_URLS has a value that is not allowed"):
        load(Settings)


def test_a_live_worker_speaks_plaintext_only_to_networks_that_are_named_for_it(
    environment: pytest.MonkeyPatch,
) -> None:
    variables = WORKER | {"GATEWAY_INTERNAL_URLS": "http://10.244.0.0/16"}
    given(environment, variables)
    with pytest.raises(SystemExit, match=r"GATEWAY_INTERNAL_URLS has 10\.244\.0\.0 spoken to without"):
        load(Settings)
    given(environment, {"ALLOW_PLAINTEXT_HOSTS": "10.244.0.0/16"})
    assert "http://10.244.3.7:8001/" in load(Settings).gateways
