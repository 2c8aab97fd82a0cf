"""Uploads, chunks and assets."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
