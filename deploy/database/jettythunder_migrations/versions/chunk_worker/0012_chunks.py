"""Rights of the chunk-worker, and its function for the gateway."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
