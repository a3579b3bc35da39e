"""Cases that are withdrawn, and which contracts of a case were canceled."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("cases", sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True), schema="litgo")
    op.add_column("cases", sa.Column("withdrawn_because", sa.Text(), nullable=True), schema="litgo")
    op.create_index(
        "ix_contracts_canceled", "contracts", ["case_id"], unique=False, schema="litgo", postgresql_where=sa.text("status = 'canceled'")
    )


def downgrade() -> None:
    raise NotImplementedError("why cases were withdrawn would be lost: restore a backup made before the upgrade")
