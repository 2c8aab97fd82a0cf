"""Work that is repeated, and servers that are waited for, on a virtual clock."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from tests.support.virtual_time import now, run_virtually

from jettythunder.errors import ConfigurationError, DatabaseUnavailable
from jettythunder.lifecycle import Periodic, role_of, wait_for

Outcome = float | Exception | None


class Work:
    """Work with an outcome for each run, and None for all others; a run takes ``run_seconds``."""

    def __init__(self, outcomes: Sequence[Outcome] = (), *, run_seconds: float = 0) -> None:
        self.outcomes = list(outcomes)
        self.run_seconds = run_seconds
        self.began: list[float] = []

    async def run(self) -> float | None:
        self.began.append(now())
        await asyncio.sleep(self.run_seconds)
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def runs(
    work: Work,
    *,
    until_seconds: float,
    meanwhile: Callable[[Periodic], Awaitable[None]] | None = None,
    at_start: bool = True,
    rest_factor: float = 0,
    max_backoff_seconds: float = 30,
) -> list[float]:
    """When the runs began, of work that is repeated every ten seconds until then."""

    async def run() -> None:
        periodic = Periodic(
            "tests",
            work.run,
            interval_seconds=10,
            at_start=at_start,
            rest_factor=rest_factor,
            max_backoff_seconds=max_backoff_seconds,
        )
        periodic.start()
        if meanwhile is not None:
            await meanwhile(periodic)
        await asyncio.sleep(until_seconds - now())
        await periodic.close()
        ended = len(work.began)
        await asyncio.sleep(100)
        assert len(work.began) == ended, "it ran after its close"

    run_virtually(run())
    return work.began


def test_the_interval_is_from_the_end_of_a_run_to_the_start_of_the_next() -> None:
    assert runs(Work(), until_seconds=25) == [0, 10, 20]
    assert runs(Work(run_seconds=3), until_seconds=30) == [0, 13, 26]


def test_the_first_run_may_come_after_an_interval() -> None:
    assert runs(Work(), at_start=False, until_seconds=25) == [10, 20]


def test_a_run_may_say_when_the_next_is_due() -> None:
    assert runs(Work([0, 3, None]), until_seconds=20) == [0, 0, 3, 13]


def test_a_run_that_took_long_is_followed_by_a_rest() -> None:
    assert runs(Work(run_seconds=20), rest_factor=2, until_seconds=130) == [0, 60, 120]
    assert runs(Work(run_seconds=1), rest_factor=2, until_seconds=25) == [0, 11, 22]
    assert runs(Work([0, 0, 0], run_seconds=1), rest_factor=2, until_seconds=8) == [0, 3, 6]


def test_failures_are_followed_by_growing_pauses_and_the_work_goes_on() -> None:
    errors = [DatabaseUnavailable(), RuntimeError("a mistake"), ValueError(), DatabaseUnavailable()]
    assert runs(Work(errors), until_seconds=20) == [0, 0.5, 1.5, 3.5, 7.5, 17.5]


def test_a_run_that_succeeds_ends_the_backing_off() -> None:
    work = Work([DatabaseUnavailable(), DatabaseUnavailable(), None, DatabaseUnavailable()])
    assert runs(work, until_seconds=13) == [0, 0.5, 1.5, 11.5, 12.0]


def test_pauses_after_failures_have_a_limit_however_many_there_were() -> None:
    began = runs(Work([DatabaseUnavailable()] * 100), max_backoff_seconds=2, until_seconds=60)
    assert began[:5] == [0, 0.5, 1.5, 3.5, 5.5]
    assert began[-1] - began[-2] == 2


def test_a_run_may_be_asked_for_before_it_is_due() -> None:
    async def meanwhile(periodic: Periodic) -> None:
        await asyncio.sleep(4)
        periodic.run_soon()

    assert runs(Work(), meanwhile=meanwhile, until_seconds=15) == [0, 4, 14]


def test_the_first_run_may_be_asked_for_as_well() -> None:
    async def meanwhile(periodic: Periodic) -> None:
        await asyncio.sleep(4)
        periodic.run_soon()

    assert runs(Work(), at_start=False, meanwhile=meanwhile, until_seconds=15) == [4, 14]


def test_what_is_asked_for_during_a_run_is_run_once_more_right_after_it() -> None:
    async def meanwhile(periodic: Periodic) -> None:
        await asyncio.sleep(1)
        periodic.run_soon()
        periodic.run_soon()

    assert runs(Work(run_seconds=3), meanwhile=meanwhile, until_seconds=17) == [0, 3, 16]


def test_asking_does_not_cut_the_pause_after_a_failure_short() -> None:
    async def meanwhile(periodic: Periodic) -> None:
        await asyncio.sleep(0.2)
        periodic.run_soon()

    assert runs(Work([RuntimeError()]), meanwhile=meanwhile, until_seconds=5) == [0, 0.5]


def test_a_run_under_way_is_cancelled_by_the_close() -> None:
    work = Work(run_seconds=1000)
    assert runs(work, until_seconds=5) == [0]


def test_what_was_never_started_can_be_closed() -> None:
    run_virtually(Periodic("tests", Work().run, interval_seconds=1).close())


def waited(outcomes: Sequence[Exception | str]) -> tuple[object, float]:
    """What waiting for a server came to, and how long it took."""
    left = list(outcomes)

    async def attempt() -> str:
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def run() -> tuple[object, float]:
        try:
            return await wait_for("the server (SERVER_URL)", attempt), now()
        except (SystemExit, Exception) as error:
            return error, now()

    return run_virtually(run())


def test_closing_ends_a_run_that_fails_while_it_is_cancelled() -> None:
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise DatabaseUnavailable

    async def run() -> None:
        periodic = Periodic("test", work, interval_seconds=1)
        periodic.start()
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await periodic.close()

    run_virtually(run())


def test_a_server_that_is_there_is_not_waited_for() -> None:
    assert waited(["open"]) == ("open", 0)


def test_a_server_that_comes_up_late_is_waited_for() -> None:
    assert waited([DatabaseUnavailable()] * 5 + ["open"]) == ("open", 5)


def test_a_server_that_does_not_come_up_ends_the_service_with_a_sentence() -> None:
    ended, seconds = waited([DatabaseUnavailable()] * 30 + ["open"])
    assert isinstance(ended, SystemExit)
    assert str(ended).startswith("Can't reach the server (SERVER_URL): ")
    assert seconds == 29


@pytest.mark.parametrize("error", [ConfigurationError("no such role"), RuntimeError("a mistake")])
def test_what_waiting_does_not_mend_is_raised_at_once(error: Exception) -> None:
    assert waited([error, "open"]) == (error, 0)


def test_a_service_s_role_is_named_after_it() -> None:
    assert role_of("storage-gateway") == "jettythunder_storage_gateway"
