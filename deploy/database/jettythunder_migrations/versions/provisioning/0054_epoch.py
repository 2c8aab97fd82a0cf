"""The epoch of an account."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0054"
down_revision = "0053"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
