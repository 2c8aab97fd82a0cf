"""The inbox by the month of its events."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0060"
down_revision = "0056"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
