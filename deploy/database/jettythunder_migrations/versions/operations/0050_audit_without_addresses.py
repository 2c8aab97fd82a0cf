"""The audit without e-mail addresses."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0050"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
