"""Where settings come from."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from jettythunder_client.config import BLOCK_BYTES, is_cleartext, load_config, store_credentials
from jettythunder_client.errors import InvalidConfiguration, NotLoggedIn

KEYS = {"JETTYTHUNDER_API_KEY": "jt_test_env", "JETTYTHUNDER_API_SECRET": "jts_env"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "config.toml"


def test_flags_come_before_environment_before_file(file: Path) -> None:
    store_credentials(api_url="http://file", api_key="jt_file", api_secret="jts_file", config_file=file)
    stored = load_config(environment={}, config_file=file)
    assert (stored.api_url, stored.api_key, stored.api_secret) == ("http://file", "jt_file", "jts_file")
    environment = {**KEYS, "JETTYTHUNDER_API_URL": "http://environment/api/agentcache"}
    told = load_config(environment=environment, config_file=file)
    assert (told.api_url, told.api_key) == ("http://environment", "jt_test_env")
    flagged = load_config(api_url="http://flag", environment=environment, config_file=file)
    assert (flagged.api_url, flagged.api_key) == ("http://flag", "jt_test_env")


def test_stored_credentials_are_their_owners_alone(file: Path) -> None:
    store_credentials(api_url="http://file", api_key="jt_a", api_secret="jts_a", config_file=file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_without_credentials_it_is_said_what_to_do(file: Path) -> None:
    with pytest.raises(NotLoggedIn, match="jettythunder login"):
        load_config(environment={}, config_file=file)


def test_secrets_are_not_in_the_representation(file: Path) -> None:
    shown = repr(load_config(environment=KEYS, config_file=file))
    assert "jts_env" not in shown
    assert "jt_test_env" not in shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JETTYSPEED_MAX_THREADS", "0"),
        ("JETTYSPEED_MAX_THREADS", "many"),
        ("JETTYSPEED_CHUNK_SIZE_MB", "5"),
        ("JETTYSPEED_ENABLED", "perhaps"),
        ("JETTYTHUNDER_API_URL", "ftp://example.com"),
    ],
)
def test_a_bad_value_is_named(name: str, value: str, file: Path) -> None:
    with pytest.raises(InvalidConfiguration) as refused:
        load_config(environment={**KEYS, name: value}, config_file=file)
    assert value in refused.value.detail


def test_the_memory_budget_bounds_the_connections(file: Path) -> None:
    environment = {**KEYS, "JETTYSPEED_MAX_THREADS": "500", "JETTYSPEED_MEMORY_MB": "30"}
    config = load_config(environment=environment, config_file=file)
    assert config.max_parallel * 3 * BLOCK_BYTES <= 30 * 1024 * 1024


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.example.com", False),
        ("http://localhost:3000", False),
        ("http://127.0.0.1:3000", False),
        ("http://[::1]:3000", False),
        ("http://api.example.com", True),
        ("http://10.0.0.1", True),
        ("http://127.0.0.1.example.com", True),
        ("http://localhost@example.com", True),
    ],
)
def test_a_cleartext_connection_is_recognised(url: str, expected: bool) -> None:
    assert is_cleartext(url) is expected
