"""The database's errors, as the rest of the code sees them."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from jettythunder.database import Connection, Database, Statement
from jettythunder.errors import (
    ConfigurationError,
    DatabaseConflict,
    DatabaseTimedOut,
    DatabaseUnavailable,
    InvalidField,
    JettyThunderError,
)

READ = Statement("tests", "read", "SELECT $1", ("value",), publishes=False)
WRITE = Statement("tests", "write", "INSERT INTO outbox VALUES ($1)", ("value",), publishes=True)


class NotingDatabase(Database):
    """Notes when its connections are to be replaced."""

    def __init__(self) -> None:
        super().__init__("postgresql://nowhere", name="tests")
        self.forgotten = 0

    def forget_connections(self) -> None:
        self.forgotten += 1


class Raw:
    """A connection of asyncpg's, whose statements end with this error."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error

    async def fetch(self, sql: str, *arguments: object) -> Sequence[Any]:
        if self.error is not None:
            raise self.error
        return []


def of_state(sqlstate: str) -> asyncpg.PostgresError:
    """The error that asyncpg makes of a server's answer with this SQLSTATE."""
    return asyncpg.PostgresError.new({"C": sqlstate, "M": "message", "S": "ERROR"})


async def raised(error: BaseException) -> tuple[BaseException, NotingDatabase]:
    database = NotingDatabase()
    connection = Connection(database, Raw(error))  # type: ignore[arg-type]
    with pytest.raises(BaseException) as caught:
        await connection.fetch(READ, [1])
    return caught.value, database


@pytest.mark.parametrize(
    "error",
    [
        *map(
            of_state,
            [
                "08000",  # connection_exception
                "08006",  # connection_failure
                "08P01",  # protocol_violation
                "53000",  # insufficient_resources
                "53100",  # disk_full
                "53200",  # out_of_memory
                "53300",  # too_many_connections
                "57P01",  # admin_shutdown
                "57P02",  # crash_shutdown
                "57P03",  # cannot_connect_now
                "58030",  # io_error
            ],
        ),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("cannot switch to state 11; another operation (2) is in progress"),
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        ConnectionRefusedError(),
        ConnectionResetError(),
        OSError(),
        # The client's own: the server does not even say that the statement takes too long.
    ],
    ids=repr,
)
async def test_a_server_that_can_not_be_reached_or_does_not_work_is_unavailable(error: Exception) -> None:
    found, database = await raised(error)
    assert type(found) is DatabaseUnavailable
    assert found.__cause__ is error
    assert database.forgotten == 0


@pytest.mark.parametrize("error", [of_state("25006"), TimeoutError()], ids=["read-only", "silent"])
async def test_after_a_fail_over_connections_are_replaced(error: Exception) -> None:
    found, database = await raised(error)
    assert type(found) is DatabaseUnavailable
    assert database.forgotten == 1


async def test_a_statement_over_its_limit_is_timed_out_and_not_unavailable() -> None:
    found, _ = await raised(of_state("57014"))
    assert type(found) is DatabaseTimedOut


@pytest.mark.parametrize("sqlstate", ["40001", "40P01", "23503", "23505", "23P01", "55P03"])
async def test_what_another_transaction_was_in_the_way_of_is_a_conflict(sqlstate: str) -> None:
    found, _ = await raised(of_state(sqlstate))
    assert type(found) is DatabaseConflict


@pytest.mark.parametrize(
    "error",
    [
        *map(of_state, ["22001", "22003", "22007", "22021", "22P02", "22P05"]),
        asyncpg.DataError("value out of range"),
    ],
    ids=repr,
)
async def test_a_value_that_can_not_be_stored_is_an_invalid_field(error: Exception) -> None:
    found, _ = await raised(error)
    assert type(found) is InvalidField


@pytest.mark.parametrize(
    "error",
    [
        *map(of_state, ["42P01", "42501", "42601", "23502", "23514", "P0001", "25P02"]),
        RuntimeError("a mistake"),
        asyncio.CancelledError(),
    ],
    ids=repr,
)
async def test_a_mistake_in_the_code_passes_through(error: BaseException) -> None:
    found, _ = await raised(error)
    assert found is error
    assert not isinstance(found, JettyThunderError)


@pytest.mark.parametrize("moment", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
async def test_the_ends_of_the_calendar_are_no_moments_to_store(moment: datetime) -> None:
    # asyncpg takes them for infinity, and gives back a time without a zone.
    connection = Connection(NotingDatabase(), Raw())  # type: ignore[arg-type]
    with pytest.raises(InvalidField):
        await READ.fetch(connection, {"value": moment})


async def test_a_connection_knows_whether_events_were_written_on_it() -> None:
    connection = Connection(NotingDatabase(), Raw())  # type: ignore[arg-type]
    await connection.fetch(READ, [1])
    assert not connection.wrote_outbox
    await connection.fetch(WRITE, [1])
    await connection.fetch(READ, [1])
    assert connection.wrote_outbox


async def test_a_database_that_is_not_open_is_unavailable() -> None:
    database = Database("postgresql://nowhere", name="tests")
    with pytest.raises(DatabaseUnavailable, match="not open"):
        await database.fetch(READ, [1])
    with pytest.raises(DatabaseUnavailable, match="not open"):
        async with database.transaction():
            pass
    with pytest.raises(DatabaseUnavailable):
        await database.ping()


async def test_a_url_that_can_not_be_used_is_a_mistake_in_the_configuration() -> None:
    database = Database("postgresql://nowhere/name?sslmode=sometimes", name="tests")
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        await database.open()


async def test_a_statement_names_the_parameters_it_takes() -> None:
    database = Database("postgresql://nowhere", name="tests")
    with pytest.raises(TypeError, match="read takes value"):
        await READ.fetch(database, {})
