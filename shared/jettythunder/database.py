"""The database boundary: connections, transactions, and typed queries from named SQL blocks.

This is the only module that knows asyncpg. What PostgreSQL answers is translated once, here:

* :class:`DatabaseUnavailable`: the server can't be reached, is starting or stopping, is full, out of memory
  or read-only. The statement had no effect, or none that is known.
* :class:`DatabaseTimedOut`: the server works, and this statement took longer than it may.
* :class:`DatabaseConflict`: another transaction was in the way.
* :class:`InvalidField`: the statement was given a value that PostgreSQL can't store.
* :class:`EventTooOld`: the row belongs to a month whose partition was dropped.

Anything else is a mistake in the code and passes through.
"""

import asyncio
import contextlib
import dataclasses
import enum
import operator
import re
import typing
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from importlib import resources
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

import aiosql
import asyncpg
from aiosql.types import QueryFn

from jettythunder import tracing
from jettythunder.database_urls import one_for_each_host
from jettythunder.errors import (
    ConfigurationError,
    DatabaseConflict,
    DatabaseTimedOut,
    DatabaseUnavailable,
    EventTooOld,
    InvalidField,
)
from jettythunder.slots import Turns

Row = TypeVar("Row")
Isolation = Literal["read_committed", "repeatable_read", "serializable"]

_Record: TypeAlias = asyncpg.Record
_Raw: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
_AtHand: TypeAlias = "deque[tuple[_Raw, float]]"

# SQLSTATE classes and codes (https://www.postgresql.org/docs/current/errcodes-appendix.html).
_UNAVAILABLE_CLASSES = ("08", "53", "57", "58")
_READ_ONLY = "25006"
_CANCELED = "57014"
_CONFLICTS = ("40001", "40P01", "23503", "23505", "23P01", "55P03")
_INVALID_VALUE_CLASS = "22"
_CHECK_VIOLATION = "23514"
# What the constraints end with that refuse rows of months whose partition was dropped.
_HORIZON = "_horizon"
_UNFIT = "A value can't be stored: it is out of range, or of a form that the database does not take."

_FIRST_MOMENT = datetime.min.replace(tzinfo=UTC)
_LAST_MOMENT = datetime.max.replace(tzinfo=UTC)

_WRITES_OUTBOX = re.compile(r"\bINSERT\s+INTO\s+outbox\b", re.IGNORECASE)

# asyncpg raises its internal errors too when a connection breaks at an unexpected moment.
_LOST_CONNECTION = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
# What a server raises at a connection that another one may take: it is gone, starts, or is a standby.
_NEXT_SERVER = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TargetServerAttributeNotMatched,
)

_CONNECT_SECONDS = 10.0
_CANCEL_SECONDS = 2.0
_PING_SECONDS = 2.0
_CLOSE_SECONDS = 5.0
# A connection that is not used for so long goes back to the pool, which closes it after as long again.
_UNUSED_SECONDS = 300.0

# Poolers tell the client a process id of their own. One batch without parameters, which reaches a single
# backend: behind a pooler in transaction mode the second half of a prepared statement may reach another.
_REFUSE_POOLER = """
    DO $$ BEGIN
        IF pg_backend_pid() <> {told} THEN
            RAISE EXCEPTION 'connected through a pooler' USING ERRCODE = '{code}';
        END IF;
    END $$
"""
_POOLER = "JT001"
_NO_STARTUP_PARAMETER = "unsupported startup parameter"
_CONNECT_DIRECTLY = (
    "DATABASE_URL leads to a connection pooler such as PgBouncer, which keeps neither the role nor the time "
    "limit that each service sets for its connections: have it lead to PostgreSQL directly, then start "
    "again. Each service keeps a pool of its own (DATABASE_POOL_SIZE)."
)


