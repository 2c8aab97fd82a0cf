"""How the tests are shared among processes (`pytest -n`): those that share servers stay together."""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling

# Short folders whose tests use the session's services, which are started for them once so.
ON_THE_SESSIONS_SERVICES = (
    "tests/e2e",
    "tests/hostile",
    "tests/integration/operations/with_services",
)

# By how long they take, so that in the end no process works on while the others are done; the rest is short.
LONG_FOLDERS = (
    "tests/integration/storage_gateway",
    "tests/integration/jettyspeed",
    "tests/integration/usage_meter",
    "tests/conformance",
    "tests/integration/messaging",
    "tests/integration",
    *ON_THE_SESSIONS_SERVICES,
    "tests/integration/operations",
    "tests/integration/edges",
    "tests/chaos",
    "tests/integration/provisioning",
    "tests/integration/chunk_worker",
    "tests/integration/storage",
    "tests/unit/jettythunder_cdn",
    "tests/unit/shared",
    "tests/unit/cli",
    "tests/integration/tracing",
    "tests/unit/tracing",
    "tests/distributions",
)


class ByFolder(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """A folder's tests run in one process, the folders in the order of their tests.

    The short folders on the session's services count as one.
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
