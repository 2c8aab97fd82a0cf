"""Rights of the operations service."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
