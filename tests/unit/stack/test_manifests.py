"""What `make manifests` refuses, on objects as small as they can be."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from jettythunder_dev.manifests import rules
from jettythunder_dev.manifests.documents import Document
from jettythunder_dev.manifests.schemas import violations
from jettythunder_dev.manifests.services import refusals

OBJECTS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: edge}
spec:
  selector: {matchLabels: {name: edge}}
  template:
    metadata: {labels: {name: edge}}
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: 60
      topologySpreadConstraints:
        - {maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        seccompProfile: {type: RuntimeDefault}
      containers:
        - name: service
          env:
            - {name: SPOOL_DIR, value: /spool}
            - {name: SPOOL_BUDGET_BYTES, value: "1000000000"}
          envFrom:
            - secretRef: {name: edge}
          ports:
            - {name: http, containerPort: 8000}
            - {name: internal, containerPort: 8001}
          startupProbe: {httpGet: {path: /healthz, port: internal}}
          readinessProbe: {httpGet: {path: /readyz, port: http}}
          livenessProbe: {httpGet: {path: /healthz, port: internal}}
          lifecycle: {preStop: {sleep: {seconds: 10}}}
          resources:
            requests: {cpu: 100m, memory: 128Mi}
            limits: {memory: 256Mi, ephemeral-storage: 2Gi}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          volumeMounts:
            - {name: spool, mountPath: /spool}
      volumes:
        - {name: spool, emptyDir: {sizeLimit: 1280Mi}}
---
apiVersion: v1
kind: Secret
metadata: {name: edge}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: edge}
spec:
  maxUnavailable: 1
  selector: {matchLabels: {name: edge}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny-all}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: edge}
spec:
  scaleTargetRef: {name: edge}
  maxReplicaCount: 20
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleDown:
          policies: [{type: Pods, value: 1, periodSeconds: 60}]
  triggers:
    - type: rabbitmq
      metadata:
        protocol: http
        queueName: chunks
        excludeUnacknowledged: "false"
        value: "16"
    - type: prometheus
      metadata: {query: sum(jettythunder_bytes), threshold: "1"}
---
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata: {name: edge}
spec:
  selector: {matchLabels: {name: edge}}
  podMetricsEndpoints:
    - port: internal
      authorization: {credentials: {name: edge, key: token}}
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: {name: rules}
spec:
  groups:
    - name: rules
      rules:
        - {alert: Down, expr: up == 0, for: 5m}
---
apiVersion: monitoring.coreos.com/v1alpha1
kind: ScrapeConfig
metadata: {name: broker}
spec:
  jobName: broker
  dnsSDConfigs:
    - {names: [broker], type: A, port: 15692}
"""


class Manifests:
    """The objects, each of which a test may spoil."""

    def __init__(self) -> None:
        self.documents: list[Document] = list(yaml.safe_load_all(OBJECTS))
        self.deployment, self.secret, self.budget, self.policy, self.scaler, *monitoring = self.documents
        self.monitor, self.alerts, self.scrape = monitoring
        self.pod: dict[str, Any] = self.deployment["spec"]["template"]["spec"]
        self.container: dict[str, Any] = self.pod["containers"][0]
        self.triggers: list[dict[str, Any]] = self.scaler["spec"]["triggers"]

    @property
    def problems(self) -> list[str]:
        """What schemas say, else what rules say."""
        return [each for document in self.documents for each in violations(document)] or [
            *(each for rule in rules.RULES for each in rule(self.documents)),
            *rules.ends_in_time(self.documents, {"edge": 25}),
            *rules.gives_known_settings(self.documents, frozenset({"SPOOL_DIR", "SPOOL_BUDGET_BYTES"})),
            *rules.scales_by_what_there_is(
                self.documents, frozenset({"chunks"}), frozenset({"jettythunder_bytes"}), 8
            ),
        ]


@pytest.fixture
def manifests() -> Manifests:
    return Manifests()


def test_what_is_right_is_not_refused(manifests: Manifests) -> None:
    assert manifests.problems == []


