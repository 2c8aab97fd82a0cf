"""New quotas are judged by the period that runs."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0020"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
