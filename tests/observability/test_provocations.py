"""Each alert is provoked, or it is said why it can't be."""

from __future__ import annotations

import yaml
from tests.observability.prometheus import DEPLOYED
from tests.observability.provocations import GROUPS, NOT_PROVOKED, THROUGHOUT


def test_no_alert_is_forgotten() -> None:
    files = [yaml.safe_load(path.read_text()) for path in (DEPLOYED / "rules").glob("*.yml")]
    rules = [rule for file in files for group in file["groups"] for rule in group["rules"]]
    groups = (*GROUPS, THROUGHOUT)
    provoked = [alert for group in groups for provocation in group for alert in provocation.alerts]
    assert sorted([*provoked, *NOT_PROVOKED]) == sorted(rule["alert"] for rule in rules if "alert" in rule)
