"""Bounds the chunks that an account has on the way over Workers."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0065"
down_revision = "0064"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
