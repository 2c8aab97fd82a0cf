"""Real servers for tests, and the services on top of them.

`running_infrastructure()` gives PostgreSQL, RabbitMQ and S3 in a temporary folder on free ports; `Services`
the services against it. Both are what the session's fixtures of the same names hold. A test that kills
servers takes an infrastructure of its own, so that no other test is affected.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil
import psycopg
from psycopg import sql
from pydantic import SecretStr
from tests.support.containers import Containers, containers_are_possible, running_containers
from tests.support.logs import watched_logs
from tests.support.waiting import eventually_sync

from jettythunder.settings import BrokerSettings
from jettythunder_dev.layout import REPOSITORY, find_layout
from jettythunder_dev.ports import PortAllocator
from jettythunder_dev.services import (
    Service,
    ServiceKind,
    service_command,
    service_environment,
    service_kinds,
)
from jettythunder_dev.stack import Stack, StackOptions, declare, is_ready
from jettythunder_migrations import migrate

RoleName = Literal["postgres", "rabbitmq", "s3"]
Kind = Literal["storage-gateway", "provisioning", "usage-meter", "operations", "chunk-worker"]
START_SECONDS = 120

# The chunk-worker's code as an edge and nothing else, which `make up` starts none of.
EDGE = ServiceKind(
    name="edge",
    settings="chunk_worker.settings:EdgeProcessSettings",
    port=3200,
)

# The queues and all that is in them go with the virtual host; the users have their rights in it again after.
_RENEW_BROKER = 'rabbit_vhost:delete(<<"/">>, <<"tests">>), ok = rabbit_definitions:maybe_load_definitions().'

# Far below the ports that systems give to outgoing connections.
PORT_RANGE = range(20000, 30000, 40)


def _own_first_ports() -> Iterator[int]:
    """Each stack of a run starts in a range of its own, so that nobody takes the port of a killed server.

    Each process of a run has a quarter of all ranges, and begins somewhere in it, so that runs side by side
    seldom meet.
    """
    process_number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    own = list(PORT_RANGE[process_number % 4 :: 4])
    begin = random.randrange(len(own))
    return itertools.cycle([*own[begin:], *own[:begin]])


_first_ports = _own_first_ports()


def choose_first_port() -> int:
    """Where the next stack's ports begin."""
    return next(_first_ports)


@dataclass(frozen=True)
class S3Access:
    """What an S3 client needs. The bucket is made by the provisioning service's start."""

    endpoint: str
    region: str
    access_key_id: str
    secret_access_key: str
    bucket: str


