"""What makes each alert fire, on a stack of one's own. Each is undone at the block's end."""

from __future__ import annotations

import os
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from uuid import uuid4
from zlib import crc32

import httpx
import psutil
import psycopg
from tests.observability.signing_up import publish_broken_event, publish_sign_ups
from tests.observability.traffic import Receiver, Tenant
from tests.support.infrastructure import Infrastructure, kill_program
from tests.support.waiting import eventually_sync

from jettythunder_dev.stack import Stack, StackSummary, is_ready

# Settings under which a few calls reach the limits.
CHUNK_BYTES = 6_000_000
SPOOL_BYTES = 60_000_000
CONNECTIONS = 64
ENVIRONMENT = {
    "JETTYSPEED_CHUNK_SIZE_MB": str(CHUNK_BYTES // 1_000_000),
    "SPOOL_BUDGET_BYTES": str(SPOOL_BYTES),
    "UPLOAD_ADMISSION_SECONDS": "0.2",
    "HTTP_MAX_CONNECTIONS": str(CONNECTIONS),
    "HOUSEKEEPING_INTERVAL_SECONDS": "2",
    "USAGE_RECONCILE_SECONDS": "2",
    "USAGE_LATE_ROLLUP_SECONDS": "1",
    "RETRY_DELAYS_SECONDS": "[1, 2, 4]",
    "RATE_LIMIT_MAX_REQUESTS": "1000000",
}

_SECONDS = 60
_STORED_LATE_SECONDS = 6.0
_WAITING_MESSAGES = 1500
_PAUSE_SECONDS = 0.5
_ACCOUNTS = 12


@dataclass
class Stage:
    """A running stack, and what is done to it."""

    stack: Stack
    summary: StackSummary
    receiver: Receiver

    @property
    def variables(self) -> dict[str, str]:
        """What leads to its servers."""
        return self.stack.variables()

    @property
    def servers(self) -> Infrastructure:
        """Its servers."""
        return Infrastructure(self.stack, self.stack.options.first_port or 0)

    @property
    def workers(self) -> list[str]:
        """The chunk-workers' names."""
        return [name for name in self.summary.services if name.startswith("chunk-worker")]

    def tenant(self) -> Tenant:
        """A new account."""
        return Tenant(self.summary.base_url or "", self.variables)

    def pid(self, name: str) -> int:
        """The process of a running program."""
        pid = self.stack.supervisor.process(name).pid
        assert pid is not None, f"{name} does not run"
        return pid

    def start(self, *names: str) -> None:
        """Start services again and wait until they are ready."""
        for name in names:
            self.stack.supervisor.start_program(name)
        for name in names:
            eventually_sync(lambda: is_ready(self.summary.services[name]), timeout_seconds=_SECONDS)  # noqa: B023

    @contextmanager
    def sql(self) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
        """The database, as its owner."""
        with psycopg.connect(self.variables["DATABASE_URL"], autocommit=True) as connection:
            yield connection

    def operate(self, path: str, body: object) -> None:
        """A call of the operators' API."""
        httpx.post(
            f"{self.summary.services['operations']}/admin/{path}",
            headers={"Authorization": f"Bearer {self.variables['JETTYTHUNDER_OPS_TOKEN']}"},
            json=body,
            timeout=_SECONDS,
            trust_env=False,
        ).raise_for_status()


Begin = Callable[[Stage], AbstractContextManager[None]]


@dataclass(frozen=True)
class Provocation:
    """What is done, and the alerts that fire by it."""

    what: str
    alerts: tuple[str, ...]
    begin: Begin


@contextmanager
def consumer_stopped(stage: Stage) -> Iterator[None]:
    """Sign-ups go on coming while nobody makes accounts of them."""
    stage.stack.supervisor.stop_program("provisioning")
    try:
        publish_sign_ups(stage.variables["RABBITMQ_URL"], _WAITING_MESSAGES)
        with _again_and_again(lambda: publish_sign_ups(stage.variables["RABBITMQ_URL"], 10)):
            yield
    finally:
        stage.start("provisioning")


@contextmanager
def workers_killed(stage: Stage) -> Iterator[None]:
    """Uploads fill the spool, which nobody empties; those that come then find no room."""
    # An account is given no more than it leaves free, so it takes many to fill the spool.
    tenants = [stage.tenant() for _ in range(_ACCOUNTS)]
    content = os.urandom(2 * CHUNK_BYTES)
    for name in stage.workers:
        kill_program(stage.stack, name)

    def upload(tenant: Tenant) -> int:
        # A client may give up what was let in, or not read the answer to what was refused.
        with suppress(httpx.TransportError):
            return tenant.upload(os.urandom(16) + content).status_code
        return 0

    with ThreadPoolExecutor(max_workers=2 * _ACCOUNTS) as pool:
        begun = [pool.submit(upload, tenant) for tenant in tenants]
        try:
            with _again_and_again(lambda: begun.append(pool.submit(upload, tenants[0]))):
                yield
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            stage.start(*stage.workers)
    assert httpx.codes.SERVICE_UNAVAILABLE in {each.result() for each in begun if not each.cancelled()}


@contextmanager
def database_stopped(stage: Stage) -> Iterator[None]:
    stage.servers.stop("postgres")
    try:
        yield
    finally:
        stage.servers.start("postgres")


@contextmanager
def broker_stopped(stage: Stage) -> Iterator[None]:
    """An upload of one chunk needs no broker: its event waits."""
    tenant = stage.tenant()
    stage.servers.stop("rabbitmq")
    try:
        tenant.upload(os.urandom(1000)).raise_for_status()
        yield
    finally:
        stage.servers.start("rabbitmq")


@contextmanager
def broker_short_of_memory(stage: Stage) -> Iterator[None]:
    stage.servers.rabbitmqctl("set_vm_memory_high_watermark", "0.000001")
    try:
        yield
    finally:
        stage.servers.rabbitmqctl("set_vm_memory_high_watermark", "0.4")


@contextmanager
def storage_stopped(stage: Stage) -> Iterator[None]:
    """Uploads fail."""
    tenant = stage.tenant()
    stage.servers.stop("s3")
    try:
        with _again_and_again(lambda: tenant.upload(os.urandom(1000))):
            yield
    finally:
        stage.servers.start("s3")


@contextmanager
def storage_slow(stage: Stage) -> Iterator[None]:
    """The storage answers late, again and again."""
    tenant = stage.tenant()
    programs = [stage.pid(program.name) for program in stage.servers.stack.roles["s3"].programs()]
    family = [each for pid in programs for each in _family(pid)]

    def store_late() -> None:
        with ThreadPoolExecutor(max_workers=8) as pool:
            _signal(family, signal.SIGSTOP)
            try:
                uploads = [pool.submit(tenant.upload, os.urandom(1000)) for _ in range(8)]
                threading.Event().wait(_STORED_LATE_SECONDS)
            finally:
                _signal(family, signal.SIGCONT)
            for upload in uploads:
                upload.result()

    with _again_and_again(store_late):
        yield


@contextmanager
def descriptors_used_up(stage: Stage) -> Iterator[None]:
    """The limit is set a little above what is open."""
    pid = stage.pid("provisioning")
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    open_now = psutil.Process(pid).num_fds()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_now + 4, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def connections_used_up(stage: Stage) -> Iterator[None]:
    """Requests whose bodies do not come hold all connections but one, which Prometheus needs now and then."""
    port = int(stage.summary.services["operations"].rpartition(":")[2])
    head = (
        f"POST /admin/replays/dry-run HTTP/1.1\r\nHost: operations\r\nContent-Length: 100\r\n"
        f"Authorization: Bearer {stage.variables['JETTYTHUNDER_OPS_TOKEN']}\r\n"
        "Content-Type: application/json\r\n\r\n"
    ).encode()
    held: list[socket.socket] = []

    def hold(connections: int) -> list[socket.socket]:
        made = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(connections)]
        for connection in made:
            connection.sendall(head)
        return made

    def hold_anew() -> None:
        # A body that does not come is given up after a while.
        for connection in held:
            connection.close()
        held[:] = hold(CONNECTIONS - 1)

    def try_more() -> None:
        with suppress(OSError):
            for connection in hold(5):
                connection.close()

    hold_anew()
    rounds = count(1)
    try:
        with _again_and_again(lambda: hold_anew() if next(rounds) % 20 == 0 else try_more()):
            yield
    finally:
        for connection in held:
            connection.close()


