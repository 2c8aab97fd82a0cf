"""A real Prometheus that scrapes a stack of services, with the rules that are deployed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from tests.support.waiting import eventually_sync

from jettythunder_dev.layout import REPOSITORY

PROGRAM = REPOSITORY / ".prometheus" / "prometheus"
DEPLOYED = REPOSITORY / "deploy" / "observability" / "prometheus"


@dataclass(frozen=True)
class Prometheus:
    """Its HTTP API."""

    url: str

    def get(self, path: str, **parameters: str) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30, trust_env=False)
        body = answer.json()
        assert body["status"] == "success", body
        return body["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query."""
        found: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """The rules that it evaluates, with their health and what is active of them."""
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]


def config_for(targets: Mapping[str, list[str]], token_file: Path, rules: str) -> dict[str, Any]:
    """The deployed configuration, with addresses in place of host names, scraping every second.

    Args:
        rules: the pattern of the rules' files.
    """
    config: dict[str, Any] = yaml.safe_load((DEPLOYED / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [rules]
    for job in config["scrape_configs"]:
        job.pop("dns_sd_configs", None)
        job["static_configs"] = [{"targets": targets[job["job_name"]]}]
        if "authorization" in job:
            job["authorization"] = {"credentials_file": str(token_file)}
    return config


@contextmanager
def running_prometheus(
    folder: Path,
    *,
    port: int,
    targets: Mapping[str, list[str]],
    token: str,
    rules: str = str(DEPLOYED / "rules" / "*.yml"),
) -> Iterator[Prometheus]:
    """Prometheus on a port of its own; it ends with the block."""
    token_file, config_file = folder / "token", folder / "prometheus.yml"
    token_file.write_text(token)
    own = {**targets, "prometheus": [f"127.0.0.1:{port}"]}
    config_file.write_text(json.dumps(config_for(own, token_file, rules)))
    command = [
        str(PROGRAM),
        f"--config.file={config_file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    prometheus = Prometheus(f"http://127.0.0.1:{port}")

    def is_ready() -> bool:
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        try:
            return httpx.get(f"{prometheus.url}/-/ready", trust_env=False).is_success
        except httpx.HTTPError:
            return False

    try:
        eventually_sync(is_ready, timeout_seconds=30)
        yield prometheus
    finally:
        process.terminate()
        process.wait(timeout=30)
