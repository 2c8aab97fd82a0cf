"""Reading pods: their containers, labels and environment, whatever makes them."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from jettythunder_dev.manifests.documents import Document, named


@dataclass(frozen=True)
class Pod:
    """The pods that a Deployment or a Job makes."""

    name: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]

    @classmethod
    def of(cls, document: Document) -> Self:
        """Those of an object."""
        template = document["spec"]["template"]
        return cls(named(document), template.get("metadata", {}).get("labels", {}), template["spec"])


def of_kind(documents: Sequence[Document], kind: str) -> list[Document]:
    """The objects of a kind."""
    return [document for document in documents if document["kind"] == kind]


def pods(documents: Sequence[Document]) -> list[Pod]:
    """The pods of all Deployments and Jobs."""
    return [Pod.of(each) for each in documents if each["kind"] in ("Deployment", "Job")]


def containers(pod: Pod) -> list[Mapping[str, Any]]:
    """A pod's containers; those that only prepare it come last."""
    return [*pod.spec["containers"], *pod.spec.get("initContainers", ())]


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a selector is for pods with these labels."""
    for name, value in selector.get("matchLabels", {}).items():
        if labels.get(name) != value:
            return False
    for expression in selector.get("matchExpressions", ()):
        is_in = labels.get(expression["key"]) in expression["values"]
        if is_in is not (expression["operator"] == "In"):
            return False
    return True


def volume_of(pod: Pod, container: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """The volume that a container has at a path."""
    name = next(mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == path)
    volume: Mapping[str, Any] = next(each for each in pod.spec["volumes"] if each["name"] == name)
    return volume


def settings_of(pod: Pod, documents: Sequence[Document]) -> dict[str, str]:
    """The environment of a service's process, as far as it is known here, with a pod's address."""
    return {
        name: value.replace("$(POD_IP)", "10.244.0.7") for name, value in environment(pod, documents).items()
    }


def environment(pod: Pod, documents: Sequence[Document]) -> dict[str, str]:
    """The variables of a pod's containers but for what Kubernetes tells a pod of itself."""
    made = {(each["kind"], each["metadata"]["name"]): each for each in documents}
    found: dict[str, str] = {}
    for container in containers(pod):
        for source in container.get("envFrom", ()):
            kind, reference = _reference(source)
            found.update(_values(made.get((kind, reference), {})))
        found.update({each["name"]: each["value"] for each in container.get("env", ()) if "value" in each})
    return found


def secret_names(documents: Sequence[Document]) -> set[str]:
    """The names of the Secrets that pods, scalers and monitors read."""
    names = {name for pod in pods(documents) for name in _secrets_of(pod)}
    for each in of_kind(documents, "TriggerAuthentication"):
        names.update(reference["name"] for reference in each["spec"].get("secretTargetRef", ()))
    for each in of_kind(documents, "PodMonitor"):
        for endpoint in each["spec"]["podMetricsEndpoints"]:
            if "authorization" in endpoint:
                names.add(endpoint["authorization"]["credentials"]["name"])
    return names


def _secrets_of(pod: Pod) -> Iterator[str]:
    for container in containers(pod):
        for source in container.get("envFrom", ()):
            kind, name = _reference(source)
            if kind == "Secret":
                yield name


def _reference(source: Mapping[str, Any]) -> tuple[str, str]:
    if "secretRef" in source:
        return "Secret", source["secretRef"]["name"]
    return "ConfigMap", source["configMapRef"]["name"]


def _values(document: Document) -> dict[str, str]:
    values: dict[str, str] = document.get("data", {})
    if document.get("kind") == "Secret":
        return {name: base64.b64decode(value).decode() for name, value in values.items()}
    return values
