"""Ledger and hourly rows by month."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0061"
down_revision = "0060"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
