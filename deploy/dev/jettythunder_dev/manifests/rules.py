"""What no schema says: the promises that the manifests give, as rules over the objects of an overlay.

Each rule takes all objects and gives a sentence for each that breaks it.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from jettythunder_dev.manifests.documents import Document, named
from jettythunder_dev.manifests.pods import (
    Pod,
    containers,
    environment,
    matches,
    of_kind,
    pods,
    secret_names,
    settings_of,
    volume_of,
)

Rule = Callable[[Sequence[Document]], Iterator[str]]

# What a service that has drained takes to close what it opened.
_SECONDS_TO_CLOSE = 10
# How long a startup probe waits for servers that are down: a restart would not bring them back.
_SECONDS_FOR_OTHERS = 900
# A file system and its logs need room beside the files.
_SPOOL_MARGIN = 1.2
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def has_no_rights(documents: Sequence[Document]) -> Iterator[str]:
    """No container has rights on its node or in the cluster, and each has limits."""
    wanted: Mapping[str, object] = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    for pod in pods(documents):
        security = pod.spec.get("securityContext", {})
        if not (security.get("runAsNonRoot") and security.get("runAsUser", 0) > 0):
            yield f"{pod.name}: its pods may run as root."
        if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{pod.name}: its pods have no seccomp profile."
        if pod.spec.get("automountServiceAccountToken") is not False:
            yield f"{pod.name}: its pods get a token of the cluster."
        if pod.spec.get("enableServiceLinks") is not False:
            yield f"{pod.name}: its pods get variables that are named like Services."
        for container in containers(pod):
            given = container.get("securityContext", {})
            for name, value in wanted.items():
                if given.get(name) != value:
                    yield f"{pod.name}: {container['name']} needs {name}: {value}."
            resources = container.get("resources", {})
            if not {"cpu", "memory"} <= resources.get("requests", {}).keys():
                yield f"{pod.name}: {container['name']} requests no CPU or memory."
            if "memory" not in resources.get("limits", {}):
                yield f"{pod.name}: {container['name']} has no limit of memory."


def lives_without_others(documents: Sequence[Document]) -> Iterator[str]:
    """Every service has its three probes, and is restarted neither for others nor for too many clients."""
    for deployment in of_kind(documents, "Deployment"):
        for container in containers(Pod.of(deployment)):
            probes = ("startupProbe", "readinessProbe", "livenessProbe")
            missing = [probe for probe in probes if probe not in container]
            yield from (f"{named(deployment)}: {container['name']} has no {probe}." for probe in missing)
            if missing:
                continue
            live, start = container["livenessProbe"], container["startupProbe"]
            if live["httpGet"]["path"] != "/healthz":
                yield (
                    f"{named(deployment)}: its liveness depends on others: it asks "
                    f"{live['httpGet']['path']}, not /healthz."
                )
            if live["httpGet"]["port"] != "internal":
                yield f"{named(deployment)}: its liveness depends on clients: it asks their port."
            seconds = start.get("periodSeconds", 10) * start.get("failureThreshold", 3)
            if start["httpGet"]["path"] != "/healthz" and seconds < _SECONDS_FOR_OTHERS:
                yield (
                    f"{named(deployment)}: its start depends on others, and it is restarted after "
                    f"{seconds} s, not {_SECONDS_FOR_OTHERS}."
                )


def ends_in_time(documents: Sequence[Document], seconds: Mapping[str, float]) -> Iterator[str]:
    """A pod is given the time to end that its service takes: ``seconds``, by the names of Deployments."""
    for deployment in of_kind(documents, "Deployment"):
        pod = Pod.of(deployment)
        sleep = containers(pod)[0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        takes = sleep + seconds[deployment["metadata"]["name"]] + _SECONDS_TO_CLOSE
        grace = pod.spec.get("terminationGracePeriodSeconds", 30)
        if grace < takes:
            yield (
                f"{named(deployment)}: it takes up to {takes:.0f} s to end, and "
                f"terminationGracePeriodSeconds is {grace}."
            )


def spool_has_room(documents: Sequence[Document]) -> Iterator[str]:
    """The spool's volume holds more than its budget, and the pod may have that much."""
    for deployment in of_kind(documents, "Deployment"):
        pod = Pod.of(deployment)
        settings = settings_of(pod, documents)
        if "SPOOL_DIR" not in settings:
            continue
        container = containers(pod)[0]
        limit = _bytes(volume_of(pod, container, settings["SPOOL_DIR"])["emptyDir"]["sizeLimit"])
        budget = int(settings["SPOOL_BUDGET_BYTES"])
        if limit < _SPOOL_MARGIN * budget:
            yield f"{named(deployment)}: its spool's sizeLimit needs a fifth more than SPOOL_BUDGET_BYTES."
        if _bytes(container["resources"]["limits"]["ephemeral-storage"]) <= limit:
            yield f"{named(deployment)}: its limit of ephemeral storage is not more than its spool's."


def survives_drains(documents: Sequence[Document]) -> Iterator[str]:
    """Each Deployment has exactly one PodDisruptionBudget, and its pods are spread."""
    budgets = of_kind(documents, "PodDisruptionBudget")
    for deployment in of_kind(documents, "Deployment"):
        pod = Pod.of(deployment)
        found = [each for each in budgets if matches(each["spec"]["selector"], pod.labels)]
        if len(found) != 1:
            yield f"{named(deployment)}: {len(found)} PodDisruptionBudgets are for its pods, not one."
        if not pod.spec.get("topologySpreadConstraints"):
            yield f"{named(deployment)}: its pods are not spread over nodes."


