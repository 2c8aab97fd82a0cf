"""Runs the migrations against DATABASE_URL, one transaction for all of them."""

import os

import sqlalchemy
from alembic import context


def _url() -> sqlalchemy.URL:
    given = os.environ.get("DATABASE_URL")
    if not given:
        raise SystemExit("DATABASE_URL is not set: it names the PostgreSQL database to migrate.")
    return sqlalchemy.make_url(given).set(drivername="postgresql+psycopg")


# One migrator at a time: several gateways may be deployed at the same moment.
_ADVISORY_LOCK = 7_305_219_001

engine = sqlalchemy.create_engine(_url(), poolclass=sqlalchemy.pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        context.run_migrations()
