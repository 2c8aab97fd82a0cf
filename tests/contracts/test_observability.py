"""Alerts, dashboards and the runbook name what there is: metrics, labels, each other."""

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import REGISTRY

from jettythunder.applications import applications
from jettythunder_dev.dashboards.files import FOLDER, current_files
from jettythunder_dev.layout import REPOSITORY
from jettythunder_dev.manifests import alerts
from jettythunder_dev.services import service_kinds

PROMETHEUS = REPOSITORY / "deploy" / "observability" / "prometheus"
MONITORING = REPOSITORY / "deploy" / "kubernetes" / "components" / "monitoring"
OPERATIONS = REPOSITORY / "docs" / "operations.md"
# Edges that are nothing else are a job of their own.
SERVICES = [*(kind.name for kind in service_kinds()), "edge"]

# Of Prometheus itself, and of RabbitMQ's plugin.
FOREIGN = {
    "up",
    "ALERTS",
    "rabbitmq_alarms_free_disk_space_watermark",
    "rabbitmq_alarms_memory_used_watermark",
    "rabbitmq_channels",
    "rabbitmq_connections",
    "rabbitmq_detailed_queue_consumers",
    "rabbitmq_detailed_queue_messages",
    "rabbitmq_detailed_queue_messages_ready",
    "rabbitmq_detailed_queue_messages_unacked",
    "rabbitmq_disk_space_available_bytes",
    "rabbitmq_disk_space_available_limit_bytes",
    "rabbitmq_global_messages_delivered_total",
    "rabbitmq_global_messages_received_total",
    "rabbitmq_process_open_fds",
    "rabbitmq_process_resident_memory_bytes",
    "rabbitmq_queue_messages_ready",
    "rabbitmq_queue_messages_unacked",
    "rabbitmq_queues",
    "rabbitmq_resident_memory_limit_bytes",
}