class Database:
    """A pool of connections to one database.

    Args:
        url: ``postgresql://user:password@host:port/name``. Of several hosts, separated by commas, the one
            that takes writes is used, and after a fail-over its successor.
        name: how the connections are shown in pg_stat_activity.
        role: the PostgreSQL role that every statement runs as; by default the user's own.
        size: the most connections at once.
        acquire_seconds: the longest wait for a free connection.
        statement_seconds: the longest a statement may take.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        role: str | None = None,
        size: int = 10,
        acquire_seconds: float = 5,
        statement_seconds: float = 30,
    ) -> None:
        self._url = url
        self._size = size
        self._acquire_seconds = acquire_seconds
        self._statement_seconds = statement_seconds
        # The server ends a slow statement; a client that waits longer than that waits for a silent server.
        self._settings = {
            "application_name": name,
            "timezone": "UTC",
            # Statements here are short: compiling one takes longer than it saves.
            "jit": "off",
            "statement_timeout": str(round(statement_seconds * 1000)),
            **({"role": role} if role is not None else {}),
        }
        self._pool: asyncpg.Pool[_Record] | None = None
        self._turns = Turns(size, wait_seconds=acquire_seconds)
        # Connections at hand, the one used last at the end, with when that was: to give one back to asyncpg's
        # pool and to take it again costs more than a small statement. All are forgotten by another deque.
        self._at_hand: _AtHand = deque()
        self._on_publish: Callable[[], None] = _do_nothing

    async def open(self) -> None:
        """Connect.

        Raises:
            DatabaseUnavailable: the server can't be reached.
            ConfigurationError: the URL is malformed or leads to a connection pooler, its user may not take
                the role, or the migrations have not made it yet.
        """
        try:
            await self._open()
        except asyncpg.ClientConfigurationError as error:
            raise ConfigurationError(
                f"DATABASE_URL can't be used: {error}. Correct it, then start again."
            ) from error
        except (asyncpg.InvalidParameterValueError, asyncpg.InsufficientPrivilegeError) as error:
            raise ConfigurationError(
                f"The database's user can't take the role {self._settings.get('role')}: run "
                "`jettythunder db migrate`, or have the role granted to the user, then start again."
            ) from error

    async def _open(self) -> None:
        with _translated(self, with_values=False):
            self._pool = await asyncpg.create_pool(
                self._url,
                connect=_Servers(self._url).connect,
                min_size=1,
                max_size=self._size,
                command_timeout=self._statement_seconds + 5,
                reset=_leave,
                server_settings=self._settings,
            )

    async def close(self) -> None:
        """Close all connections; what is still in use after a few seconds is cut off."""
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                at_hand, self._at_hand = self._at_hand, deque()
                for raw, _ in at_hand:
                    with contextlib.suppress(asyncpg.PostgresError, *_LOST_CONNECTION):
                        await pool.release(raw)
                await pool.close()
        except TimeoutError:
            pool.terminate()

    async def ping(self) -> None:
        """Make one round trip.

        Raises:
            DatabaseUnavailable: there was no answer within two seconds. A silent server is waited for two
                more, for it to give up what it was asked.
        """
        try:
            async with asyncio.timeout(_PING_SECONDS), self._acquired() as raw:
                with _translated(self):
                    await raw.fetchval("SELECT 1")
        except TimeoutError as error:
            raise DatabaseUnavailable from error

    def on_publish(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called after each commit of this process that wrote to the outbox."""
        self._on_publish = callback

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator["Connection"]:
        """One connection, outside a transaction: for what belongs to a session, such as advisory locks."""
        async with self._acquired() as raw:
            yield Connection(self, raw)

    @contextlib.asynccontextmanager
    async def transaction(
        self, *, isolation: Isolation = "read_committed", readonly: bool = False
    ) -> AsyncIterator["Connection"]:
        """A connection in a transaction, which is committed at the end or rolled back by an error."""
        async with self._acquired() as raw:
            connection = Connection(self, raw)
            transaction = raw.transaction(isolation=isolation, readonly=readonly)
            with _translated(self):
                await transaction.start()
            try:
                yield connection
            except BaseException:
                # Of a lost connection the server forgets the transaction by itself.
                with contextlib.suppress(asyncpg.PostgresError, *_LOST_CONNECTION):
                    await transaction.rollback()
                raise
            with _translated(self):
                await transaction.commit()
        if connection.wrote_outbox:
            self._on_publish()

    async def fetch(self, statement: "Statement", arguments: Sequence[object]) -> list[_Record]:
        """Run one statement on any connection, in a transaction of its own."""
        # Written out, not through _acquired: this is the path of every small request.
        pool, at_hand = self._opened(), self._at_hand
        with _translated(self):
            raw = await self._acquire(pool)
            try:
                rows = await raw.fetch(statement.sql, *arguments)
            except BaseException:
                await self._release(pool, raw)
                raise
            await self._keep(pool, at_hand, raw)
        if statement.publishes:
            self._on_publish()
        return rows

    @contextlib.asynccontextmanager
    async def _acquired(self) -> AsyncIterator[_Raw]:
        pool, at_hand = self._opened(), self._at_hand
        with _translated(self):
            raw = await self._acquire(pool)
        try:
            yield raw
        except BaseException:
            with _translated(self):
                await self._release(pool, raw)
            raise
        with _translated(self):
            await self._keep(pool, at_hand, raw)

    def _opened(self) -> "asyncpg.Pool[_Record]":
        if self._pool is None:
            raise DatabaseUnavailable("The database is not open, or is being closed.")
        return self._pool

    async def _acquire(self, pool: "asyncpg.Pool[_Record]") -> _Raw:
        # Waited for here, not in the pool, which makes a task and a timer for each acquisition.
        try:
            await self._turns.take()
        except TimeoutError as error:
            raise DatabaseUnavailable(
                f"No database connection became free within {self._acquire_seconds:g} seconds."
            ) from error
        try:
            return await self._take(pool)
        except BaseException as error:
            self._turns.give_back()
            if isinstance(error, TimeoutError):
                raise DatabaseUnavailable from error
            raise

    async def _take(self, pool: "asyncpg.Pool[_Record]") -> _Raw:
        """The connection that was used last of those at hand, or one of the pool."""
        if self._at_hand and asyncio.get_running_loop().time() - self._at_hand[0][1] > _UNUSED_SECONDS:
            unused, _ = self._at_hand.popleft()
            with contextlib.suppress(TimeoutError, asyncpg.PostgresError, *_LOST_CONNECTION):
                await pool.release(unused, timeout=_CANCEL_SECONDS)
        while self._at_hand:
            raw, _ = self._at_hand.pop()
            if _is_open(raw):
                return raw
        return await pool.acquire()

    async def _keep(self, pool: "asyncpg.Pool[_Record]", at_hand: _AtHand, raw: _Raw) -> None:
        """Have a connection that has done its work at hand, unless all were forgotten since it was taken."""
        if at_hand is not self._at_hand:
            await self._release(pool, raw)
            return
        at_hand.append((raw, asyncio.get_running_loop().time()))
        self._turns.give_back()

    async def _release(self, pool: "asyncpg.Pool[_Record]", raw: _Raw) -> None:
        """Give a connection back to the pool, which finds out whether it is still good for anything."""
        try:
            # A statement that was given up is cancelled first, which a silent server does not answer either.
            await pool.release(raw, timeout=_CANCEL_SECONDS)
        finally:
            self._turns.give_back()

    def forget_connections(self) -> None:
        """Replace each connection at its next use: after a fail-over they lead to the wrong server."""
        if self._pool is not None:
            # The method is a coroutine that does not wait for anything.
            with contextlib.suppress(StopIteration):
                self._pool.expire_connections().send(None)
            at_hand, self._at_hand = self._at_hand, deque()
            for raw, _ in at_hand:
                if _is_open(raw):
                    raw.terminate()


