"""The inbox is kept for a time."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0051"
down_revision = "0050"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
