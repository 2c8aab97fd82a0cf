"""The ring of master keys."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0021"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
