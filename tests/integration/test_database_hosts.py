"""A DATABASE_URL of several hosts: the one that takes writes is used, by services and by migrations."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from tests.support.infrastructure import Infrastructure

from jettythunder.database import Database
from jettythunder.errors import ConfigurationError
from jettythunder.settings import DatabaseSettings
from jettythunder_migrations import migrate

CLOSED = "127.0.0.1:1"


@pytest.fixture
def database_url(infrastructure: Infrastructure) -> str:
    """The database's URL with a host before it that refuses connections."""
    parts = urlsplit(infrastructure.database_url)
    user, _, host = parts.netloc.rpartition("@")
    query = "target_session_attrs=read-write"
    given = parts._replace(netloc=f"{user}@{CLOSED},{host}", query=query).geturl()
    return str(DatabaseSettings.model_validate({"database_url": given}).database_url)


async def test_a_service_uses_the_host_that_answers(database_url: str) -> None:
    database = Database(database_url, name="tests")
    await database.open()
    await database.ping()
    await database.close()


def test_migrations_use_the_host_that_answers(database_url: str) -> None:
    migrate(database_url)


async def test_several_hosts_without_saying_which_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="target_session_attrs=read-write"):
        await Database("postgresql://u@a,b/name", name="tests").open()
