"""A role for each service, and its rights on the messaging tables."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
