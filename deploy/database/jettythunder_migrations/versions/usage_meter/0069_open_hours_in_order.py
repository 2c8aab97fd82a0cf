"""Hours that are not closed, in the order in which they are looked at."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0069"
down_revision = "0068"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
