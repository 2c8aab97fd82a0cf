"""The fixtures that every test may use. None of them starts a server unless a test asks for it.

- `infrastructure` (session): PostgreSQL with the schema, RabbitMQ, S3. `.database_url`, `.rabbitmq_url`,
  `.s3`, `.environment`; see tests.support.infrastructure for stopping, killing and starting a server.
- `services` (session): the five services with two chunk-workers on it. `.base_url`, `.urls`, `.environment`,
  `.kill(name)`, `.start(name)`. What needs fewer, or others, starts its own by
  `start_services(infrastructure, kinds=…)` of tests.support.infrastructure.
- `start_service` (test): one more service process with an environment of its own.
- `empty_database` (test): the URL of a database without tables.
- `own_infrastructure` (module): servers that this module alone uses and may kill; empty at its begin.
- `idle_servers` (session): where folders and tests borrow servers of their own: `.borrowed()`.
- `eventually` (session): `await eventually(condition, timeout_seconds=30)`; also importable, with a sync
  twin, from tests.support.waiting.

With `-n` each process has servers of its own, and tests of one folder run in the same process; so do the
short folders that use `services` (tests.support.distribution).

A failed test's report shows what the servers and services wrote to their logs while it ran.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import structlog
from tests.support import waiting
from tests.support.logs import watched_logs

if TYPE_CHECKING:
    from tests.support.distribution import ByFolder
    from tests.support.infrastructure import IdleServers, Infrastructure, Services, ServiceStarter


def pytest_configure() -> None:
    # A busy machine holds up any example for longer than the 200 ms that one may take by default.
    hypothesis.settings.register_profile(
        "tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("tests")
    # The default rendering of a traceback shows all local variables, which takes a test's loop for seconds.
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.stdlib.add_log_level, plain])


@pytest.fixture(scope="session")
def infrastructure() -> Iterator[Infrastructure]:
    """The session's servers: the one place that chooses between containers and native ones."""
    from tests.support.infrastructure import running_infrastructure

    with running_infrastructure(fsync=False) as running:
        yield running


@pytest.fixture(scope="session")
def idle_servers() -> Iterator[IdleServers]:
    """Servers beside the session's: `with idle_servers.borrowed() as …` for who needs some alone."""
    from tests.support.infrastructure import IdleServers

    idle = IdleServers()
    yield idle
    idle.end()


@pytest.fixture(scope="module")
def own_infrastructure(idle_servers: IdleServers) -> Iterator[Infrastructure]:
    """Servers that this module has alone, for tests that take them away."""
    with idle_servers.borrowed() as borrowed:
        yield borrowed


@pytest.fixture(scope="session")
def services(infrastructure: Infrastructure) -> Services:
    """The session's services, ready; they end with the servers."""
    from tests.support.infrastructure import start_services

    # Looking once more for what landed late would change rows amid tests that compare them.
    return start_services(infrastructure, environment={"LATE_WRITE_SECONDS": "86400"})


@pytest.fixture
def start_service(infrastructure: Infrastructure, tmp_path: Path) -> Iterator[ServiceStarter]:
    """A function that starts one more service process: `start_service("chunk-worker", {"EDGE_ID": "x"})`."""
    from tests.support.infrastructure import ServiceStarter

    starter = ServiceStarter(infrastructure, tmp_path)
    yield starter
    starter.end()


@pytest.fixture
def empty_database(infrastructure: Infrastructure) -> Iterator[str]:
    """The URL of a database without tables, dropped after the test."""
    with infrastructure.empty_database() as url:
        yield url


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """Wait for a condition: `value = await eventually(condition, timeout_seconds=30)`."""
    return waiting.eventually


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFolder:
    from tests.support.distribution import ByFolder

    config.option.loadscopereorder = False
    return ByFolder(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        from tests.support.distribution import put_long_ones_first

        put_long_ones_first(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    watched_logs.mark()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections += [(f"log of {name}", text) for name, text in watched_logs.written()]
    return report
