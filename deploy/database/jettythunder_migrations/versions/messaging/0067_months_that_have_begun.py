"""Make the partition of a month that has begun while nobody writes into its table."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0067"
down_revision = "0066"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
