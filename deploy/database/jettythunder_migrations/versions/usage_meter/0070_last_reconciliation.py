"""When the scheduled reconciliation was last finished."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0070"
down_revision = "0069"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
