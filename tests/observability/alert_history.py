"""When alerts fired and rested, as seen by asking Prometheus again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from tests.observability.prometheus import Prometheus

_PAUSE_SECONDS = 0.25


class AlertHistory:
    """The changes of each alert since :meth:`watching` began; times are those of ``time.monotonic``."""

    def __init__(self) -> None:
        self._changes: dict[str, list[tuple[float, bool]]] = {}

    def is_firing(self, alert: str) -> bool:
        """Whether it fires now."""
        return self._changes.get(alert, [(0.0, False)])[-1][1]

    def first(self, alert: str, *, is_firing: bool, since: float) -> float | None:
        """When it first was so since then; None where it was not."""
        at = [moment for moment, state in self._changes.get(alert, ()) if state is is_firing]
        return next((moment for moment in at if moment >= since), None)

    @contextmanager
    def watching(self, prometheus: Prometheus) -> Iterator[None]:
        """Ask in the background while inside."""
        ended = threading.Event()

        def ask() -> None:
            while not ended.wait(_PAUSE_SECONDS):
                try:
                    self._note(prometheus)
                except httpx.HTTPError:
                    continue

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        try:
            yield
        finally:
            ended.set()
            asking.join()

    def _note(self, prometheus: Prometheus) -> None:
        now = time.monotonic()
        for rule in prometheus.rules():
            if rule["type"] == "alerting":
                changes = self._changes.setdefault(rule["name"], [(now, False)])
                is_firing = rule["state"] == "firing"
                if changes[-1][1] is not is_firing:
                    changes.append((now, is_firing))
