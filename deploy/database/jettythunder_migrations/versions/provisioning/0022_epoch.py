"""The epoch of an account."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0022"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
