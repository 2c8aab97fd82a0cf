"""The developer stack as a whole: up, down, status."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from jettythunder.signatures import SigningKeys, new_signing_key
from jettythunder_dev.clients import get
from jettythunder_dev.compose import COMPOSE_ROLES, Compose, ComposeRole
from jettythunder_dev.environment import new_secret, read_environment, write_environment
from jettythunder_dev.errors import StackError
from jettythunder_dev.external import VARIABLES, ExternalRole
from jettythunder_dev.layout import find_layout, link_default_folder
from jettythunder_dev.locks import one_at_a_time
from jettythunder_dev.packages import POSTGRES, RABBITMQ, find_postgres, find_rabbitmq, install
from jettythunder_dev.ports import PortAllocator, require_free
from jettythunder_dev.postgres import NativePostgres
from jettythunder_dev.programs import Program, Role
from jettythunder_dev.progress import Reporter, SilentReporter
from jettythunder_dev.rabbitmq import NativeRabbitMQ
from jettythunder_dev.services import (
    GATEWAY,
    Service,
    all_variables,
    service_kinds,
    service_program,
    service_urls,
)
from jettythunder_dev.state import StackState, read_state, write_state
from jettythunder_dev.supervisor import ProcessInfo, Supervisor, end_orphans, find_orphans
from jettythunder_dev.swift import STORAGE_KINDS, NativeSwift, environment_for_tools

ROLE_NAMES = ("postgres", "rabbitmq", "s3")
DEFAULT_WORKERS = 2
DEFAULT_GATEWAY_PORT = 3000
DEFAULT_WEBHOOK_SECRET = "shared_secret_here_123456789"  # noqa: S105 - the contract's example calls send it

# Whose password is kept under this name: the services' role, which is no superuser.
SERVICES_IN_POSTGRES = "postgres-services"

# Below the range from which systems take the ports of outgoing connections.
PREFERRED_PORTS = {
    "postgres": 15432,
    "rabbitmq": 15680,
    "rabbitmq-distribution": 15681,
    "rabbitmq-epmd": 15682,
    "rabbitmq-metrics": 15692,
    "s3": 18080,
    "s3-object": 18081,
    "s3-container": 18082,
    "s3-account": 18083,
}

# Supervisor's states of a program that it does not start again.
FINAL_STATES = frozenset({"FATAL", "EXITED", "UNKNOWN"})

# A server may need another start, after a crash for example; a service whose servers answer and that ends all
# the same has a fault that another start does not repair.
SERVER_STARTS = 3
SERVICE_STARTS = 1

# While waiting: how often the server or service is asked, and how often the process manager.
POLL_SECONDS = 0.1
PROCESS_POLL_SECONDS = 0.5
GENERATED = ("JETTYTHUNDER_MASTER_KEY", "JETTYTHUNDER_INTERNAL_KEY", "JETTYTHUNDER_OPS_TOKEN")
SIGNING_KEYS, VERIFYING_KEYS = "JETTYTHUNDER_SIGNING_KEYS", "JETTYTHUNDER_VERIFYING_KEYS"


@dataclass(frozen=True)
class StackOptions:
    """What is wanted of a stack.

    `kinds` are the services to start, the gateway among them: all by default, and none for the servers alone.
    `environment` is the user's, `os.environ` by default. `gateway_port` and `workers` default to GATEWAY_PORT
    and to what ran before. With `first_port` all ports are taken from there upwards, the gateway's too.
    `autorestart=False` does not start a program again that has ended, for tests that kill. With
    `broker_metrics` a native RabbitMQ can be scraped by Prometheus, on the port `rabbitmq-metrics`.
    `fsync=False` is for data that need not outlive the machine: a native PostgreSQL waits for no disk.
    """

    data_dir: Path | None = None
    workers: int | None = None
    kinds: Collection[str] | None = None
    gateway_port: int | None = None
    first_port: int | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    cache_dir: Path | None = None
    use_docker: bool = True
    autorestart: bool = True
    broker_metrics: bool = False
    fsync: bool = True
    start_timeout_seconds: float = 90


@dataclass(frozen=True)
class StackSummary:
    """What `up` left running."""

    base_url: str | None
    data_dir: str
    environment_file: str
    logs: str
    workers: int
    already_running: bool
    seconds: float
    ports: dict[str, int]
    roles: dict[str, dict[str, str]]
    services: dict[str, str]


@dataclass(frozen=True)
class StackDown:
    """What `down` ended, and what it left."""

    was_running: bool
    kept: str | None
    removed: str | None


class Stack:
    """One stack, in one data folder."""

    def __init__(self, options: StackOptions, reporter: Reporter | None = None) -> None:
        self.options = options
        self.layout = find_layout(options.data_dir, options.environment)
        self.supervisor = Supervisor(self.layout)
        self._report: Reporter = reporter or SilentReporter()
        self._compose = Compose(self.layout)
        self._started: set[str] = set()
        self.roles: dict[str, Role] = {}

    @property
    def _saved(self) -> dict[str, str]:
        return read_environment(self.layout.environment_file)

    def variables(self) -> dict[str, str]:
        """The environment variables that reach the running stack, as in its env file."""
        return self._saved

    # --- up

    def up(self) -> StackSummary:
        """Start what is not running, change what differs, and wait until everything answers.

        Doing it again is safe. After a StackError it can be repeated too: what was begun is then completed.
        """
        began = time.monotonic()
        link_default_folder(self.layout)
        self.layout.create()
        with self._lock():
            self.layout.check_free_space()
            state = read_state(self.layout.state_file)
            running = self.supervisor.pid() is not None
            if not running and end_orphans(self.layout):
                self._report.note("Ended processes that an interrupted stack had left behind.")
            allocator = PortAllocator(remembered=state.ports, held=state.ports if running else {})
            with closing(allocator):
                services = self._start_everything(state, allocator, running=running)
        return StackSummary(
            base_url=f"http://localhost:{allocator.chosen[GATEWAY]}" if services else None,
            data_dir=str(self.layout.shown),
            environment_file=str(self.layout.shown / "env"),
            logs=str(self.layout.shown / "logs"),
            workers=state.workers,
            already_running=not self._started,
            seconds=round(time.monotonic() - began, 1),
            ports=dict(allocator.chosen),
            roles=state.roles,
            services={service.name: service.url for service in services},
        )

    def _start_everything(
        self, state: StackState, allocator: PortAllocator, *, running: bool
    ) -> list[Service]:
        roles = self._choose_roles(state, allocator)
        self.roles = {role.name: role for role in roles}
        services = self._choose_services(state, allocator, running=running)
        state.ports = {**state.ports, **allocator.chosen}
        state.workers = sum(service.kind.scales for service in services) or state.workers
        state.roles = {role.name: {"source": role.source, "description": role.describe()} for role in roles}
        write_state(self.layout.state_file, state)

        self._in_parallel([partial(self._prepare, role) for role in roles])
        variables = self._write_variables(roles, services, allocator.chosen.get(GATEWAY))
        programs = [program for role in roles for program in role.programs()]
        programs += self._service_programs(services, variables, allocator)
        self._run_process_manager(programs, running=running)
        self._in_parallel([partial(self._start_role, role) for role in roles])
        if services:
            self._deploy_steps(variables)
        self._in_parallel([partial(self._start_service, service) for service in services])

        state.processes = {info.name: info.pid for info in self.supervisor.processes()}
        write_state(self.layout.state_file, state)
        return services

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One command at a time per data folder."""
        with (self.layout.run / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StackError(
                    f"Another `jettythunder stack` command is at work in {self.layout.shown}: wait for its "
                    "end, and repeat."
                ) from error
            yield

    def _preferred(self, usual_port: int) -> int:
        return self.options.first_port or usual_port

    def _choose_roles(self, state: StackState, allocator: PortAllocator) -> list[Role]:
        """Each role where the user pointed us, else in Docker, else native; what is missing is installed."""
        external = {name: self._external_role(name, state) for name in ROLE_NAMES}
        wanted = [name for name in ROLE_NAMES if external[name] is None]
        in_docker = self._docker_roles(wanted, state, allocator)
        native = [name for name in wanted if name not in in_docker]
        self._install_missing(native)
        return [
            external[name] or in_docker.get(name) or self._native_role(name, state, allocator)
            for name in ROLE_NAMES
        ]

    def _install_missing(self, native: list[str]) -> None:
        with one_at_a_time(Path(tempfile.gettempdir()) / f"jettythunder-install-{os.getuid()}.lock"):
            missing = [
                package
                for name, package, found in (
                    ("postgres", POSTGRES, find_postgres),
                    ("rabbitmq", RABBITMQ, find_rabbitmq),
                )
                if name in native and found() is None
            ]
            if missing:
                with self._report.step(f"Install {' and '.join(package.title for package in missing)}"):
                    install(missing, self._report.note)

    def _external_role(self, name: str, state: StackState) -> Role | None:
        """The user's own server, where the environment names one that answers."""
        environment = self.options.environment
        address = VARIABLES[name][0]
        is_ours = environment.get(address) == self._saved.get(address) and state.source(name) != "external"
        if not environment.get(address) or is_ours:
            return None
        role = ExternalRole(name, environment)
        if missing := role.missing():
            self._report.warn(
                f"{address} is set without {', '.join(missing)}: the stack starts its own server."
            )
            return None
        try:
            role.ping()
        except Exception as error:  # whatever keeps it from answering, ours takes its place
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            self._report.warn(
                f"{address} is set but nothing usable answers there ({reason}): the stack starts its own "
                "server."
            )
            return None
        return role

    def _docker_roles(
        self, wanted: list[str], state: StackState, allocator: PortAllocator
    ) -> dict[str, ComposeRole]:
        """The wanted roles as containers, where an engine answers and their data is not native already."""
        candidates = [name for name in wanted if name in COMPOSE_ROLES and state.source(name) != "native"]
        if not candidates or not self.options.use_docker or not self._compose.engine_answers():
            return {}
        return {
            name: ComposeRole(
                name,
                compose=self._compose,
                port=allocator.choose(name, self._preferred(PREFERRED_PORTS[name])),
                password=state.password(name),
                services_password=state.password(SERVICES_IN_POSTGRES),
            )
            for name in candidates
        }

    def _native_role(self, name: str, state: StackState, allocator: PortAllocator) -> Role:
        def port(key: str) -> int:
            return allocator.choose(key, self._preferred(PREFERRED_PORTS[key]))

        password = state.password(name)
        if name == "postgres":
            return NativePostgres(
                layout=self.layout,
                port=port("postgres"),
                superuser_password=password,
                password=state.password(SERVICES_IN_POSTGRES),
                fsync=self.options.fsync,
            )
        if name == "rabbitmq":
            return NativeRabbitMQ(
                layout=self.layout,
                port=port("rabbitmq"),
                distribution_port=port("rabbitmq-distribution"),
                epmd_port=port("rabbitmq-epmd"),
                password=password,
                service_passwords={
                    kind.name: state.password(f"rabbitmq-{kind.name}") for kind in service_kinds()
                },
                metrics_port=port("rabbitmq-metrics") if self.options.broker_metrics else None,
            )
        return NativeSwift(
            layout=self.layout,
            ports=[port(key) for key in ("s3", *(f"s3-{kind}" for kind in STORAGE_KINDS))],
            secret=password,
            cache=self.options.cache_dir or self.layout.cache,
        )

    def _choose_services(
        self, state: StackState, allocator: PortAllocator, *, running: bool
    ) -> list[Service]:
        workers = self.options.workers or state.workers or DEFAULT_WORKERS
        wanted = self.options.kinds
        services = []
        for kind in service_kinds():
            if wanted is not None and kind.name not in wanted:
                continue
            if kind.name == GATEWAY:
                port = self._choose_gateway_port(state, allocator, running=running)
                services.append(Service(kind, port))
                continue
            for index in range(1, (workers if kind.scales else 1) + 1):
                key = f"{kind.name}-{index}" if kind.scales else kind.name
                port = allocator.choose(key, self._preferred(kind.port + index - 1))
                services.append(Service(kind, port, index))
        return services

    def _choose_gateway_port(self, state: StackState, allocator: PortAllocator, *, running: bool) -> int:
        """The gateway's address is known to its callers: it is never moved to another port silently."""
        wanted = self.options.gateway_port or int(self.options.environment.get("GATEWAY_PORT") or 0)
        if not wanted and self.options.first_port:
            return allocator.choose(GATEWAY, self.options.first_port)
        wanted = wanted or DEFAULT_GATEWAY_PORT
        if not (running and state.ports.get(GATEWAY) == wanted and self._runs(GATEWAY)):
            require_free(wanted, "GATEWAY_PORT")
        return allocator.fix(GATEWAY, wanted)

    def _runs(self, name: str) -> bool:
        return any(info.name == name for info in self.supervisor.processes())

    def _prepare(self, role: Role) -> None:
        with self._report.step(f"Prepare {role.describe()}"):
            role.prepare()

    def _write_variables(
        self, roles: list[Role], services: list[Service], gateway_port: int | None
    ) -> dict[str, str]:
        """Settle what the services' environments are taken from, and keep it in the env file."""
        saved = self._saved
        user = {name: value for name, value in self.options.environment.items() if saved.get(name) != value}
        variables: dict[str, str] = {}
        for role in roles:
            variables |= role.variables()
        port = gateway_port or DEFAULT_GATEWAY_PORT
        defaults = {
            "LYVE_BUCKET_NAME": "agentcache-assets",
            "JETTYTHUNDER_API_URL": f"http://localhost:{port}/api/agentcache",
            "AGENTCACHE_WEBHOOK_SECRET": DEFAULT_WEBHOOK_SECRET,
            "AGENTCACHE_API_URL": "off",
            "JETTYTHUNDER_ENVIRONMENT": "test",
            "LOG_LEVEL": "INFO",
        }
        variables |= {name: user.get(name, default) for name, default in defaults.items()}
        variables |= {name: saved.get(name) or new_secret() for name in GENERATED}
        signing_keys = saved.get(SIGNING_KEYS) or new_signing_key("1")
        variables[SIGNING_KEYS] = signing_keys
        variables[VERIFYING_KEYS] = str(SigningKeys.parse(signing_keys).verifying)
        settable = all_variables() - variables.keys()
        variables |= {name: value for name, value in self.options.environment.items() if name in settable}
        written = {**variables, **service_urls(services), **environment_for_tools(variables)}
        write_environment(self.layout.environment_file, self.layout.shown / "env", written)
        return variables

    def _service_programs(
        self, services: list[Service], variables: dict[str, str], allocator: PortAllocator
    ) -> list[Program]:
        return [
            service_program(
                service,
                gateway_port=allocator.chosen[GATEWAY],
                layout=self.layout,
                shared={**variables, **self._variables_of(service)},
            )
            for service in services
        ]

    def _variables_of(self, service: Service) -> dict[str, str]:
        """What one service reaches the servers by, where that is its own."""
        broker = self.roles["rabbitmq"]
        return broker.variables_of(service.kind.name) if isinstance(broker, NativeRabbitMQ) else {}

    def _run_process_manager(self, programs: list[Program], *, running: bool) -> None:
        self.supervisor.write_config(programs, autorestart=self.options.autorestart)
        if running:
            self.supervisor.reload()
            return
        with self._report.step("Start the process manager"):
            self.supervisor.start()

    def _start_role(self, role: Role) -> None:
        with self._report.step(f"Start {role.describe()}"):
            self.start_role_programs(role)
            role.complete()

    def start_role_programs(self, role: Role) -> None:
        """Start the role's programs where they are not running, and wait until the server answers."""
        programs = role.programs()
        for program in programs:
            self._start_program(program.name)
            if program.listens_on:
                self._wait(partial(_listens, program.listens_on), [program.name], program.name)
        self._wait(partial(_succeeds, role.ping), [program.name for program in programs], role.describe())

    def _start_program(self, name: str) -> None:
        if self.supervisor.start_program(name):
            self._started.add(name)

    def _deploy_steps(self, variables: Mapping[str, str]) -> None:
        """What a deployment does once, with the servers running and before the services start."""
        from jettythunder_migrations import MigrationError, migrate  # noqa: PLC0415 - alembic starts slowly

        with self._report.step("Bring the database's schema up to date"):
            try:
                migrate(variables["DATABASE_URL"])
            except MigrationError as error:
                raise StackError(str(error)) from error

        with self._report.step("Declare the broker's exchanges and queues"):
            declare(variables)

    def _start_service(self, service: Service) -> None:
        with self._report.step(f"Start {service.name} on port {service.port}"):
            self._start_program(service.name)
            self._wait(partial(is_ready, service.url), [service.name], service.name, starts=SERVICE_STARTS)

    def _wait(
        self, condition: Callable[[], bool], programs: list[str], what: str, *, starts: int = SERVER_STARTS
    ) -> None:
        """Wait for the condition; a program that ends instead is a StackError at once, with its last lines.

        `starts` is how many times a program may be started on the way.
        """
        deadline = time.monotonic() + self.options.start_timeout_seconds
        next_process_poll = time.monotonic() + PROCESS_POLL_SECONDS
        seen: dict[str, set[int]] = {name: set() for name in programs}
        while not condition():
            ended = None
            if time.monotonic() > next_process_poll:
                ended = self._ended(seen, starts)
                next_process_poll = time.monotonic() + PROCESS_POLL_SECONDS
            if ended or time.monotonic() > deadline:
                name = ended or (programs[-1] if programs else what)
                log = self.layout.shown / "logs" / f"{name}.log"
                raise StackError(
                    f"{what} {'ended at its start' if ended else 'does not answer'}; its log {log} "
                    f"ends with:\n{self.supervisor.log_tail(name)}"
                )
            time.sleep(POLL_SECONDS)

    def _ended(self, seen: dict[str, set[int]], starts: int) -> str | None:
        """A program that ended for good, or was started too often; `seen` collects the pids of each."""
        for info in self.supervisor.processes():
            if info.name not in seen:
                continue
            seen[info.name] |= {info.pid} if info.pid else set()
            was_last = not info.pid and len(seen[info.name]) >= starts
            if info.state in FINAL_STATES or was_last or len(seen[info.name]) > starts:
                return info.name
        return None

    @staticmethod
    def _in_parallel(works: list[Callable[[], None]]) -> None:
        """Do the works side by side; the first failure is raised when all have ended."""
        if not works:
            return
        with ThreadPoolExecutor(max_workers=len(works)) as pool:
            futures = [pool.submit(work) for work in works]
        for future in futures:
            future.result()

    # --- down and status

    def down(self, *, purge: bool = False) -> StackDown:
        """Stop everything that the stack started; with `purge` remove its data folder as well."""
        if not self.layout.root.exists():
            return StackDown(was_running=False, kept=None, removed=None)
        self.layout.create()
        with self._lock():
            was_running = self.supervisor.pid() is not None
            if was_running:
                with self._report.step("Stop all programs"):
                    self.supervisor.shut_down()
            end_orphans(self.layout)
            if any(self.state().source(name) == "docker" for name in ROLE_NAMES):
                with self._report.step("Stop the containers"):
                    self._compose.down(purge=purge)
            if left := find_orphans(self.layout):
                raise StackError(
                    f"These processes do not end: {', '.join(str(process.pid) for process in left)}. "
                    "End them with `kill -9`, and repeat."
                )
            self.layout.supervisor_socket.unlink(missing_ok=True)
        if not purge:
            return StackDown(was_running=was_running, kept=str(self.layout.shown), removed=None)
        shutil.rmtree(self.layout.root)
        if self.layout.shown.is_symlink():
            self.layout.shown.unlink()
        return StackDown(was_running=was_running, kept=None, removed=str(self.layout.shown))

    def processes(self) -> list[ProcessInfo]:
        """All programs of the running stack; empty where it does not run."""
        return self.supervisor.processes() if self.layout.run.exists() else []

    def state(self) -> StackState:
        """What the stack remembers: ports, roles, workers."""
        return read_state(self.layout.state_file)


def declare(variables: Mapping[str, str]) -> None:
    """Declare the exchanges and queues of all installed services on the broker that these variables name.

    Raises:
        StackError: with the reason.
    """
    from jettythunder.broker.connection import declare_topology  # noqa: PLC0415 - aio_pika starts slowly
    from jettythunder.broker.topology import consumer_queues  # noqa: PLC0415
    from jettythunder.errors import BrokerUnavailable  # noqa: PLC0415
    from jettythunder.settings import BrokerSettings  # noqa: PLC0415

    given: dict[str, Any] = {
        name: variables[name.upper()] for name in BrokerSettings.model_fields if variables.get(name.upper())
    }

    def run() -> None:
        if delays := given.get("retry_delays_seconds"):
            given["retry_delays_seconds"] = json.loads(delays)
        asyncio.run(declare_topology(BrokerSettings(**given), consumer_queues()))

    # In a thread, which has no event loop running, whoever calls.
    with ThreadPoolExecutor(max_workers=1) as thread:
        try:
            thread.submit(run).result()
        except (BrokerUnavailable, ValueError, SystemExit) as error:
            raise StackError(f"The broker's exchanges and queues could not be declared: {error}") from error


def is_ready(base_url: str) -> bool:
    """Whether the service says on /readyz that it and everything it needs is there."""
    try:
        get(f"{base_url}/readyz")
    except OSError:
        return False
    return True


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _succeeds(work: Callable[[], None]) -> bool:
    try:
        work()
    except Exception:  # a server that starts refuses in many ways, all meaning: not yet
        return False
    return True
