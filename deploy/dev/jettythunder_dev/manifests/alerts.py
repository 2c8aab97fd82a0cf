"""`make manifests-rules`: the rules of Prometheus as an object of its operator, from the same files."""

from pathlib import Path
from textwrap import indent

from jettythunder_dev.layout import REPOSITORY

FILE = REPOSITORY / "deploy/kubernetes/components/monitoring/rules.yaml"
RULES = REPOSITORY / "deploy/observability/prometheus/rules"

_HEAD = """\
# yamllint disable-file
# Written by `make manifests-rules` from deploy/observability/prometheus/rules; a test compares the two.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: jettythunder
spec:
  groups:
"""


def current_text() -> str:
    """The object as the rules' files have it, with their comments."""
    return _HEAD + "".join(indent(_groups(path), "  ") for path in sorted(RULES.glob("*.yml")))


def _groups(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("groups:\n")[2]


if __name__ == "__main__":
    FILE.write_text(current_text(), encoding="utf-8")
    print(f"Wrote {FILE.relative_to(REPOSITORY)}.")
