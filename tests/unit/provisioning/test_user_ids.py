"""Which account a user id means."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jettythunder.errors import InvalidField
from provisioning.accounts.model import user_id_of

USER = "0b2f9a34-51c7-4a7e-9d18-7a6f3f0e2c11"


def test_a_uuid_is_kept() -> None:
    assert user_id_of(USER) == UUID(USER)


def test_a_uuid_is_the_same_in_capitals() -> None:
    assert user_id_of(USER.upper()) == UUID(USER)


def test_the_namespace_never_changes() -> None:
    assert user_id_of("test-123") == UUID("d551607c-c18e-5103-b570-6f8e82760a49")


@pytest.mark.parametrize("spelling", [USER.replace("-", ""), f"{{{USER}}}", f"urn:uuid:{USER}"])
def test_other_spellings_of_a_uuid_are_names(spelling: str) -> None:
    assert user_id_of(spelling).version == 5


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=255))
def test_every_printable_name_has_one_id(name: str) -> None:
    assert user_id_of(name) == user_id_of(name)


@given(st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=20))
def test_different_names_have_different_ids(name: str) -> None:
    assert user_id_of(name) != user_id_of(f"{name}x")


@pytest.mark.parametrize("name", ["", " ", " a", "a ", "a\nb", "a\x00b", "a\x7f", "a\u200bb", "x" * 256])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InvalidField, match="user id"):
        user_id_of(name)
