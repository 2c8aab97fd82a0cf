"""How the tests are shared among processes (`pytest -n`): those that share servers stay together."""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling

# Whose tests use the session's services, which are started in one process so.
ON_THE_SESSIONS_SERVICES = (
    "tests/integration/storage_gateway",
    "tests/e2e",
    "tests/hostile",
    "tests/integration/operations/with_services",
)

# By how long they take, so that in the end no process works on while the others are done; the rest is short.
LONG_FOLDERS = (
    *ON_THE_SESSIONS_SERVICES,
    "tests/integration/jettyspeed",
    "tests/integration",
    "tests/chaos",
    "tests/conformance",
    "tests/integration/messaging",
    "tests/integration/edges",
    "tests/integration/tracing",
    "tests/integration/usage_meter",
    "tests/integration/operations",
)


class ByFolder(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """A folder's tests run in one process, the folders in the order of their tests.

    The folders on the session's services count as one.
    """

    def _split_scope(self, nodeid: str) -> str:
        folder = folder_of(nodeid)
        return "services" if folder in ON_THE_SESSIONS_SERVICES else folder


def folder_of(nodeid: str) -> str:
    return nodeid.partition("::")[0].rpartition("/")[0]


def put_long_ones_first(items: list[pytest.Item]) -> None:
    """Sort the tests by LONG_FOLDERS; within a folder they stay in their order."""
    ranks = {folder: rank for rank, folder in enumerate(LONG_FOLDERS)}
    items.sort(key=lambda item: ranks.get(folder_of(item.nodeid), len(ranks)))
