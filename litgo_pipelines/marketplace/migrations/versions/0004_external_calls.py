"""Requests to vendors."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Old rows may go, so that the table does not grow without bound.
_ADDED_ONLY = """
CREATE TRIGGER append_only BEFORE UPDATE ON litgo.external_calls
FOR EACH ROW EXECUTE FUNCTION litgo.refuse_change();
CREATE TRIGGER append_only_young BEFORE DELETE ON litgo.external_calls
FOR EACH ROW WHEN (OLD.started_at > now() - interval '30 days') EXECUTE FUNCTION litgo.refuse_change();
CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON litgo.external_calls
FOR EACH STATEMENT EXECUTE FUNCTION litgo.refuse_change();
"""

_OUTCOMES = (
    "'ok', 'connect', 'timeout', 'broken', 'http_3xx', 'http_408', 'http_429', 'http_4xx', 'http_5xx', 'malformed', "
    "'breaker_open', 'no_time', 'invalid'"
)


def upgrade() -> None:
    op.create_table(
        "external_calls",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False, comment="a fixed word, never an address"),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("number", sa.SmallInteger(), nullable=False, comment="of the request within its call; 0 where none was made"),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("duration_ms", sa.Double(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=True, comment="of the HTTP answer"),
        sa.Column("error_class", sa.Text(), nullable=True, comment="a class name, without the message"),
        sa.CheckConstraint(
            "(number = 0) = (outcome IN ('breaker_open', 'no_time', 'invalid')) AND number >= 0", name=op.f("ck_external_calls_number")
        ),
        sa.CheckConstraint("duration_ms >= 0", name=op.f("ck_external_calls_duration_ms")),
        sa.CheckConstraint("error_class ~ '^[A-Za-z_][A-Za-z0-9_]{0,99}$'", name=op.f("ck_external_calls_error_class")),
        sa.CheckConstraint("operation ~ '^[a-z][a-z_]{0,49}$'", name=op.f("ck_external_calls_operation")),
        sa.CheckConstraint(f"outcome IN ({_OUTCOMES})", name=op.f("ck_external_calls_outcome")),
        sa.CheckConstraint("service ~ '^[a-z]{1,30}$'", name=op.f("ck_external_calls_service")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_external_calls")),
        schema="litgo",
        comment="Requests to vendors, one row each. A trigger refuses to change a row, or to delete one of the last 30 days.",
    )
    op.create_index(
        "ix_external_calls_service_started_at", "external_calls", ["service", sa.literal_column("started_at DESC")], schema="litgo"
    )
    op.execute(_ADDED_ONLY)


def downgrade() -> None:
    raise NotImplementedError("the record of requests to vendors would be lost: restore a backup made before the upgrade")
