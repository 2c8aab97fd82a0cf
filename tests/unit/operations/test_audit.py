"""What the audit keeps."""

from __future__ import annotations

import pytest
from tests.unit.operations.fakes import FakeEntries

from operations.audit import Audit
from operations.audit.model import storable, without_addresses


async def test_an_operation_that_fails_is_noted_with_what_was_done_until_then() -> None:
    entries = FakeEntries()

    async def fail() -> None:
        async with Audit(entries).entry(who="tester", action="a test", wanted={"all": True}) as entry:
            assert entries.entries[1].result is None
            entry.result["count"] = 3
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert entries.entries[1].result == {"count": 3, "failed": "RuntimeError"}


def test_text_that_json_in_the_database_can_not_hold_is_replaced() -> None:
    assert storable({"a\0": ["b\0", "\ud800", 1, None]}) == {"a�": ["b�", "?", 1, None]}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('{"email": "test.user+tag@example.com"}', '{"email": "[e-mail address]"}'),
        (r"{\"email\": \"ü@bücher.example\"}", r"{\"email\": \"[e-mail address]\"}"),
        ("of <a@b.example>, and mailto:c@d.example", "of <[e-mail address]>, and mailto:[e-mail address]"),
        ("no address @ all", "no address @ all"),
    ],
)
def test_addresses_of_tenants_are_not_kept(text: str, kept: str) -> None:
    assert without_addresses({"before": [text], "count": 1}) == {"before": [kept], "count": 1}
