"""Every alert that can be made to fire within minutes fires in a real Prometheus, and rests again.

The rules are the deployed ones with shorter windows (compressed_rules.py); what they look at is real.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

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
        """Whether it rests, as it does from its last change on."""
        self.rested_at = history.last_rest(self.alert)
        return self.rested_at is not None

    def __str__(self) -> str:
        assert self.fired_at is not None
        assert self.rested_at is not None
        rested = self.rested_at - self.undone_at
        return (
            f"{self.alert:34} {self.what:46} {self.fired_at - self.began_at:6.1f} s "
            f"{f'{rested:6.1f} s' if rested > 0 else 'by itself'}"
        )


@pytest.fixture
def stage() -> Iterator[Stage]:
    with (
        running_receiver() as receiver,
        watched_stack({**ENVIRONMENT, "AGENTCACHE_WEBHOOK_URL": receiver.url}) as (stack, summary),
    ):
        yield Stage(stack, summary, receiver)


def test_every_alert_fires_and_rests(
    stage: Stage, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert PROGRAM.exists(), "get it with `make alerts-live`"
    history = AlertHistory()
    outcomes: list[Outcome] = []
    targets = targets_of(stage.summary)
    with (
        running_prometheus(
            tmp_path_factory.mktemp("prometheus"),
            port=stage.summary.ports["rabbitmq-metrics"] + 1000,
            targets=targets,
            token=stage.variables["JETTYTHUNDER_OPS_TOKEN"],
            rules=write_compressed_rules(tmp_path_factory.mktemp("rules")),
        ) as prometheus,
        history.watching(prometheus),
        capsys.disabled(),
    ):
        scraped = sum(map(len, targets.values()))
        eventually_sync(
            lambda: len(prometheus.query('up{job!="prometheus"} == 1')) == scraped, timeout_seconds=60
        )
        with ExitStack() as throughout:
            lasting = [_begin(stage, each, throughout) for each in THROUGHOUT]
            for group in GROUPS:
                outcomes += _provoke(stage, history, group)
            _await_firing(history, [each for some in lasting for each in some])
            outcomes += [each for some in lasting for each in some]
        eventually_sync(
            lambda: all([each.rests_by(history) for each in outcomes]), timeout_seconds=RESTING_SECONDS
        )
        print(f"\nWindows are divided by {FACTOR}. Fired after it was provoked, rested after that was undone:")
        print("\n".join(map(str, outcomes)))
        print("\n".join(f"{alert:34} not provoked: {why}" for alert, why in NOT_PROVOKED.items()))


def _provoke(stage: Stage, history: AlertHistory, group: Sequence[Provocation]) -> list[Outcome]:
    """Provoke the alerts of a group when all of them rest, wait until they fire, and undo it."""
    alerts = [alert for each in group for alert in each.alerts]
    eventually_sync(
        lambda: not any(history.is_firing(alert) for alert in alerts), timeout_seconds=RESTING_SECONDS
    )
    with ExitStack() as undone:
        outcomes = [outcome for each in group for outcome in _begin(stage, each, undone)]
        _await_firing(history, outcomes)
    return outcomes


def _begin(stage: Stage, provocation: Provocation, undone: ExitStack) -> list[Outcome]:
    began_at = time.monotonic()
    undone.enter_context(provocation.begin(stage))
    outcomes = [Outcome(alert, provocation.what, began_at) for alert in provocation.alerts]

    def note_end() -> None:
        for outcome in outcomes:
            outcome.undone_at = time.monotonic()

    undone.callback(note_end)
    return outcomes


def _await_firing(history: AlertHistory, outcomes: Sequence[Outcome]) -> None:
    def not_firing() -> list[str]:
        return [each.alert for each in outcomes if not each.is_firing_by(history)]

    def all_fire() -> bool:
        missing = not_firing()
        assert not missing, f"{', '.join(missing)} did not fire"
        return True

    eventually_sync(all_fire, timeout_seconds=FIRING_SECONDS)
