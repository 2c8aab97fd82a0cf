"""Every panel and every rule has an answer of a real Prometheus, while the services have traffic."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import pytest
from tests.observability.prometheus import PROGRAM, Prometheus, running_prometheus
from tests.observability.traffic import Receiver, Tenant, running_receiver
from tests.observability.watched_stack import targets_of, watched_stack
from tests.support.waiting import eventually_sync

from jettythunder_dev.dashboards.files import FOLDER
from jettythunder_dev.stack import Stack, StackSummary

pytestmark = [pytest.mark.dashboards, pytest.mark.timeout(600)]

SETTLE_SECONDS = 120

# Panels that may show nothing but their default, such as 0: what they count does not come of this traffic.
QUIET = {
    "edges: Records in AgentCache",
    "events: Events seen before",
    "metering: Reservations released after their time",
    "overview: Alerts that fire",
}

Panels = dict[str, list[str]]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


@pytest.fixture(scope="module")
def stack(receiver: Receiver) -> Iterator[tuple[Stack, StackSummary]]:
    given = {"AGENTCACHE_WEBHOOK_URL": receiver.url, "USAGE_RECONCILE_SECONDS": "5", "VERIFY_SECONDS": "1"}
    with watched_stack(given) as started:
        yield started


@pytest.fixture(scope="module")
def prometheus(
    stack: tuple[Stack, StackSummary], receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """Prometheus, after it has seen traffic of each kind."""
    running, summary = stack
    assert PROGRAM.exists(), "get it with `make dashboards-test`"
    targets = targets_of(summary)
    variables = running.variables()
    with running_prometheus(
        tmp_path_factory.mktemp("prometheus"),
        port=summary.ports["rabbitmq-metrics"] + 1000,
        targets=targets,
        token=variables["JETTYTHUNDER_OPS_TOKEN"],
    ) as prometheus:
        # Rates are of what was counted between two scrapes, so each service is seen once before.
        scraped = sum(map(len, targets.values()))
        eventually_sync(
            lambda: len(prometheus.query('up{job!="prometheus"} == 1')) == scraped, timeout_seconds=60
        )
        tenant = Tenant(summary.base_url or "", variables)
        for _ in range(3):
            tenant.do_everything()
        Tenant(summary.base_url or "", variables).reach_quota()
        eventually_sync(lambda: len(receiver.taken) > 0, timeout_seconds=60)
        yield prometheus


def panels() -> Panels:
    """The expressions of each panel."""
    return {
        f"{path.stem}: {panel['title']}": [target["expr"] for target in panel["targets"]]
        for path in sorted(FOLDER.glob("*.json"))
        for panel in json.loads(path.read_text())["panels"]
        if panel.get("targets")
    }


def _without_default(expr: str) -> str:
    """An expression without the value that it has where there are no series."""
    return re.sub(r" or vector\(\d\)$", "", expr)


def _values(series: list[dict[str, Any]]) -> list[float]:
    """The series' numbers, of those that have one."""
    values = [float(each["value"][1]) for each in series]
    return [value for value in values if not math.isnan(value)]


def test_every_query_of_every_panel_has_an_answer(
    prometheus: Prometheus, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [(name, expr) for name, expressions in panels().items() for expr in expressions]
    answers: dict[tuple[str, str], list[float]] = {}

    def all_answer() -> bool:
        for name, expr in asked:
            if not answers.get((name, expr)):
                measured = expr if name in QUIET else _without_default(expr)
                answers[name, expr] = _values(prometheus.query(measured))
        return all(answers.values())

    try:
        eventually_sync(all_answer, timeout_seconds=SETTLE_SECONDS, poll_seconds=2)
    except Exception as error:
        unanswered = [each for each in asked if not answers[each]]
        raise AssertionError(unanswered) from error
    with capsys.disabled():
        for (name, expr), values in answers.items():
            print(f"\n{len(values):4}  {name:55} {expr}", end="")
        series = sum(map(len, answers.values()))
        moved = sum(any(values) for values in answers.values())
        print(
            f"\n{len(panels())} panels, {len(asked)} queries, all with data: {series} series; "
            f"{moved} queries show a value other than 0"
        )


def test_every_recording_rule_has_an_answer(
    prometheus: Prometheus, capsys: pytest.CaptureFixture[str]
) -> None:
    def rules() -> dict[tuple[str, str], int]:
        recorded = [rule for rule in prometheus.rules() if rule["type"] == "recording"]
        return {
            (rule["name"], json.dumps(rule.get("labels", {}))): len(
                _values(prometheus.query(_with_labels(rule["name"], rule.get("labels", {}))))
            )
            for rule in recorded
        }

    eventually_sync(lambda: all(rules().values()), timeout_seconds=SETTLE_SECONDS, poll_seconds=2)
    found = rules()
    with capsys.disabled():
        print(f"\n{len(found)} recording rules, {sum(found.values())} series")
        for (name, labels), count in found.items():
            print(f"{count:4}  {name} {labels}")


def test_every_alert_is_evaluated(prometheus: Prometheus, capsys: pytest.CaptureFixture[str]) -> None:
    def are_evaluated() -> bool:
        return all(rule["health"] == "ok" for rule in prometheus.rules())

    eventually_sync(are_evaluated, timeout_seconds=60)
    alerts = {rule["name"]: rule["state"] for rule in prometheus.rules() if rule["type"] == "alerting"}
    with capsys.disabled():
        seen = {name: state for name, state in alerts.items() if state != "inactive"}
        print(f"\n{len(alerts)} alerts are evaluated; not inactive: {seen or 'none'}")


def _with_labels(name: str, labels: dict[str, str]) -> str:
    return name + "{" + ",".join(f'{label}="{value}"' for label, value in labels.items()) + "}"
