"""What alembic runs to apply the migrations: one transaction for all of them, on one connection."""

import psycopg
import sqlalchemy
from alembic import context

# One migrator at a time: several gateways may be deployed at the same moment.
_ADVISORY_LOCK = 7_305_219_001

# SQLAlchemy's own URLs have no list of hosts.
engine = sqlalchemy.create_engine(
    "postgresql+psycopg://",
    creator=lambda: psycopg.connect(context.config.attributes["database_url"]),
    poolclass=sqlalchemy.pool.NullPool,
)
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        # Only now: a migrator may wait for another one as long as that takes.
        connection.execute(
            sqlalchemy.text("SELECT set_config('lock_timeout', :milliseconds, true)"),
            {"milliseconds": str(context.config.attributes["lock_timeout_ms"])},
        )
        context.run_migrations()