class _Servers:
    """The servers that a URL names; one that did not take the last connection is asked after the others.

    asyncpg has one time limit for all hosts together: a first host that does not answer, as after a loss of
    power, would leave no time for the second.
    """

    def __init__(self, url: str) -> None:
        self._urls = list(one_for_each_host(url))

    async def connect(self, dsn: str | None = None, **how: Any) -> "asyncpg.Connection[_Record]":
        """Connect to the first server that takes writes; what the last one raises is raised."""
        *others, last = self._urls
        for url in others:
            with contextlib.suppress(*_NEXT_SERVER):
                return await self._connect_to(url, how)
        return await self._connect_to(last, how)

    async def _connect_to(self, url: str, how: dict[str, Any]) -> "asyncpg.Connection[_Record]":
        seconds = _CONNECT_SECONDS / len(self._urls)
        try:
            return await _connect_directly(url, how | {"timeout": seconds})
        except BaseException:
            self._urls.sort(key=lambda each: each == url)
            raise


async def _connect_directly(url: str, how: dict[str, Any]) -> "asyncpg.Connection[_Record]":
    """Connect to PostgreSQL.

    Raises:
        ConfigurationError: a connection pooler answers in its place.
    """
    try:
        connection: asyncpg.Connection[_Record] = await asyncpg.connect(url, **how)
    except asyncpg.ProtocolViolationError as error:
        if _NO_STARTUP_PARAMETER in str(error):
            raise ConfigurationError(_CONNECT_DIRECTLY) from error
        raise
    try:
        await connection.execute(_REFUSE_POOLER.format(told=connection.get_server_pid(), code=_POOLER))
    except BaseException as error:
        connection.terminate()
        if isinstance(error, asyncpg.PostgresError) and error.sqlstate == _POOLER:
            raise ConfigurationError(_CONNECT_DIRECTLY) from error
        raise
    return connection