@dataclass
class Infrastructure:
    """PostgreSQL (its schema up to date), RabbitMQ and S3, running.

    `environment` is what a service is started with: the servers' addresses, keys, tokens and secrets.
    """

    stack: Stack
    first_port: int
    containers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return self.stack.variables()

    @property
    def database_url(self) -> str:
        return self.environment["DATABASE_URL"]

    @property
    def rabbitmq_url(self) -> str:
        return self.environment["RABBITMQ_URL"]

    @property
    def broker(self) -> BrokerSettings:
        """How services read the broker's settings."""
        return BrokerSettings(rabbitmq_url=SecretStr(self.rabbitmq_url))

    @property
    def s3(self) -> S3Access:
        given = self.environment
        return S3Access(
            endpoint=given["LYVE_ENDPOINT"],
            region=given["LYVE_REGION"],
            access_key_id=given["LYVE_ACCESS_KEY_ID"],
            secret_access_key=given["LYVE_SECRET_ACCESS_KEY"],
            bucket=given["LYVE_BUCKET_NAME"],
        )

    def kill(self, role: RoleName) -> None:
        """SIGKILL the server's processes and wait until they are gone. It stays away until `start`."""
        if role in self.containers:
            self.containers[role].kill()
            return
        for program in self.stack.roles[role].programs():
            kill_program(self.stack, program.name)

    def stop(self, role: RoleName) -> None:
        """Stop the server as an operator does, and wait for its end. It stays away until `start`."""
        if role in self.containers:
            self.containers[role].stop()
            return
        for program in reversed(self.stack.roles[role].programs()):
            self.stack.supervisor.stop_program(program.name)

    def start(self, role: RoleName) -> None:
        """Start the server again, with its data and on its port, and wait until it answers."""
        if role in self.containers:
            self.containers[role].start()
        self.stack.start_role_programs(self.stack.roles[role])

    def rabbitmqctl(self, *arguments: str) -> None:
        """Run the broker's own tool against its node."""
        if "rabbitmq" in self.containers:
            done = self.containers["rabbitmq"].exec_run(["rabbitmqctl", *arguments])
            assert done.exit_code == 0, done.output
            return
        node = next(each for each in self.stack.roles["rabbitmq"].programs() if each.name == "rabbitmq")
        tool = Path(node.command[0]).with_name("rabbitmqctl")
        environment = {**os.environ, **node.environment}
        subprocess.run(
            [tool, *arguments], env=environment, check=True, capture_output=True, timeout=START_SECONDS
        )

    def empty_database(self) -> AbstractContextManager[str]:
        """A database without tables, by its URL; it is dropped afterwards."""
        return empty_database(self.database_url)

    def end_services(self) -> None:
        """SIGKILL the services that were started on these servers, and forget them."""
        servers = {program.name for role in self.stack.roles.values() for program in role.programs()}
        running = {info.name: info.pid for info in self.stack.supervisor.processes() if info.pid}
        services = [psutil.Process(pid) for name, pid in running.items() if name not in servers]
        for service in services:
            with suppress(psutil.NoSuchProcess):
                service.kill()
        psutil.wait_procs(services, timeout=10)
        self.stack.up()

    def restore(self) -> None:
        """Start every server that was stopped or killed, and wait until it answers."""
        for role in self.stack.roles.values():
            self.stack.start_role_programs(role)

    def renew(self) -> None:
        """Empty the database, the broker and the storage, and make in them what a new infrastructure has."""
        for each in (self.stack.layout.s3 / "node" / "d1").iterdir():
            shutil.rmtree(each)
        self.rabbitmqctl("eval", _RENEW_BROKER)
        with psycopg.connect(_beside(self.database_url, "postgres"), autocommit=True) as connection:
            _drop_database(connection, self.database_url.rpartition("/")[2])
        self.stack.roles["postgres"].complete()
        migrate(self.database_url)
        declare(self.environment)


@contextmanager
def empty_database(database_url: str) -> Iterator[str]:
    """A database without tables beside this one, by its URL; it is dropped afterwards."""
    name = f"test_{random.getrandbits(64):x}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield _beside(database_url, name)
        finally:
            _drop_database(connection, name)


def _drop_database(connection: psycopg.Connection[Any], name: str) -> None:
    """Drop a database, with the connections that are left to it."""
    drop = sql.SQL("DROP DATABASE {}").format(sql.Identifier(name))
    try:
        # Ends autovacuum workers too, which a user who is no superuser may not end by force.
        connection.execute(drop)
    except psycopg.errors.ObjectInUse:
        connection.execute(drop + sql.SQL(" WITH (FORCE)"))


