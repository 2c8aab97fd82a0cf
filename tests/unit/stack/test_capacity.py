"""What `make capacity` computes, of the figures that docs/performance.md has."""

import pytest

from jettythunder_dev.capacity import Load, Plan, compared, costs

NOTHING = Load(0, 0, 0, 0, 0, 0, 0)


def test_every_operation_has_a_cost_of_each_process() -> None:
    for each in costs().values():
        assert {"gateway", "workers", "meter", "provisioning", "PostgreSQL", "RabbitMQ"} <= each.keys()


def test_two_of_each_service_are_the_least() -> None:
    plan = Plan(NOTHING)
    assert [plan.processes(kind) for kind in ("gateway", "meter", "provisioning")] == [2, 2, 2]
    assert plan.workers == 2


def test_ten_times_as_much_takes_ten_times_the_time() -> None:
    load = Load(small_uploads=20, gb_in=0.1, gb_out=0.2, quotas=5, lists=5, links=5, accounts=1)
    assert Plan(load.times(10)).total("gateway") == pytest.approx(10 * Plan(load).total("gateway"))
    assert Plan(load.times(10)).processes("gateway") > Plan(load).processes("gateway")


def test_bytes_need_workers_even_where_they_cost_them_little_time() -> None:
    assert Plan(Load(0, 2, 0, 0, 0, 0, 0)).workers == 10


def test_a_comparison_names_each_need_once() -> None:
    names = [what for what, _, _ in compared(Load())]
    assert len(set(names)) == len(names)
