"""Writes the schemas of the kinds that manifests use, from the modules of Kubernetes and the operators.

Upstream's schemas allow what they don't know; these refuse it, and leave out the descriptions. Needs Go.
With --definitions it writes nothing, and prints which files of the modules define the operators' kinds.
"""

import argparse
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from jettythunder_dev.errors import StackError
from jettythunder_dev.manifests.schemas import FILE, kind_of

Schema = dict[str, Any]

KUBERNETES = "k8s.io/kubernetes@v1.36.3"
KINDS = (
    "apps/v1 Deployment",
    "batch/v1 Job",
    "networking.k8s.io/v1 Ingress",
    "networking.k8s.io/v1 NetworkPolicy",
    "policy/v1 PodDisruptionBudget",
    "v1 ConfigMap",
    "v1 Namespace",
    "v1 Secret",
    "v1 Service",
    "v1 ServiceAccount",
)
_PROMETHEUS = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
# Custom resources: where a module has the definitions of its kinds.
CUSTOM = (
    ("github.com/kedacore/keda/v2@v2.21.0", "config/crd/bases/keda.sh_scaledobjects.yaml"),
    ("github.com/kedacore/keda/v2@v2.21.0", "config/crd/bases/keda.sh_triggerauthentications.yaml"),
    (_PROMETHEUS, "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml"),
    (_PROMETHEUS, "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"),
    (_PROMETHEUS, "example/prometheus-operator-crd/monitoring.coreos.com_scrapeconfigs.yaml"),
    (
        "github.com/external-secrets/external-secrets@v1.3.2",
        "config/crds/bases/external-secrets.io_externalsecrets.yaml",
    ),
)

# Ways to find targets that manifests may use; those of all vendors would be most of the file.
_DISCOVERIES = ("dnsSDConfigs", "staticConfigs")

_METADATA = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_TEXT_OR_NUMBER = {"type": ["string", "number"]}
_ANY_NUMBER_OR_TEXT = ("api.resource.Quantity", "util.intstr.IntOrString")


def main() -> None:
    """Write the file that :mod:`jettythunder_dev.manifests.schemas` reads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--definitions", action="store_true")
    if parser.parse_args().definitions:
        print(*(_module(module) / file for module, file in CUSTOM), sep="\n")
        return
    swagger = json.loads((_module(KUBERNETES) / "api/openapi-spec/swagger.json").read_text(encoding="utf-8"))
    kinds: dict[str, Schema] = {}
    for name, definition in swagger["definitions"].items():
        for version in definition.get("x-kubernetes-group-version-kind", ()):
            api = f"{version['group']}/{version['version']}" if version["group"] else version["version"]
            kinds[f"{api} {version['kind']}"] = {"$ref": f"#/definitions/{name}"}
    wanted = {kind: kinds[kind] for kind in KINDS}
    for module, file in CUSTOM:
        wanted.update(_custom(yaml.safe_load((_module(module) / file).read_text(encoding="utf-8"))))
    definitions = {
        name: _TEXT_OR_NUMBER if name.endswith(_ANY_NUMBER_OR_TEXT) else _strict(swagger["definitions"][name])
        for name in sorted(_reachable(wanted, swagger["definitions"]))
    }
    text = json.dumps({"kinds": dict(sorted(wanted.items())), "definitions": definitions}, indent=0)
    FILE.write_text(text + "\n", encoding="utf-8")
    print(f"{FILE}: {len(wanted)} kinds, {len(text):,} bytes")


def _module(name: str) -> Path:
    answer = subprocess.run(
        ["go", "mod", "download", "-json", name], capture_output=True, text=True, check=False
    )
    found = json.loads(answer.stdout or "{}")
    if "Dir" not in found:
        raise StackError(f"{name} can't be had: {found.get('Error') or answer.stderr.strip()}")
    return Path(found["Dir"])


def _custom(definition: Schema) -> Iterator[tuple[str, Schema]]:
    """The served kinds of a CustomResourceDefinition."""
    for version in definition["spec"]["versions"]:
        schema = _strict(version["schema"]["openAPIV3Schema"])
        given = schema["properties"]["spec"]["properties"]
        for name in [name for name in given if name.endswith("SDConfigs") and name not in _DISCOVERIES]:
            del given[name]
        schema["properties"]["metadata"] = {"$ref": f"#/definitions/{_METADATA}"}
        api = f"{definition['spec']['group']}/{version['name']}"
        if version["served"]:
            yield kind_of({"apiVersion": api, "kind": definition["spec"]["names"]["kind"]}), schema


def _reachable(found: object, definitions: Schema) -> set[str]:
    """The names of the definitions that a schema refers to, and of those that they refer to."""
    names: set[str] = set()
    waiting = list(_references(found))
    while waiting:
        name = waiting.pop()
        if name not in names:
            names.add(name)
            waiting.extend(_references(definitions[name]))
    return names


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].rpartition("/")[2]
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _strict(schema: Schema) -> Schema:
    """A schema that refuses unknown fields, without what only people read."""
    if schema.get("x-kubernetes-int-or-string"):
        return dict(_TEXT_OR_NUMBER)
    kept = {
        name: value
        for name, value in schema.items()
        if name not in ("description", "nullable", "format") and not name.startswith("x-kubernetes")
    }
    if "pattern" in kept:
        # Go's flag for what follows, which other regular expressions don't have.
        kept["pattern"] = kept["pattern"].replace("(?i)(", "(?i:")
    for group in ("properties", "patternProperties"):
        if group in kept:
            kept[group] = {name: _strict(value) for name, value in kept[group].items()}
    for inner in ("items", "additionalProperties"):
        if isinstance(kept.get(inner), dict):
            kept[inner] = _strict(kept[inner])
    if "properties" in kept and not schema.get("x-kubernetes-preserve-unknown-fields"):
        kept.setdefault("additionalProperties", False)
    if schema.get("nullable") and "type" in kept:
        kept["type"] = [kept["type"], "null"]
    return kept


if __name__ == "__main__":
    main()