class Connection:
    """A connection of the pool, while its context is open."""

    def __init__(self, database: Database, raw: _Raw) -> None:
        self._database = database
        self._raw = raw
        self.wrote_outbox = False

    async def fetch(self, statement: "Statement", arguments: Sequence[object]) -> list[_Record]:
        """Run one statement."""
        with _translated(self._database):
            rows = await self._raw.fetch(statement.sql, *arguments)
        self.wrote_outbox = self.wrote_outbox or statement.publishes
        return rows

    async def release_snapshot(self) -> None:
        """Before a transaction stays open for long without a statement: let the server remove old rows again.

        The last statement's portal keeps its snapshot until the next one takes its place, or the transaction
        ends (https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY).
        """
        with _translated(self._database):
            # The simple protocol leaves no portal behind.
            await self._raw.execute("SELECT")


# Where one statement may run: on a connection, in its transaction if it has one, or on any of the pool.
Runner: TypeAlias = Database | Connection


@dataclasses.dataclass(frozen=True)
class Statement:
    """A named block of a queries.sql: its SQL with numbered parameters, and their names in order."""

    package: str
    name: str
    sql: str
    parameters: tuple[str, ...]
    publishes: bool

    async def fetch(self, on: Runner, given: dict[str, object]) -> list[_Record]:
        if len(given) != len(self.parameters):
            raise TypeError(f"{self.package}: {self.name} takes {', '.join(self.parameters)}")
        arguments = [_storable(given[name]) for name in self.parameters]
        if tracing.active is None:
            return await on.fetch(self, arguments)
        with tracing.active.statement(self.package, self.name):
            return await on.fetch(self, arguments)


# Every typed query there is, for the test that compares each with the schema.
DECLARED: Final[list[tuple[Statement, object]]] = []


class Queries:
    """The statements of a package's queries.sql, as typed queries.

    A row type is a dataclass with a field for each column of the statement, or a plain type where the
    statement has one column. Enumerations among the fields are made of the column's text.

    A statement that inserts into the outbox is seen to publish; ``publishes`` says it of one that does so in
    a function.
    """

    def __init__(self, package: str) -> None:
        self._package = package
        text = resources.files(package).joinpath("queries.sql").read_text(encoding="utf-8")
        self._loaded = aiosql.from_str(text, "asyncpg")

    def all(self, name: str, row: type[Row]) -> "All[Row]":
        """A query for any number of rows."""
        return All(self._declare(name, row), row)

    def one(self, name: str, row: type[Row], *, publishes: bool = False) -> "One[Row]":
        """A query that always has one row."""
        return One(self._declare(name, row, publishes=publishes), row)

    def maybe(self, name: str, row: type[Row]) -> "Maybe[Row]":
        """A query for one row or none."""
        return Maybe(self._declare(name, row), row)

    def run(self, name: str) -> "Run":
        """A statement whose rows, if it has any, do not matter."""
        return Run(self._declare(name, None))

    def _declare(self, name: str, row: object, *, publishes: bool = False) -> Statement:
        loaded: QueryFn = getattr(self._loaded, name)
        parameters = tuple(self._loaded.driver_adapter.var_sorted[name])
        statement = Statement(
            self._package,
            name,
            loaded.sql,
            parameters,
            publishes=publishes or _WRITES_OUTBOX.search(loaded.sql) is not None,
        )
        DECLARED.append((statement, row))
        return statement


class All(Generic[Row]):
    """A query for any number of rows."""

    def __init__(self, statement: Statement, row: type[Row]) -> None:
        self._statement = statement
        self._decode = _decoder(row)

    async def __call__(self, on: Runner, **given: object) -> list[Row]:
        return [self._decode(record) for record in await self._statement.fetch(on, given)]


