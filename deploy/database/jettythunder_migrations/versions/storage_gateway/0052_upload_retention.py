"""Closed uploads are kept for a time, and open sessions counted."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0052"
down_revision = "0051"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