def _beside(database_url: str, name: str) -> str:
    """The URL of another database of the same server."""
    return f"{database_url.rpartition('/')[0]}/{name}"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's user may enter too; removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="jettythunder-", dir=os.environ.get("JETTYTHUNDER_TEST_DIR")))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_infrastructure(
    *,
    migrated: bool = True,
    declared: bool = True,
    fsync: bool = True,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Infrastructure]:
    """Servers in a temporary folder, ended and removed afterwards.

    The database has no tables unless it is `migrated`, and the broker is empty unless `declared`. `variables`
    lead to servers that run already, such as a DATABASE_URL: they are used in the place of new ones. What is
    measured has `fsync`, as production has; without it a native PostgreSQL does not wait for the disk, and a
    commit still outlives the server.

    PostgreSQL and RabbitMQ are containers where a Docker engine answers and has the images, else native. The
    S3 server is native always. JETTYTHUNDER_TEST_DIR names another folder for the temporary ones, for example
    where /tmp keeps no extended attributes. The shell's DATABASE_URL and the like are never used.
    """
    first_port = choose_first_port()
    with ExitStack() as running:
        folder = running.enter_context(temporary_folder())
        containers = Containers({}, {})
        if containers_are_possible():
            allocator = running.enter_context(closing(PortAllocator(remembered={}, held={})))
            containers = running.enter_context(
                running_containers(
                    postgres_port=allocator.choose("postgres", first_port),
                    rabbitmq_port=allocator.choose("rabbitmq", first_port),
                )
            )
        stack = Stack(
            StackOptions(
                data_dir=folder / "stack",
                kinds=(),
                first_port=first_port,
                environment={**containers.variables, **(variables or {})},
                cache_dir=find_layout(None, {}).cache,
                use_docker=False,
                autorestart=False,
                fsync=fsync,
            )
        )
        watched_logs.watch(stack.layout.logs)
        running.callback(stack.down)
        stack.up()
        infrastructure = Infrastructure(stack, first_port, containers.by_role)
        if migrated:
            migrate(infrastructure.database_url)
        if declared:
            declare(infrastructure.environment)
        yield infrastructure


class IdleServers:
    """Servers that are borrowed by those who must have them alone, one after the other.

    Starting them takes many seconds; those that come back are as good as new for the next borrower.
    """

    def __init__(self) -> None:
        self._idle: list[Infrastructure] = []
        self._running = ExitStack()

    @contextmanager
    def borrowed(self) -> Iterator[Infrastructure]:
        """Servers that nobody else uses, with nothing in them. The services started on them end with it."""
        if self._idle:
            infrastructure = self._idle.pop()
            infrastructure.renew()
        else:
            infrastructure = self._running.enter_context(running_infrastructure(fsync=False))
        yield infrastructure
        infrastructure.end_services()
        if not infrastructure.containers:
            self._idle.append(infrastructure)

    def end(self) -> None:
        """End all of them."""
        self._running.close()


@dataclass
class Services:
    """Services that run against an infrastructure, of the kinds and with as many chunk-workers as asked for.

    `urls` leads to each by its name: storage-gateway, provisioning, usage-meter, chunk-worker-1 …
    A service that was killed stays away until `start`.
    """

    infrastructure: Infrastructure
    stack: Stack
    urls: dict[str, str]

    @property
    def base_url(self) -> str:
        """The gateway, as callers reach it."""
        return self.urls["storage-gateway"]

    @property
    def environment(self) -> dict[str, str]:
        """The environment that the services were started with."""
        return self.stack.variables()

    @property
    def names(self) -> list[str]:
        return list(self.urls)

    def pid(self, name: str) -> int:
        """The process of a running service."""
        pid = self.stack.supervisor.process(name).pid
        assert pid is not None, f"{name} does not run"
        return pid

    def kill(self, name: str) -> None:
        """SIGKILL the service and wait until it is gone."""
        kill_program(self.stack, name)

    def stop(self, name: str) -> None:
        """SIGTERM the service and wait for its orderly end."""
        self.stack.supervisor.stop_program(name)

    def start(self, name: str) -> None:
        """Start the service again and wait until it is ready."""
        self.stack.supervisor.start_program(name)
        eventually_sync(lambda: is_ready(self.urls[name]), timeout_seconds=START_SECONDS)

    def log(self, name: str) -> str:
        """Everything the service has written."""
        return (self.stack.layout.logs / f"{name}.log").read_text(errors="replace")


