"""The lock that stacks which start at the same moment share."""

from __future__ import annotations

from pathlib import Path

import pytest

from jettythunder_dev.errors import StackError
from jettythunder_dev.locks import one_at_a_time


def test_a_link_in_the_lock_s_place_is_refused_and_what_it_leads_to_is_kept(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    lock = tmp_path / "lock"
    lock.symlink_to(precious)

    with pytest.raises(StackError, match="remove it"), one_at_a_time(lock):
        pass

    assert precious.read_text() == "kept"