def reaches_only_what_it_needs(documents: Sequence[Document]) -> Iterator[str]:
    """All is denied at first, and each policy and Service is for pods that there are."""
    policies = of_kind(documents, "NetworkPolicy")
    everything = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    if not any(policy["spec"] == everything for policy in policies):
        yield "No NetworkPolicy denies everything at first."
    selecting = [(policy, policy["spec"]["podSelector"]) for policy in policies] + [
        (service, {"matchLabels": service["spec"]["selector"]}) for service in of_kind(documents, "Service")
    ]
    for document, selector in selecting:
        if not any(matches(selector, pod.labels) for pod in pods(documents)):
            yield f"{named(document)}: it selects no pods."


def watches_every_service(documents: Sequence[Document]) -> Iterator[str]:
    """Where there are PodMonitors, one is for each service, on a port of its pods and with a token."""
    monitors = of_kind(documents, "PodMonitor")
    for deployment in of_kind(documents, "Deployment") if monitors else ():
        pod = Pod.of(deployment)
        found = [each for each in monitors if matches(each["spec"]["selector"], pod.labels)]
        if len(found) != 1:
            yield f"{named(deployment)}: {len(found)} PodMonitors are for its pods, not one."
        ports = {port["name"] for port in containers(pod)[0].get("ports", ())}
        for endpoint in (each for monitor in found for each in monitor["spec"]["podMetricsEndpoints"]):
            if endpoint["port"] not in ports:
                yield f"{named(deployment)}: its pods have no port {endpoint['port']}, which is scraped."
            if "authorization" not in endpoint:
                yield f"{named(deployment)}: it is scraped without a token."


def scales_by_one_hand(documents: Sequence[Document]) -> Iterator[str]:
    """What KEDA scales has no `replicas`, which each apply would set back, and all else has some."""
    scaled = {each["spec"]["scaleTargetRef"]["name"]: each for each in of_kind(documents, "ScaledObject")}
    deployments = {each["metadata"]["name"]: each for each in of_kind(documents, "Deployment")}
    for name, document in scaled.items():
        if name not in deployments:
            yield f"{named(document)}: there is no Deployment {name}."
        elif "replicas" in deployments[name]["spec"]:
            yield f"Deployment {name}: KEDA sets its replicas, and so does the manifest."
        behavior = document["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        if behavior["scaleDown"]["policies"] != [{"type": "Pods", "value": 1, "periodSeconds": 60}]:
            yield f"{named(document)}: it scales down by more than a pod a minute."


def scales_by_what_there_is(
    documents: Sequence[Document], queues: frozenset[str], metrics: frozenset[str], prefetch: int
) -> Iterator[str]:
    """Triggers name queues and metrics that there are; one of a queue counts what workers have in hand.

    ``prefetch`` is what a worker takes at once where its Deployment does not say.
    """
    deployments = {each["metadata"]["name"]: each for each in of_kind(documents, "Deployment")}
    for document in of_kind(documents, "ScaledObject"):
        target = deployments.get(document["spec"]["scaleTargetRef"]["name"])
        for trigger in document["spec"]["triggers"]:
            given = trigger["metadata"]
            if trigger["type"] == "rabbitmq" and target is not None:
                settings = settings_of(Pod.of(target), documents)
                value = 2 * int(settings.get("CHUNK_WORKER_PREFETCH", prefetch))
                if given.get("value") != str(value):
                    yield f"{named(document)}: its value must be {value}, CHUNK_WORKER_PREFETCH twice."
                if given.get("protocol") != "http" or given.get("excludeUnacknowledged") != "false":
                    yield f"{named(document)}: messages that workers have in hand are not counted."
                if given["queueName"] not in queues:
                    yield f"{named(document)}: there is no queue {given['queueName']}."
            if trigger["type"] == "prometheus":
                unknown = set(re.findall(r"jettythunder_\w+", given["query"])) - metrics
                yield from (f"{named(document)}: there is no metric {name}." for name in sorted(unknown))


def names_secrets_that_are_made(documents: Sequence[Document]) -> Iterator[str]:
    """Each Secret that is named is made in the overlay, by hand or by the External Secrets Operator."""
    made = {each["metadata"]["name"] for each in of_kind(documents, "Secret")} | {
        each["spec"]["target"]["name"] for each in of_kind(documents, "ExternalSecret")
    }
    for name in sorted(secret_names(documents) - made):
        yield f"Secret {name}: it is named, and not made."


def gives_known_settings(documents: Sequence[Document], known: frozenset[str]) -> Iterator[str]:
    """A variable that no service reads is a mistake."""
    for pod in pods(documents):
        for name in sorted(environment(pod, documents).keys() - known):
            yield f"{pod.name}: no service reads {name}."


RULES: tuple[Rule, ...] = (
    has_no_rights,
    lives_without_others,
    spool_has_room,
    survives_drains,
    reaches_only_what_it_needs,
    watches_every_service,
    scales_by_one_hand,
    names_secrets_that_are_made,
)


def _bytes(quantity: Any) -> int:
    number, unit = re.fullmatch(r"(\d+)([A-Za-z]*)", str(quantity)).groups()  # type: ignore[union-attr]
    return int(number) * _UNITS[unit]
