"""Experiments, decisions about models, what is known of versions, and the outbox."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_APPEND_ONLY = """
CREATE FUNCTION litgo.refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'rows of % are added, never changed', TG_TABLE_NAME USING ERRCODE = 'restrict_violation'; END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON litgo.decisions
FOR EACH ROW EXECUTE FUNCTION litgo.refuse_change();
CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON litgo.decisions
FOR EACH STATEMENT EXECUTE FUNCTION litgo.refuse_change();
"""


def upgrade() -> None:
    op.create_table(
        "alias_observations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("version", sa.Text(), nullable=True, comment="null: nobody"),
        sa.Column("actor", sa.Text(), nullable=False, comment="who moved it there; mlflow-ui where nobody here did"),
        sa.Column("operation_id", sa.Uuid(), nullable=True),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alias_observations")),
        schema="litgo",
        comment="Where the alias champion was seen to point, each time it pointed elsewhere than before.",
    )
    op.create_table(
        "decisions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("operation_id", sa.Uuid(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False, comment="an asset or sensor, mlflow-ui, or a person"),
        sa.Column("from_version", sa.Text(), nullable=True),
        sa.Column("to_version", sa.Text(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True, comment="of an outcome"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "evidence",
            postgresql.JSONB(),
            server_default="{}",
            nullable=False,
            comment="all that the decision can be computed from again",
        ),
        sa.Column("about", sa.BigInteger(), nullable=True, comment="the decision that this one speaks of"),
        sa.Column("dagster_run_id", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(stage = 'outcome') = (result IS NOT NULL)", name=op.f("ck_decisions_result")),
        sa.CheckConstraint("stage IN ('intent', 'outcome')", name=op.f("ck_decisions_stage")),
        sa.ForeignKeyConstraint(["about"], ["litgo.decisions.id"], name=op.f("fk_decisions_about")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decisions")),
        sa.UniqueConstraint("operation_id", "stage", name=op.f("uq_decisions_operation_id_stage")),
        schema="litgo",
        comment="Who decided what about the models, and why. A trigger refuses to change or delete a row.",
    )
    op.create_index(op.f("ix_decisions_about"), "decisions", ["about"], unique=False, schema="litgo")
    op.create_table(
        "experiments",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("champion", sa.Text(), nullable=False, comment="version that control is answered by, or hand-weights; pinned by number"),
        sa.Column("challenger", sa.Text(), nullable=False, comment="version that treatment is answered by"),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("salt", sa.Text(), nullable=False, comment="of the arms"),
        sa.Column("ramp_salt", sa.Text(), nullable=False, comment="of who is let in at which ramp step"),
        sa.Column("steps", sa.ARRAY(sa.Double()), nullable=False, comment="shares of all clients in treatment, ascending"),
        sa.Column("step", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("max_days", sa.Double(), nullable=False),
        sa.Column("at_the_end", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("step_started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("approved_by", sa.Text(), nullable=True, comment="who approved the promotion, where a person must"),
        sa.Column("conclusion", sa.Text(), nullable=True, comment="why it ended"),
        sa.CheckConstraint("(status = 'ended') = (ended_at IS NOT NULL AND verdict IS NOT NULL)", name=op.f("ck_experiments_ended")),
        sa.CheckConstraint("at_the_end IN ('keep', 'promote-if-not-inferior')", name=op.f("ck_experiments_at_the_end")),
        sa.CheckConstraint("mode IN ('ab', 'interleaving')", name=op.f("ck_experiments_mode")),
        sa.CheckConstraint(
            "status = 'waiting' OR verdict = 'replaced' OR verdict = 'stopped' OR started_at IS NOT NULL",
            name=op.f("ck_experiments_started"),
        ),
        sa.CheckConstraint("status IN ('waiting', 'running', 'approval', 'ended')", name=op.f("ck_experiments_status")),
        sa.CheckConstraint("verdict IN ('promote', 'harm', 'inconclusive', 'stopped', 'replaced')", name=op.f("ck_experiments_verdict")),
        sa.CheckConstraint("max_days > 0", name=op.f("ck_experiments_max_days")),
        sa.CheckConstraint("step >= 0", name=op.f("ck_experiments_step")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_experiments")),
        schema="litgo",
        comment="One at a time on the ranker; at most one waits.",
    )
    op.create_index(
        "uq_experiments_running",
        "experiments",
        [sa.literal_column("(true)")],
        unique=True,
        schema="litgo",
        postgresql_where=sa.text("status IN ('running', 'approval')"),
    )
    op.create_index(
        "uq_experiments_waiting",
        "experiments",
        [sa.literal_column("(true)")],
        unique=True,
        schema="litgo",
        postgresql_where=sa.text("status = 'waiting'"),
    )
    op.create_table(
        "model_states",
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cooldown_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("watched_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reference", postgresql.JSONB(), nullable=True, comment="what the version's match scores are compared with"),
        sa.CheckConstraint("state IN ('unproven', 'proven', 'blocked')", name=op.f("ck_model_states_state")),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_model_states")),
        schema="litgo",
        comment="What is known of a registered version. One that is not here is unproven.",
    )
    op.create_table(
        "notifications",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("key", sa.Text(), nullable=False, comment="one message a key"),
        sa.Column("audience", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("details", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("audience IN ('ops', 'lawyer', 'client')", name=op.f("ck_notifications_audience")),
        sa.CheckConstraint("status IN ('queued', 'sending', 'sent', 'unknown', 'failed')", name=op.f("ck_notifications_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
        sa.UniqueConstraint("key", name=op.f("uq_notifications_key")),
        schema="litgo",
        comment="Outbox: what is to be told, written before anything else moves.",
    )
    op.create_index(
        "ix_notifications_queued", "notifications", ["id"], unique=False, schema="litgo", postgresql_where=sa.text("status = 'queued'")
    )
    op.create_table(
        "experiment_readouts",
        sa.Column("experiment_id", sa.Uuid(), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("figures", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(["experiment_id"], ["litgo.experiments.id"], name=op.f("fk_experiment_readouts_experiment_id")),
        sa.PrimaryKeyConstraint("experiment_id", "read_at", name=op.f("pk_experiment_readouts")),
        schema="litgo",
        comment="What each look at an experiment saw.",
    )
    op.create_table(
        "exposures",
        sa.Column("experiment_id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("variant", sa.Text(), nullable=False),
        sa.Column("step", sa.SmallInteger(), nullable=False, comment="the ramp step: its stratum"),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("exposed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("variant IN ('control', 'treatment', 'interleaved', 'held back')", name=op.f("ck_exposures_variant")),
        sa.ForeignKeyConstraint(["experiment_id"], ["litgo.experiments.id"], name=op.f("fk_exposures_experiment_id")),
        sa.PrimaryKeyConstraint("experiment_id", "client_id", name=op.f("pk_exposures")),
        schema="litgo",
        comment="A client's first request in an experiment, which is the unit that is counted.",
    )
    op.create_index(
        op.f("ix_exposures_experiment_id_exposed_at"), "exposures", ["experiment_id", "exposed_at"], unique=False, schema="litgo"
    )
    op.add_column(
        "case_matches",
        sa.Column("other_arm_score", sa.REAL(), nullable=True, comment="acceptance by the model of the other arm, in an experiment"),
        schema="litgo",
    )
    op.add_column("case_matches", sa.Column("team", sa.Text(), nullable=True), schema="litgo")
    op.add_column(
        "match_candidates",
        sa.Column(
            "features",
            sa.ARRAY(sa.REAL()),
            nullable=True,
            comment="the eight features, of requests that explored: what another ranker would have scored",
        ),
        schema="litgo",
    )
    op.add_column(
        "match_requests",
        sa.Column("experiment_id", sa.Uuid(), nullable=True, comment="the experiment that the client was in"),
        schema="litgo",
    )
    op.add_column("match_requests", sa.Column("variant", sa.Text(), nullable=True), schema="litgo")
    op.create_index(
        "ix_match_requests_experiment",
        "match_requests",
        ["experiment_id", "variant"],
        unique=False,
        schema="litgo",
        postgresql_where=sa.text("experiment_id IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_match_requests_model_version_started_at"), "match_requests", ["model_version", "started_at"], unique=False, schema="litgo"
    )
    op.create_foreign_key(
        op.f("fk_match_requests_experiment_id"),
        "match_requests",
        "experiments",
        ["experiment_id"],
        ["id"],
        source_schema="litgo",
        referent_schema="litgo",
    )
    _checks()
    op.execute(_APPEND_ONLY)


def _checks() -> None:
    for table, name, values in (
        ("case_matches", "team", "'champion', 'challenger'"),
        ("match_requests", "variant", "'control', 'treatment', 'interleaved', 'held back'"),
    ):
        op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, f"{name} IN ({values})", schema="litgo")


def downgrade() -> None:
    raise NotImplementedError("decisions and experiments would be lost: restore a backup made before the upgrade")
