"""One owner for each column of an account."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
