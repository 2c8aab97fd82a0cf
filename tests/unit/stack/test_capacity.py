"""What `make capacity` computes, of the figures that docs/performance.md has."""

import pytest
import yaml

from jettythunder_dev.capacity import MEMORY, Load, Plan, compared, costs
from jettythunder_dev.layout import REPOSITORY

NOTHING = Load(0, 0, 0, 0, 0, 0, 0)


def test_every_operation_has_a_cost_of_each_process() -> None:
    for each in costs().values():
        assert {"gateway", "workers", "meter", "provisioning", "PostgreSQL", "RabbitMQ"} <= each.keys()


def test_two_of_each_service_are_the_least() -> None:
    assert set(Plan(NOTHING).processes().values()) == {2}


def test_ten_times_as_much_takes_ten_times_the_time() -> None:
    load = Load(small_uploads=20, gb_in=0.1, gb_out=0.2, quotas=5, lists=5, links=5, accounts=1)
    assert Plan(load.times(10)).total("gateway") == pytest.approx(10 * Plan(load).total("gateway"))
    assert Plan(load.times(10)).processes()["gateway"] > Plan(load).processes()["gateway"]


def test_bytes_need_workers_even_where_they_cost_them_little_time() -> None:
    assert Plan(Load(0, 2, 0, 0, 0, 0, 0)).processes()["workers"] == 10


def test_memory_is_what_the_manifests_allow() -> None:
    names = {"gateway": "storage-gateway", "workers": "chunk-worker", "meter": "usage-meter"}
    for kind, gib in MEMORY.items():
        text = (REPOSITORY / f"deploy/kubernetes/base/{names.get(kind, kind)}.yaml").read_text()
        deployment = next(each for each in yaml.safe_load_all(text) if each["kind"] == "Deployment")
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        limit = container["resources"]["limits"]["memory"]
        assert limit in (f"{gib}Gi", f"{gib * 1024:.0f}Mi")


def test_a_comparison_names_each_need_once() -> None:
    names = [what for what, _, _ in compared(Load())]
    assert len(set(names)) == len(names)
