"""The deployed rules in a time of their own: a minute is a second."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml
from tests.observability.prometheus import DEPLOYED

FACTOR = 60
# Longer windows than this are of one length: an hour's is a minute, and that of all longer ones twice that.
LONGEST_SECONDS = 120

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_WINDOW = re.compile(r"\[(\d+)([smhd])\]")


def compressed_seconds(seconds: float) -> int:
    """How long a duration of a rule is, which a second at least, since rules are evaluated every second."""
    return max(1, min(LONGEST_SECONDS, round(seconds / FACTOR)))


def compressed(rule: dict[str, Any]) -> dict[str, Any]:
    """A rule with shorter windows and a shorter ``for``. Thresholds stay, those in seconds too."""
    changed = dict(rule)
    changed["expr"] = _WINDOW.sub(lambda found: f"[{_compressed(*found.groups())}]", rule["expr"])
    if "for" in rule:
        duration = re.fullmatch(r"(\d+)([smhd])", rule["for"])
        assert duration is not None, f"{rule['alert']}: {rule['for']} is not one number with its unit"
        changed["for"] = _compressed(*duration.groups())
    return changed


def write_compressed_rules(folder: Path) -> str:
    """Write all rules into a folder; the pattern of their files for Prometheus."""
    for path in sorted((DEPLOYED / "rules").glob("*.yml")):
        rules = yaml.safe_load(path.read_text())
        for group in rules["groups"]:
            group["rules"] = [compressed(rule) for rule in group["rules"]]
        (folder / path.name).write_text(json.dumps(rules))
    return str(folder / "*.yml")


def _compressed(count: str, unit: str) -> str:
    return f"{compressed_seconds(int(count) * _UNITS[unit])}s"
