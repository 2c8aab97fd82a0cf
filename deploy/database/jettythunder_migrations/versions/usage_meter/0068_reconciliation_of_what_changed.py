"""Which accounts the scheduled reconciliation looks at."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0068"
down_revision = "0067"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