@contextmanager
def right_missing(stage: Stage) -> Iterator[None]:
    """A work that repeats fails each time."""
    with stage.sql() as sql:
        sql.execute("REVOKE DELETE ON uploads FROM jettythunder_storage_gateway")
    try:
        yield
    finally:
        with stage.sql() as sql:
            sql.execute("GRANT DELETE ON uploads TO jettythunder_storage_gateway")


@contextmanager
def event_without_queue(stage: Stage) -> Iterator[None]:
    event_id = uuid4()
    with stage.sql() as sql:
        sql.execute(
            "INSERT INTO outbox (lane, exchange, routing_key, event_id, body)"
            " VALUES (0, 'jettythunder.commands', 'nobody.takes.this', %s, '{}')",
            [event_id],
        )
    try:
        yield
    finally:
        with stage.sql() as sql:
            sql.execute("DELETE FROM outbox_quarantine WHERE event_id = %s", [event_id])


@contextmanager
def dead_letter(stage: Stage) -> Iterator[None]:
    """A message that no version of its schema is."""
    publish_broken_event(stage.variables["RABBITMQ_URL"])
    try:
        yield
    finally:
        stage.operate(
            "dead-letters/discard", {"selection": {"everything": True}, "why": "an alert was tried"}
        )


@contextmanager
def log_kept_shortly(stage: Stage) -> Iterator[None]:
    """More hours are asked for than the event log keeps."""
    with _settings(stage, {"EVENT_LOG_WARN_HOURS": "1000000"}):
        yield