class Maybe(Generic[Row]):
    """A query for one row or none."""

    def __init__(self, statement: Statement, row: type[Row]) -> None:
        self._statement = statement
        self._decode = _decoder(row)

    async def __call__(self, on: Runner, **given: object) -> Row | None:
        records = await self._statement.fetch(on, given)
        return self._decode(records[0]) if records else None


class One(Generic[Row]):
    """A query that always has one row."""

    def __init__(self, statement: Statement, row: type[Row]) -> None:
        self._statement = statement
        self._decode = _decoder(row)

    async def __call__(self, on: Runner, **given: object) -> Row:
        (record,) = await self._statement.fetch(on, given)
        return self._decode(record)


class Run:
    """A statement whose rows do not matter."""

    def __init__(self, statement: Statement) -> None:
        self._statement = statement

    async def __call__(self, on: Runner, **given: object) -> None:
        await self._statement.fetch(on, given)


def _decoder(row: type[Row]) -> Callable[[_Record], Row]:
    if not dataclasses.is_dataclass(row):
        return lambda record: typing.cast("Row", record[0])
    hints = typing.get_type_hints(row)
    # Columns without a field are left out: a newer schema may have more than this version knows.
    names = [field.name for field in dataclasses.fields(row)]
    values = operator.itemgetter(*names) if len(names) > 1 else lambda record: (record[names[0]],)
    conversions = [(name, convert) for name in names if (convert := _conversion(hints[name]))]

    def decode(record: _Record) -> Row:
        # A frozen dataclass's own constructor takes longer than all the rest of a small query.
        made = object.__new__(row)
        fields = made.__dict__
        fields.update(zip(names, values(record), strict=True))
        for name, convert in conversions:
            fields[name] = convert(fields[name])
        return made

    return decode


def _conversion(hint: object) -> Callable[[Any], object] | None:
    return hint if isinstance(hint, type) and issubclass(hint, enum.Enum) else None


class _translated:  # noqa: N801 - used as a function
    """Raise what asyncpg raises as one of the errors of this module's docstring."""

    __slots__ = ("_database", "_with_values")

    def __init__(self, database: Database, *, with_values: bool = True) -> None:
        self._database = database
        self._with_values = with_values

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, asyncpg.PostgresError):
            translated = _translation(self._database, error)
            if self._with_values or not isinstance(translated, InvalidField):
                raise translated from error
        elif isinstance(error, (*_LOST_CONNECTION, TimeoutError)) and not isinstance(
            error, asyncpg.ClientConfigurationError
        ):
            if isinstance(error, TimeoutError):
                # The server would have ended the statement before: it is silent, on all connections.
                self._database.forget_connections()
            raise DatabaseUnavailable from error


def _translation(database: Database, error: asyncpg.PostgresError) -> Exception:
    state = str(error.sqlstate)
    if state == _CANCELED:
        return DatabaseTimedOut()
    if state == _READ_ONLY:
        database.forget_connections()
        return DatabaseUnavailable("The database is read-only.")
    if state.startswith(_UNAVAILABLE_CLASSES):
        return DatabaseUnavailable()
    if state in _CONFLICTS:
        return DatabaseConflict()
    if state == _CHECK_VIOLATION and str(error.constraint_name).endswith(_HORIZON):
        return EventTooOld()
    if state.startswith(_INVALID_VALUE_CLASS):
        return InvalidField(_UNFIT)
    return error


def _storable(value: object) -> object:
    """A value as it is.

    Raises:
        InvalidField: it is the first or the last moment of the calendar, which asyncpg takes for infinity.
    """
    if isinstance(value, datetime) and value in (_FIRST_MOMENT, _LAST_MOMENT):
        raise InvalidField(_UNFIT)
    return value


def _is_open(raw: _Raw) -> bool:
    """Whether a connection at hand can be used; one that was closed meanwhile is given back to its pool."""
    try:
        is_open = not raw.is_closed()
    except asyncpg.InterfaceError:
        # The pool has it already.
        return False
    if not is_open:
        raw.terminate()
    return is_open


async def _leave(_: object) -> None:
    """Nothing to reset: what we set on a connection ends with its transaction, or is undone where it is set.

    asyncpg's own reset is one more round trip for each use of the pool.
    """


def _do_nothing() -> None:
    pass
