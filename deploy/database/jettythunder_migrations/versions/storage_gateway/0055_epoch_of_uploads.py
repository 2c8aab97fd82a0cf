"""The epoch where links and uploads are checked."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0055"
down_revision = "0054"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
