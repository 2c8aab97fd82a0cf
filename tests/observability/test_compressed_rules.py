"""The rules that alerts are seen to fire by differ from the deployed ones in their windows alone."""

from __future__ import annotations

import re
from typing import Any

import promql_parser
import pytest
import yaml
from tests.observability.compressed_rules import compressed, compressed_seconds
from tests.observability.prometheus import DEPLOYED


def rules() -> list[Any]:
    files = [yaml.safe_load(path.read_text()) for path in sorted((DEPLOYED / "rules").glob("*.yml"))]
    found = [rule for file in files for group in file["groups"] for rule in group["rules"]]
    return [pytest.param(rule, id=rule.get("alert") or rule["record"]) for rule in found]


@pytest.mark.parametrize(
    ("seconds", "compressed_to"),
    [(15, 1), (60, 1), (300, 5), (1800, 30), (3600, 60), (7200, 120), (86_400, 120), (259_200, 120)],
)
def test_a_minute_is_a_second_and_none_is_longer_than_two_minutes(seconds: int, compressed_to: int) -> None:
    assert compressed_seconds(seconds) == compressed_to


@pytest.mark.parametrize("rule", rules())
def test_a_rule_keeps_all_but_its_durations(rule: dict[str, Any]) -> None:
    changed = compressed(rule)
    promql_parser.parse(changed["expr"])
    assert {**changed, "expr": "", "for": ""} == {**rule, "expr": "", "for": ""}
    assert re.sub(r"\[\d+\w\]", "", changed["expr"]) == re.sub(r"\[\d+\w\]", "", rule["expr"])
    assert re.findall(r"\[\d+[mhd]\]", changed["expr"]) == []