SPOILED: dict[str, Callable[[Manifests], object]] = {
    # Schemas
    'spec.replicas: "3" is not of type': lambda m: m.deployment["spec"].update(replicas="3"),
    "'readynessProbe' was unexpected": lambda m: m.container.update(readynessProbe={}),
    "metadata: Additional properties": lambda m: m.scaler["metadata"].update(title="edge"),
    'spec.maxReplicaCount: "20" is not of type': lambda m: m.scaler["spec"].update(maxReplicaCount="20"),
    "metadata.value: 16 is not of type": lambda m: m.triggers[0]["metadata"].update(value=16),
    "there is no schema for v1 Pod": lambda m: m.secret.update(kind="Pod"),
    "rules.0.for: ": lambda m: m.alerts["spec"]["groups"][0]["rules"][0].update({"for": "five minutes"}),
    "'exp' was unexpected": lambda m: m.alerts["spec"]["groups"][0]["rules"][0].update(exp="up"),
    "spec.scheme: ": lambda m: m.scrape["spec"].update(scheme="ftp"),
    "'consulSDConfigs' was unexpected": lambda m: m.scrape["spec"].update(consulSDConfigs=[]),
    # Rules
    "its pods may run as root": lambda m: m.pod["securityContext"].update(runAsUser=0),
    "its pods have no seccomp profile": lambda m: m.pod["securityContext"].pop("seccompProfile"),
    "get a token of the cluster": lambda m: m.pod.pop("automountServiceAccountToken"),
    "variables that are named like Services": lambda m: m.pod.pop("enableServiceLinks"),
    "needs readOnlyRootFilesystem: True": lambda m: m.container["securityContext"].pop(
        "readOnlyRootFilesystem"
    ),
    "needs capabilities": lambda m: m.container["securityContext"]["capabilities"].update(drop=[]),
    "has no limit of memory": lambda m: m.container["resources"]["limits"].pop("memory"),
    "requests no CPU or memory": lambda m: m.container["resources"].pop("requests"),
    "has no startupProbe": lambda m: m.container.pop("startupProbe"),
    "its liveness depends on others": lambda m: m.container.update(
        livenessProbe=m.container["readinessProbe"]
    ),
    "its liveness depends on clients": lambda m: m.container["livenessProbe"]["httpGet"].update(port="http"),
    "its start depends on others, and it is restarted after 30 s": lambda m: m.container.update(
        startupProbe=m.container["readinessProbe"]
    ),
    "it takes up to 45 s to end": lambda m: m.pod.update(terminationGracePeriodSeconds=44),
    "sizeLimit needs a fifth more": lambda m: m.pod["volumes"][0]["emptyDir"].update(sizeLimit="1100Mi"),
    "its limit of ephemeral storage": lambda m: m.container["resources"]["limits"].update(
        {"ephemeral-storage": "1280Mi"}
    ),
    "0 PodDisruptionBudgets": lambda m: m.documents.remove(m.budget),
    "2 PodDisruptionBudgets": lambda m: m.documents.append(copy.deepcopy(m.budget)),
    "are not spread over nodes": lambda m: m.pod.pop("topologySpreadConstraints"),
    "No NetworkPolicy denies everything": lambda m: m.documents.remove(m.policy),
    "NetworkPolicy deny-all: it selects no pods": lambda m: m.policy["spec"].update(
        podSelector={"matchExpressions": [{"key": "name", "operator": "NotIn", "values": ["edge"]}]}
    ),
    "0 PodMonitors are for its pods": lambda m: m.monitor["spec"].update(
        selector={"matchLabels": {"name": "gateway"}}
    ),
    "its pods have no port metrics": lambda m: m.monitor["spec"]["podMetricsEndpoints"][0].update(
        port="metrics"
    ),
    "it is scraped without a token": lambda m: m.monitor["spec"]["podMetricsEndpoints"][0].pop(
        "authorization"
    ),
    "KEDA sets its replicas": lambda m: m.deployment["spec"].update(replicas=3),
    "there is no Deployment other": lambda m: m.scaler["spec"]["scaleTargetRef"].update(name="other"),
    "by more than a pod a minute": lambda m: m.scaler["spec"]["advanced"]["horizontalPodAutoscalerConfig"][
        "behavior"
    ]["scaleDown"]["policies"][0].update(value=2),
    "Secret edge: it is named, and not made": lambda m: m.documents.remove(m.secret),
    "no service reads SPOLL_DIR": lambda m: m.container["env"].append({"name": "SPOLL_DIR", "value": "/"}),
    "its value must be 16": lambda m: m.triggers[0]["metadata"].update(value="sixteen"),
    "have in hand are not counted": lambda m: m.triggers[0]["metadata"].update(protocol="amqp"),
    "there is no queue chunk": lambda m: m.triggers[0]["metadata"].update(queueName="chunk"),
    "there is no metric jettythunder_byte.": lambda m: m.triggers[1]["metadata"].update(
        query="jettythunder_byte"
    ),
}


@pytest.mark.parametrize("problem", SPOILED)
def test_what_is_wrong_is_named(manifests: Manifests, problem: str) -> None:
    SPOILED[problem](manifests)
    assert any(problem in each for each in manifests.problems), manifests.problems


def test_a_service_is_asked_what_it_says_to_its_environment(manifests: Manifests) -> None:
    (refused,) = refusals(manifests.documents)
    assert "DATABASE_URL is not set" in refused
    assert "EDGE_URL is not set" in refused
