"""${message}"""

from jettythunder_migrations.migration_sql import run_beside

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