def rules() -> list[dict[str, Any]]:
    """Every rule of every file."""
    files = [yaml.safe_load(path.read_text()) for path in sorted((PROMETHEUS / "rules").glob("*.yml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RECORDED = {rule["record"] for rule in rules() if "record" in rule}


def expressions() -> list[Any]:
    """Every expression of rules and panels, with a name."""
    of_rules = [(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()]
    of_panels = [
        (f"{path.stem}: {panel['title']}", target["expr"])
        for path in sorted(FOLDER.glob("*.json"))
        for panel in json.loads(path.read_text())["panels"]
        for target in panel.get("targets", ())
    ]
    return [pytest.param(text, id=name) for name, text in (*of_rules, *of_panels)]


def metrics_of(expression: object) -> Iterator[str]:
    """The names of the metrics that a parsed expression selects."""
    if isinstance(expression, promql_parser.VectorSelector) and expression.name is not None:
        yield expression.name
    for part in ("expr", "lhs", "rhs", "vector_selector", "vs", "param"):
        if (inner := getattr(expression, part, None)) is not None:
            yield from metrics_of(inner)
    for inner in getattr(expression, "args", None) or ():
        yield from metrics_of(inner)


@pytest.fixture(scope="module")
def exported() -> set[str]:
    """The names of the samples that the services export, and those that rules record."""
    importlib.import_module("jettythunder.http.serve")
    for application in applications().values():
        package = application.partition(".")[0]
        importlib.import_module(f"{package}.app")
    names = set(RECORDED)
    for family in REGISTRY.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(
            family.type, ("",)
        )
        names |= {family.name + suffix for suffix in suffixes}
    return names


@pytest.mark.parametrize("text", expressions())
def test_an_expression_names_metrics_that_there_are(text: str, exported: set[str]) -> None:
    named = set(metrics_of(promql_parser.parse(text)))
    assert named - exported - FOREIGN == set()


def test_the_foreign_metrics_are_used() -> None:
    used = {name for each in expressions() for name in metrics_of(promql_parser.parse(each.values[0]))}
    assert used >= FOREIGN


def test_metrics_are_named_as_prometheus_asks(exported: set[str]) -> None:
    ours = {family.name: family for family in REGISTRY.collect() if family.name.startswith("jettythunder_")}
    assert all("account" not in sample.labels for family in ours.values() for sample in family.samples)
    assert not [name for name in ours if re.search(r"(_ms|_milliseconds|_kb|_mb|_minutes)$", name)]


def test_each_metric_of_ours_is_described(exported: set[str]) -> None:
    section = OPERATIONS.read_text().split("### Metrics\n")[1].split("\n### ")[0]
    described = set(re.findall(r"`(jettythunder_\w+)", section))
    ours = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in REGISTRY.collect()
        if family.name.startswith("jettythunder_")
    }
    assert described == ours


def test_each_alert_has_a_severity_and_a_sentence() -> None:
    for rule in ALERTS.values():
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]


def test_each_alert_is_in_the_runbook_and_the_runbook_has_no_other() -> None:
    written = re.findall(r"^#### (JettyThunder\w+)$", OPERATIONS.read_text(), re.M)
    assert sorted(written) == sorted(ALERTS)
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{name.lower()}"


def test_each_alert_is_tested_to_fire_and_to_rest() -> None:
    files = [yaml.safe_load(path.read_text()) for path in (PROMETHEUS / "tests").glob("*.yml")]
    seen = [
        (check["alertname"], bool(check.get("exp_alerts")))
        for file in files
        for test in file["tests"]
        for check in test.get("alert_rule_test", ())
    ]
    assert set(seen) == {(name, fires) for name in ALERTS for fires in (True, False)}


def test_every_service_is_scraped_with_a_token() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    scraped = {job["job_name"]: job for job in config["scrape_configs"]}
    for service in SERVICES:
        assert scraped[service]["authorization"]["credentials_file"]
        (found,) = scraped[service]["dns_sd_configs"]
        assert (found["names"], found["port"]) == ([service], 8000)


def test_the_operator_of_prometheus_gets_the_same_rules() -> None:
    text = alerts.FILE.read_text()
    assert text == alerts.current_text(), "write them anew with `make manifests-rules`"
    groups = yaml.safe_load(text)["spec"]["groups"]
    assert [rule for group in groups for rule in group["rules"]] == rules()


def test_the_operator_of_prometheus_scrapes_the_broker_in_the_same_way() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    ours = {
        job["job_name"]: job for job in config["scrape_configs"] if job["job_name"].startswith("rabbitmq")
    }
    objects = {
        each["spec"]["jobName"]: each["spec"]
        for each in yaml.safe_load_all((MONITORING / "broker.yaml").read_text())
    }
    assert objects.keys() == ours.keys()
    for name, job in ours.items():
        assert objects[name].get("metricsPath") == job.get("metrics_path")
        assert objects[name].get("params") == job.get("params")
        (found,), (wanted,) = objects[name]["dnsSDConfigs"], job["dns_sd_configs"]
        assert (found["type"], found["port"]) == (wanted["type"], wanted["port"])


def test_alerts_that_name_services_name_all() -> None:
    for name in ("JettyThunderServiceMissing", "JettyThunderInstanceDown"):
        assert all(service in ALERTS[name]["expr"] for service in SERVICES)


@pytest.mark.parametrize(
    ("path", "text"), [pytest.param(path, text, id=path.name) for path, text in current_files()]
)
def test_the_dashboards_are_current(path: Path, text: str) -> None:
    assert path.read_text() == text, "write them anew with `make dashboards`"


def test_there_is_no_other_dashboard() -> None:
    assert set(FOLDER.glob("*.json")) == {path for path, _ in current_files()}


def test_the_sidecar_gets_every_dashboard() -> None:
    kustomization = yaml.safe_load((FOLDER.parent / "kustomization.yaml").read_text())
    (made,) = kustomization["configMapGenerator"]
    assert made["files"] == sorted(f"{FOLDER.name}/{path.name}" for path, _ in current_files())
