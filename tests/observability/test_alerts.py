"""Every alert that can be made to fire within minutes fires in a real Prometheus, and rests again.

The rules are the deployed ones with shorter windows (compressed_rules.py); what they look at is real.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from tests.observability.alert_history import AlertHistory
from tests.observability.compressed_rules import FACTOR, write_compressed_rules
from tests.observability.prometheus import PROGRAM, running_prometheus
from tests.observability.provocations import (
    ENVIRONMENT,
    GROUPS,
    NOT_PROVOKED,
    THROUGHOUT,
    Provocation,
    Stage,
)
from tests.observability.traffic import running_receiver
from tests.observability.watched_stack import targets_of, watched_stack
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.alerts, pytest.mark.timeout(1800)]

# A threshold of five minutes, and three intervals of what is waited for, are the longest.
FIRING_SECONDS = 420
RESTING_SECONDS = 300


@dataclass
class Outcome:
    """One alert of one provocation; times are those of ``time.monotonic``."""

    alert: str
    what: str
    began_at: float
    fired_at: float | None = None
    undone_at: float = float("inf")
    rested_at: float | None = None

    def is_firing_by(self, history: AlertHistory) -> bool:
        """Whether it has fired since it was provoked."""
        self.fired_at = history.first(self.alert, is_firing=True, since=self.began_at)
        return self.fired_at is not None

    def rests_by(self, history: AlertHistory) -> bool:
        """Whether it rests; it has no time of that where it did before it was undone."""
        self.rested_at = history.first(self.alert, is_firing=False, since=self.undone_at)
        return not history.is_firing(self.alert)

    def __str__(self) -> str:
        assert self.fired_at is not None
        rested = "before" if self.rested_at is None else f"{self.rested_at - self.undone_at:6.1f} s"
        return f"{self.alert:34} {self.what:46} {self.fired_at - self.began_at:6.1f} s {rested}"


@dataclass
class Run:
    """The stack, its alerts, and what became of those that were provoked."""

    stage: Stage
    history: AlertHistory
    outcomes: list[Outcome] = field(default_factory=list)

    def provoke(self, provocations: Sequence[Provocation]) -> None:
        """Provoke alerts when all of them rest, wait until they fire, and undo it."""
        alerts = [alert for each in provocations for alert in each.alerts]
        eventually_sync(
            lambda: not any(self.history.is_firing(alert) for alert in alerts),
            timeout_seconds=RESTING_SECONDS,
        )
        with ExitStack() as undone:
            outcomes = [outcome for each in provocations for outcome in self.begin(each, undone)]
            self.await_firing(outcomes)

    def begin(self, provocation: Provocation, undone: ExitStack) -> list[Outcome]:
        """Provoke alerts until ``undone`` is closed."""
        began_at = time.monotonic()
        undone.enter_context(provocation.begin(self.stage))
        outcomes = [Outcome(alert, provocation.what, began_at) for alert in provocation.alerts]

        def note_end() -> None:
            for outcome in outcomes:
                outcome.undone_at = time.monotonic()

        undone.callback(note_end)
        self.outcomes += outcomes
        return outcomes

    def await_firing(self, outcomes: Sequence[Outcome]) -> None:
        """Wait until all have fired."""

        def all_fire() -> bool:
            missing = [each.alert for each in outcomes if not each.is_firing_by(self.history)]
            assert not missing, f"{', '.join(missing)} did not fire"
            return True

        eventually_sync(all_fire, timeout_seconds=FIRING_SECONDS)

    def await_rest(self) -> None:
        """Wait until all rest that have fired."""

        def all_rest() -> bool:
            firing = [each.alert for each in self.outcomes if not each.rests_by(self.history)]
            assert not firing, f"{', '.join(firing)} did not rest"
            return True

        eventually_sync(all_rest, timeout_seconds=RESTING_SECONDS)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A stack that Prometheus scrapes, while nothing is wrong with it."""
    assert PROGRAM.exists(), "get it with `make alerts-live`"
    history = AlertHistory()
    with (
        running_receiver() as receiver,
        watched_stack({**ENVIRONMENT, "AGENTCACHE_WEBHOOK_URL": receiver.url}) as (stack, summary),
        running_prometheus(
            tmp_path_factory.mktemp("prometheus"),
            port=summary.ports["rabbitmq-metrics"] + 1000,
            targets=targets_of(summary),
            token=stack.variables()["JETTYTHUNDER_OPS_TOKEN"],
            rules=write_compressed_rules(tmp_path_factory.mktemp("rules")),
        ) as prometheus,
        history.watching(prometheus),
    ):
        scraped = sum(map(len, targets_of(summary).values()))
        eventually_sync(
            lambda: len(prometheus.query('up{job!="prometheus"} == 1')) == scraped, timeout_seconds=60
        )
        yield Run(Stage(stack, summary, receiver), history)


@pytest.fixture(scope="module")
def lasting(run: Run) -> Iterator[tuple[ExitStack, list[Outcome]]]:
    """What is provoked throughout, since it takes minutes."""
    with ExitStack() as undone:
        yield undone, [outcome for each in THROUGHOUT for outcome in run.begin(each, undone)]


@pytest.mark.usefixtures("lasting")
@pytest.mark.parametrize("group", GROUPS, ids=lambda group: ", ".join(each.what for each in group))
def test_alerts_fire(run: Run, group: Sequence[Provocation]) -> None:
    run.provoke(group)


def test_alerts_of_minutes_fire(run: Run, lasting: tuple[ExitStack, list[Outcome]]) -> None:
    undone, outcomes = lasting
    with undone:
        run.await_firing(outcomes)


def test_all_rest(run: Run) -> None:
    run.await_rest()
    print(f"\nWindows are divided by {FACTOR}. Fired after it was provoked, rested after that was undone:")
    print("\n".join(str(each) for each in run.outcomes if each.fired_at is not None))
    print("\n".join(f"{alert:34} not provoked: {why}" for alert, why in NOT_PROVOKED.items()))
