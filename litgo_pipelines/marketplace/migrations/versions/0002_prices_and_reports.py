"""Prices of load and who set them, freezes, distribution reports, and what explains a candidate."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_REASONS = "'value', 'filled', 'explored', 'full', 'below_cutoff', 'waited_less', 'tied', 'not_drawn'"


def upgrade() -> None:
    op.create_table(
        "equity_prices",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="the greatest one is in force"),
        sa.Column("price", sa.Double(), nullable=False, comment="a of the offer rule"),
        sa.Column("previous", sa.Double(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False, comment="equity_price (the weekly asset), or the person who set it"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("evidence", postgresql.JSONB(), nullable=True, comment="the trade-off curve it was chosen from"),
        sa.Column("dagster_run_id", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("price >= 0", name=op.f("ck_equity_prices_price")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_equity_prices")),
        schema="litgo",
        comment="Every price of load that was put in force. Rows are added, never changed.",
    )
    op.create_table(
        "switches",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("on", sa.Boolean(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_switches")),
        schema="litgo",
        comment="What people have frozen. A switch that is not here is off.",
    )
    op.create_table(
        "equity_reports",
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("figures", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("as_of", name=op.f("pk_equity_reports")),
        schema="litgo",
        comment="What a snapshot says of the distribution, so that a trend need not read the snapshots again.",
    )
    op.add_column(
        "match_requests", sa.Column("equity_price", sa.REAL(), nullable=True, comment="a of the offer rule at the decision"), schema="litgo"
    )
    op.add_column(
        "match_requests",
        sa.Column("price_id", sa.BigInteger(), nullable=True, comment="its row; null: from the settings"),
        schema="litgo",
    )
    op.create_foreign_key(
        op.f("fk_match_requests_price_id"),
        "match_requests",
        "equity_prices",
        ["price_id"],
        ["id"],
        source_schema="litgo",
        referent_schema="litgo",
    )
    op.add_column(
        "match_candidates",
        sa.Column("fair_score", sa.REAL(), nullable=True, comment="score - a * u_eff + bonus of new lawyers"),
        schema="litgo",
    )
    op.add_column("match_candidates", sa.Column("is_new", sa.Boolean(), nullable=True, comment="whether the bonus was due"), schema="litgo")
    op.drop_constraint(op.f("ck_match_candidates_reason"), "match_candidates", schema="litgo")
    op.create_check_constraint(op.f("ck_match_candidates_reason"), "match_candidates", f"reason IN ({_REASONS})", schema="litgo")


def downgrade() -> None:
    raise NotImplementedError("prices and reports would be lost: restore a backup made before the upgrade")