@contextmanager
def webhooks_refused(stage: Stage) -> Iterator[None]:
    """AgentCache answers 503; later it takes those that were retried."""
    stage.receiver.refuses = True
    try:
        stage.tenant().reach_quota()
        yield
    finally:
        stage.receiver.refuses = False


@contextmanager
def bytes_counted_wrong(stage: Stage) -> Iterator[None]:
    account = stage.tenant().account_id
    add = "UPDATE account_usage SET storage_used_bytes = storage_used_bytes + %s WHERE account_id = %s"
    with stage.sql() as sql:
        sql.execute(add, [1000, account])
        try:
            yield
        finally:
            sql.execute(add, [-1000, account])


@contextmanager
def roll_ups_held(stage: Stage) -> Iterator[None]:
    """Another one has the lock of this work, and does nothing."""
    tenant = stage.tenant()
    with psycopg.connect(stage.variables["DATABASE_URL"]) as sql:
        sql.execute("SELECT pg_advisory_xact_lock(%s)", [crc32(b"usage-meter/roll-up")])
        tenant.upload(os.urandom(1000)).raise_for_status()
        yield


# Together what does not disturb each other; one group after the other. What makes many accounts comes last,
# since all of them are reconciled from then on.
GROUPS = (
    (
        Provocation("an event that no queue takes", ("JettyThunderEventsQuarantined",), event_without_queue),
        Provocation("AgentCache refuses webhooks", ("JettyThunderWebhooksNotDelivered",), webhooks_refused),
        Provocation("a counter is changed by hand", ("JettyThunderDrift",), bytes_counted_wrong),
        Provocation("the roll-up's lock is held", ("JettyThunderRollupsLate",), roll_ups_held),
        Provocation("prlimit --nofile", ("JettyThunderDescriptorsShort",), descriptors_used_up),
    ),
    (
        Provocation(
            "requests without bodies on all connections",
            ("JettyThunderConnectionsRefused",),
            connections_used_up,
        ),
    ),
    (Provocation("EVENT_LOG_WARN_HOURS is raised", ("JettyThunderEventLogShort",), log_kept_shortly),),
    (
        Provocation(
            "the object storage stops",
            (
                "JettyThunderStorageUnreachable",
                "JettyThunderAvailabilityFastBurn",
                "JettyThunderAvailabilitySlowBurn",
            ),
            storage_stopped,
        ),
    ),
    (
        Provocation(
            "the object storage hangs 6 s at a time",
            ("JettyThunderStoringFastBurn", "JettyThunderStoringSlowBurn"),
            storage_slow,
        ),
    ),
    (Provocation("RabbitMQ is short of memory", ("JettyThunderBrokerAlarm",), broker_short_of_memory),),
    (Provocation("PostgreSQL stops", ("JettyThunderDatabaseUnreachable",), database_stopped),),
    (
        Provocation(
            "RabbitMQ stops",
            ("JettyThunderBrokerUnreachable", "JettyThunderBrokerNotScraped", "JettyThunderOutboxOld"),
            broker_stopped,
        ),
    ),
    (
        Provocation(
            "both chunk-workers are killed under uploads",
            (
                "JettyThunderServiceMissing",
                "JettyThunderInstanceDown",
                "JettyThunderConsumerMissing",
                "JettyThunderEdgesSilent",
                "JettyThunderNoEdges",
                "JettyThunderSpoolNearlyFull",
                "JettyThunderRoomRefused",
            ),
            workers_killed,
        ),
        Provocation(
            "provisioning stops, sign-ups go on",
            ("JettyThunderQueueGrows",),
            consumer_stopped,
        ),
    ),
)
# Beside all the groups, since they take minutes.
THROUGHOUT = (
    Provocation("a right is revoked", ("JettyThunderWorkLate",), right_missing),
    Provocation(
        "a message that can't be read",
        ("JettyThunderDeadLettersRising", "JettyThunderDeadLettersWaiting"),
        dead_letter,
    ),
)
NOT_PROVOKED = {
    "JettyThunderPartitionsLate": "the work is done once an hour, and six are waited for",
}


@contextmanager
def _settings(stage: Stage, changed: dict[str, str]) -> Iterator[None]:
    """Other settings; the services that read them are started anew, now and at the end."""
    usual = stage.stack.options
    stage.stack.options = replace(usual, environment={**usual.environment, **changed})
    try:
        stage.stack.up()
        yield
    finally:
        stage.stack.options = usual
        stage.stack.up()


@contextmanager
def _again_and_again(work: Callable[[], object]) -> Iterator[None]:
    """Do something in the background while inside; what it raises is raised at the end."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(_PAUSE_SECONDS):
            work()

    with ThreadPoolExecutor(max_workers=1) as pool, ExitStack() as running:
        repeating = pool.submit(repeat)
        running.callback(repeating.result)
        running.callback(ended.set)
        yield


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        process.send_signal(number)