def start_services(
    infrastructure: Infrastructure,
    *,
    kinds: Collection[Kind] | None = None,
    workers: int = 2,
    environment: Mapping[str, str] | None = None,
) -> Services:
    """Start services and wait until they are ready. They end with the infrastructure.

    `kinds` are those that a test needs, the gateway among them; all five by default. `environment` adds to
    the services' variables, such as limits that a test can reach.
    """
    options = infrastructure.stack.options
    told = {**options.environment, **(environment or {})}
    stack = Stack(
        StackOptions(
            data_dir=options.data_dir,
            kinds=kinds,
            workers=workers,
            first_port=infrastructure.first_port,
            environment=told,
            cache_dir=find_layout(None, {}).cache,
            use_docker=False,
            autorestart=False,
            fsync=options.fsync,
        )
    )
    summary = stack.up()
    return Services(infrastructure, stack, summary.services)


def kill_program(stack: Stack, name: str) -> None:
    """SIGKILL a program with all its processes and wait until they are gone and supervisord knows."""
    pid = stack.supervisor.process(name).pid
    assert pid is not None, f"{name} does not run"
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    eventually_sync(lambda: stack.supervisor.process(name).pid is None)
    psutil.wait_procs(family, timeout=10)


@dataclass
class RunningService:
    """A service process that a test started by itself, outside the process manager."""

    name: str
    url: str
    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.process.kill()
        self.process.wait()

    def terminate(self, timeout_seconds: float = 30) -> int:
        """SIGTERM; returns the exit code once the service has ended, or raises subprocess.TimeoutExpired."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_seconds)

    def wait_for_end(self, timeout_seconds: float = 30) -> int:
        """The exit code of a service that ends by itself."""
        return self.process.wait(timeout_seconds)

    def wait_until_ready(self, timeout_seconds: float = START_SECONDS) -> None:
        """Wait for /readyz; a service that ends instead is an AssertionError with its log."""

        def ready() -> bool:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{self.log()}")
            return is_ready(self.url)

        eventually_sync(ready, timeout_seconds=timeout_seconds)

    def log(self) -> str:
        """Everything the service has written."""
        return self.log_file.read_text(errors="replace")


class ServiceStarter:
    """Starts service processes for one test and ends them with it; the `start_service` fixture."""

    def __init__(self, infrastructure: Infrastructure, folder: Path) -> None:
        self._infrastructure = infrastructure
        self._folder = folder
        self._started: list[RunningService] = []
        self._allocator = PortAllocator(remembered={}, held={})
        watched_logs.watch(folder)

    def __call__(
        self,
        kind: str,
        env: Mapping[str, str | None] | None = None,
        *,
        gateway_url: str | None = None,
        wait: bool = True,
    ) -> RunningService:
        """Start one process of `storage-gateway`, `provisioning`, `chunk-worker`, `usage-meter` or `edge`.

        `env` adds to or overrides the infrastructure's environment; None takes a variable away. `gateway_url`
        is the gateway whose address the service gets, itself by default. With `wait=False` it returns at
        once, for services that are meant to refuse to start. It consumes from the same queues as the
        session's `services`, wherever both run.
        """
        known = {service.name: service for service in (*service_kinds(), EDGE)}
        number = len(self._started) + 1
        first_port = self._infrastructure.first_port
        service = Service(
            known[kind], self._allocator.choose(f"{kind}-{number}", first_port + 20), 100 + number
        )
        given = service_environment(
            service,
            gateway_port=service.port,
            layout=self._infrastructure.stack.layout,
            shared=self._infrastructure.environment,
        )
        spool = self._folder / f"spool-{number}"
        spool.mkdir()
        own = {"SPOOL_DIR": str(spool), "GATEWAY_INTERNAL_URL": gateway_url or service.url}
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        wanted = {**inherited, **given, **own, **(env or {})}
        log_file = self._folder / f"{kind}-{number}.log"
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                service_command(known[kind], service.port),
                cwd=REPOSITORY,
                env={name: value for name, value in wanted.items() if value is not None},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        started = RunningService(f"{kind}-{number}", service.url, process, log_file)
        self._started.append(started)
        if wait:
            started.wait_until_ready()
        return started

    def end(self) -> None:
        """End what still runs, at once: the test is over."""
        for service in self._started:
            if service.process.poll() is None:
                service.kill()
        self._allocator.close()
