"""Say which functions return one row."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0066"
down_revision = "0065"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
