"""The gateway records chunks for edges without a database."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0063"
down_revision = "0062"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
