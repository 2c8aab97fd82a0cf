"""The states of an upload in one function, and verified hashes."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
