"""What credentials are derived from, and that they do not change."""

from dataclasses import replace
from uuid import UUID

import pytest

from jettythunder.errors import ConfigurationError
from provisioning.accounts.credentials import MasterKey

from .fakes import made_account

KEY = "a master key of thirty-two characters or more"
MASTER_KEY = MasterKey(KEY, environment="test")
ACCOUNT_ID = UUID("6a1df4a7-1be8-4d10-8a7a-6d2f2a3d9f10")
PAIR = MASTER_KEY.derive(ACCOUNT_ID, version=1)
ACCOUNT = replace(
    made_account("test-123", tier="starter"),
    id=ACCOUNT_ID,
    api_key=PAIR.api_key,
    api_secret=PAIR.secret_digest,
)


def test_the_derivation_never_changes() -> None:
    assert PAIR.api_key == "jt_test_ctdb3nmonln765dlut7iadmxtxascfm7gf7n2jlzubcppuduptaa"


def test_the_secret_s_derivation_never_changes() -> None:
    assert PAIR.secret_digest == "093f4c9173f119790aef1bcc99acfafbdafcdd44aee3de4a684fb074f76e0886"


def test_every_version_has_a_pair_of_its_own() -> None:
    second = MASTER_KEY.derive(ACCOUNT_ID, version=2)
    assert {PAIR.api_key, PAIR.api_secret}.isdisjoint({second.api_key, second.api_secret})


def test_an_account_keeps_the_environment_it_was_made_in() -> None:
    assert MasterKey(KEY, environment="live").credentials_of(ACCOUNT) == PAIR


def test_another_master_key_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="JETTYTHUNDER_MASTER_KEY"):
        MasterKey(KEY[::-1], environment="test").credentials_of(ACCOUNT)


def test_credentials_do_not_show_when_printed() -> None:
    assert PAIR.api_secret not in f"{PAIR!r} {PAIR}"
