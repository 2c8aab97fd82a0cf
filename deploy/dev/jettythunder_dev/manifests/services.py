"""What the services say of themselves: their settings, queues and metrics."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module

from prometheus_client import REGISTRY
from pydantic_settings import BaseSettings

from chunk_worker.settings import EdgeProcessSettings
from jettythunder.applications import applications
from jettythunder.broker import topology
from jettythunder.settings import load
from jettythunder.signatures import SigningKeys, new_signing_key
from jettythunder_dev.manifests.documents import Document, named
from jettythunder_dev.manifests.pods import Pod, of_kind, settings_of
from jettythunder_dev.services import service_kinds

# Read by commands alone.
_OF_COMMANDS = frozenset({"MIGRATION_LOCK_TIMEOUT_SECONDS", "MIGRATION_LOCK_ATTEMPTS"})
_SIGNING_KEY = new_signing_key("example")
_LONG = "x1-" * 12
# What Secrets that are made elsewhere may hold, for a live service.
_ELSEWHERE: Mapping[str, str] = {
    "DATABASE_URL": "postgresql://name:password@db.internal/jettythunder?sslmode=verify-full",
    "RABBITMQ_URL": "amqps://name:password@mq.internal/",
    "LYVE_ACCESS_KEY_ID": "name",
    "LYVE_SECRET_ACCESS_KEY": "secret",
    "JETTYTHUNDER_OPS_TOKENS": f"prometheus:metrics:read:{_LONG}",
    "JETTYTHUNDER_INTERNAL_KEY": _LONG,
    "JETTYTHUNDER_MASTER_KEYS": f"1:{_LONG}",
    "JETTYTHUNDER_SIGNING_KEYS": _SIGNING_KEY,
    "JETTYTHUNDER_VERIFYING_KEYS": str(SigningKeys.parse(_SIGNING_KEY).verifying),
    "AGENTCACHE_PROVISION_SECRETS": _LONG,
    "AGENTCACHE_WEBHOOK_SECRETS": _LONG,
}


def known_queues() -> frozenset[str]:
    """The queues that services consume from."""
    return frozenset(queue.name for queue in topology.consumer_queues())


def known_metrics() -> frozenset[str]:
    """The metrics that services export, without the endings of counters and histograms."""
    for application in applications().values():
        import_module(application.partition(":")[0].removesuffix(".main") + ".app")
    return frozenset(metric.name for metric in REGISTRY.collect())


def default_prefetch() -> int:
    """How many chunks a worker takes from the queue at once where nothing is set."""
    prefetch: int = _classes()["chunk-worker"].model_fields["chunk_worker_prefetch"].default
    return prefetch


def known_settings() -> frozenset[str]:
    """The variables that services and the migrations read."""
    fields = {name.upper() for settings in _classes().values() for name in settings.model_fields}
    return frozenset(fields) | _OF_COMMANDS


def seconds_to_drain(documents: Sequence[Document]) -> dict[str, float]:
    """How long each service may take to finish what it has begun, by the names of Deployments."""
    found: dict[str, float] = {}
    for deployment in of_kind(documents, "Deployment"):
        name = deployment["metadata"]["name"]
        given = settings_of(Pod.of(deployment), documents)
        fields = _classes()[name].model_fields
        found[name] = float(given.get("DRAIN_SECONDS", fields["drain_seconds"].default))
    return found


def refusals(documents: Sequence[Document]) -> Iterator[str]:
    """What services say to the environment that an overlay gives them, before they would start."""
    classes = _classes()
    elsewhere = {
        each["spec"]["target"]["name"]: [data["secretKey"] for data in each["spec"]["data"]]
        for each in of_kind(documents, "ExternalSecret")
    }
    for deployment in of_kind(documents, "Deployment"):
        name = deployment["metadata"]["name"]
        given = {key: _ELSEWHERE[key] for key in elsewhere.get(name, ())}
        given |= settings_of(Pod.of(deployment), documents)
        try:
            with _environment(given):
                load(classes[name])
        except SystemExit as refusal:
            yield f"{named(deployment)}: {refusal}"


def _classes() -> dict[str, type[BaseSettings]]:
    return {kind.name: kind.settings_class() for kind in service_kinds()} | {"edge": EdgeProcessSettings}


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """The process has these variables and no others while inside."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
