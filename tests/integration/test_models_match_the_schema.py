"""What the code says of the database is what the migrations made."""

import dataclasses
import importlib
import pkgutil
import re
from collections.abc import AsyncIterator
from importlib import resources

import aiosql
import asyncpg
import pytest
import pytest_asyncio
from tests.support.infrastructure import Infrastructure

from jettythunder.database import DECLARED, Statement
from storage_gateway.uploads.model import Kind, Status

PACKAGES = ("jettythunder", "provisioning", "storage_gateway", "chunk_worker", "usage_meter", "operations")


def load_queries() -> list[str]:
    """Import whatever declares queries; returns the packages that have some."""
    found = []
    for name in PACKAGES:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, prefix=f"{name}."):
            # A service's main module starts the service.
            if not module.name.endswith(".main"):
                importlib.import_module(module.name)
            if module.ispkg and resources.files(module.name).joinpath("queries.sql").is_file():
                found.append(module.name)
    return found


WITH_QUERIES = load_queries()


def named(declared: tuple[Statement, object]) -> str:
    return f"{declared[0].package}:{declared[0].name}"


@pytest_asyncio.fixture(scope="module")
async def connection(infrastructure: Infrastructure) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    opened = await asyncpg.connect(infrastructure.database_url)
    yield opened
    await opened.close()


@pytest.mark.parametrize("declared", DECLARED, ids=named)
async def test_a_query_fits_the_schema_and_its_rows_the_model(
    connection: "asyncpg.Connection[asyncpg.Record]", declared: tuple[Statement, object]
) -> None:
    statement, row = declared
    prepared = await connection.prepare(statement.sql)
    columns = [attribute.name for attribute in prepared.get_attributes()]
    assert len(prepared.get_parameters()) == len(statement.parameters)
    if isinstance(row, type) and dataclasses.is_dataclass(row):
        assert {field.name for field in dataclasses.fields(row)} <= set(columns)
    elif row is not None:
        assert len(columns) == 1


@pytest.mark.parametrize("package", WITH_QUERIES)
def test_every_query_is_declared_once(package: str) -> None:
    text = resources.files(package).joinpath("queries.sql").read_text(encoding="utf-8")
    # aiosql adds a second name to each query, for reading its rows by a cursor.
    available = aiosql.from_str(text, "asyncpg").available_queries
    written = [name for name in available if not name.endswith("_cursor")]
    declared = [statement.name for statement, _ in DECLARED if statement.package == package]
    assert sorted(declared) == sorted(written)


@pytest.mark.parametrize("status", Status)
async def test_the_database_knows_what_each_state_of_an_upload_means(
    connection: "asyncpg.Connection[asyncpg.Record]", status: Status
) -> None:
    assert await connection.fetchval("SELECT upload_is_open($1)", status) is status.is_open
    assert await connection.fetchval("SELECT upload_takes_chunks($1)", status) is status.takes_chunks


@pytest.mark.parametrize(("column", "model"), [("status", Status), ("kind", Kind)])
async def test_an_upload_has_the_states_and_kinds_of_the_model_and_no_others(
    connection: "asyncpg.Connection[asyncpg.Record]", column: str, model: type[Status] | type[Kind]
) -> None:
    constraint = await connection.fetchval(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = $1", f"uploads_{column}_check"
    )
    assert sorted(re.findall(r"'(\w+)'", constraint)) == sorted(model)
