"""The ring of master keys."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0053"
down_revision = "0052"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
