"""A role for edges that do nothing else."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0056"
down_revision = "0055"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
