"""What credentials are derived from, and that they do not change."""

from dataclasses import replace
from uuid import UUID

import pytest

from jettythunder.errors import ConfigurationError
from provisioning.accounts.credentials import MasterKeys

from .fakes import made_account

KEY = "a master key of thirty-two characters or more"
MASTER_KEYS = MasterKeys({"1": KEY}, environment="test")
ACCOUNT_ID = UUID("6a1df4a7-1be8-4d10-8a7a-6d2f2a3d9f10")
PAIR = MASTER_KEYS.derive(ACCOUNT_ID, version=1)
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
    second = MASTER_KEYS.derive(ACCOUNT_ID, version=2)
    assert {PAIR.api_key, PAIR.api_secret}.isdisjoint({second.api_key, second.api_secret})


def test_an_account_keeps_the_environment_it_was_made_in() -> None:
    assert MasterKeys({"1": KEY}, environment="live").credentials_of(ACCOUNT) == PAIR


def test_another_key_under_the_same_id_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="The master key with the id 1 is not the key"):
        MasterKeys({"1": KEY[::-1]}, environment="test").credentials_of(ACCOUNT)


def test_new_pairs_come_from_the_newest_key_and_old_ones_from_theirs() -> None:
    ring = MasterKeys({"2": KEY[::-1], "1": KEY}, environment="test")
    assert ring.credentials_of(ACCOUNT) == PAIR
    new = ring.derive(ACCOUNT_ID, version=1)
    assert (new.master_key_id, new.api_key == PAIR.api_key) == ("2", False)


def test_a_fingerprint_tells_keys_apart_whatever_their_id() -> None:
    ring = MasterKeys({"2": KEY, "1": KEY, "3": KEY[::-1]}, environment="test")
    assert ring.fingerprint("1") == ring.fingerprint("2") != ring.fingerprint("3")


def test_credentials_do_not_show_when_printed() -> None:
    assert PAIR.api_secret not in f"{PAIR!r} {PAIR}"
