"""The first schema: facts, equity snapshots, training history, and the two roles that keep hidden truth hidden."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Roles belong to the cluster: another database may have made them, and the owner of this one may lack the right to.
ROLES = """
DO $$
DECLARE wanted text;
BEGIN
    IF NOT (SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user) THEN
        RETURN;
    END IF;
    FOREACH wanted IN ARRAY ARRAY['litgo_app', 'litgo_simulator'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
        END;
        EXECUTE format('GRANT %I TO current_user', wanted);
        EXECUTE format('GRANT USAGE ON SCHEMA litgo TO %I', wanted);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA litgo TO %I', wanted);
        EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA litgo TO %I', wanted);
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA litgo GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %I', wanted);
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA litgo GRANT USAGE ON SEQUENCES TO %I', wanted);
    END LOOP;
    REVOKE INSERT, UPDATE, DELETE ON litgo.alembic_version FROM litgo_app, litgo_simulator;
    REVOKE ALL ON litgo.simulation_truth FROM litgo_app;
    GRANT CREATE ON SCHEMA litgo TO litgo_simulator;
    ALTER TABLE litgo.simulation_truth OWNER TO litgo_simulator;
    REVOKE CREATE ON SCHEMA litgo FROM litgo_simulator;
END $$
"""


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA litgo")
    op.create_table(
        "clients",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("city", sa.Text(), nullable=True),
        sa.Column("lat", sa.Double(), nullable=True),
        sa.Column("lng", sa.Double(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clients")),
        schema="litgo",
    )
    op.create_table(
        "equity_snapshots",
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lawyer_id", sa.Uuid(), nullable=False),
        sa.Column("cases_30d", sa.Integer(), nullable=False),
        sa.Column("capacidade_mensal", sa.Integer(), nullable=False),
        sa.Column("utilisation", sa.REAL(), nullable=False),
        sa.Column("area", sa.Text(), nullable=False),
        sa.Column("capacity_band", sa.Text(), nullable=False),
        sa.Column("is_new", sa.Boolean(), nullable=False),
        sa.Column("eligible", sa.Boolean(), nullable=False, comment="in at least one area with demand in the 30 days"),
        sa.Column("last_offered_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("capacity_band IN ('1-10', '11-15', '16-20', '21-30')", name=op.f("ck_equity_snapshots_capacity_band")),
        sa.PrimaryKeyConstraint("as_of", "lawyer_id", name=op.f("pk_equity_snapshots")),
        schema="litgo",
        comment="One row per active lawyer and run. No foreign key: a lawyer who leaves keeps a history.",
    )
    op.create_table(
        "lawyers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("oab_number", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("available_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("available_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("primary_area", sa.Text(), nullable=False),
        sa.Column("specialties", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("city", sa.Text(), nullable=True),
        sa.Column("lat", sa.Double(), nullable=True),
        sa.Column("lng", sa.Double(), nullable=True),
        sa.Column("anos_experiencia", sa.Integer(), nullable=True),
        sa.Column("tipo_atuacao", sa.Text(), nullable=True),
        sa.Column("success_rate", sa.REAL(), nullable=True),
        sa.Column("avaliacao_media", sa.REAL(), nullable=True),
        sa.Column("tempo_resposta_h", sa.REAL(), nullable=True),
        sa.Column("cv_score", sa.REAL(), nullable=True),
        sa.Column("kpi_softskill", sa.REAL(), nullable=True),
        sa.Column("max_concurrent_cases", sa.Integer(), nullable=True),
        sa.Column("cases_30d", sa.Integer(), server_default="0", nullable=False),
        sa.Column("capacidade_mensal", sa.Integer(), server_default="10", nullable=False),
        sa.Column("last_offered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("equity_updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("status IN ('active', 'inactive', 'suspended')", name=op.f("ck_lawyers_status")),
        sa.CheckConstraint(
            "tipo_atuacao IN ('individual', 'escritorio_pequeno', 'escritorio_medio', 'escritorio_grande')",
            name=op.f("ck_lawyers_tipo_atuacao"),
        ),
        sa.CheckConstraint("anos_experiencia >= 0", name=op.f("ck_lawyers_anos_experiencia")),
        sa.CheckConstraint("avaliacao_media BETWEEN 1 AND 5", name=op.f("ck_lawyers_avaliacao_media")),
        sa.CheckConstraint("capacidade_mensal BETWEEN 1 AND 30", name=op.f("ck_lawyers_capacidade_mensal")),
        sa.CheckConstraint("cases_30d >= 0", name=op.f("ck_lawyers_cases_30d")),
        sa.CheckConstraint("cv_score BETWEEN 0 AND 1", name=op.f("ck_lawyers_cv_score")),
        sa.CheckConstraint("kpi_softskill BETWEEN 0 AND 1", name=op.f("ck_lawyers_kpi_softskill")),
        sa.CheckConstraint("lat BETWEEN -90 AND 90", name=op.f("ck_lawyers_lat")),
        sa.CheckConstraint("lng BETWEEN -180 AND 180", name=op.f("ck_lawyers_lng")),
        sa.CheckConstraint("max_concurrent_cases >= 1", name=op.f("ck_lawyers_max_concurrent_cases")),
        sa.CheckConstraint("success_rate BETWEEN 0 AND 1", name=op.f("ck_lawyers_success_rate")),
        sa.CheckConstraint("tempo_resposta_h >= 0", name=op.f("ck_lawyers_tempo_resposta_h")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lawyers")),
        sa.UniqueConstraint("oab_number", name=op.f("uq_lawyers_oab_number")),
        schema="litgo",
    )
    op.create_table(
        "marketplace_origin",
        sa.Column("only", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rule_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("utilisation", sa.Double(), nullable=False),
        sa.Column("simulated_until", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("origin IN ('simulated')", name=op.f("ck_marketplace_origin_origin")),
        sa.CheckConstraint('"only"', name=op.f("ck_marketplace_origin_one_row")),
        sa.PrimaryKeyConstraint("only", name=op.f("pk_marketplace_origin")),
        schema="litgo",
        comment="Says that the rows were made by the simulator, and up to which moment.",
    )
    op.create_table(
        "match_candidates",
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("lawyer_id", sa.Uuid(), nullable=False),
        sa.Column("score", sa.REAL(), nullable=False, comment="acceptance probability"),
        sa.Column("u_eff", sa.REAL(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint("outcome IN ('shown', 'not_shown')", name=op.f("ck_match_candidates_outcome")),
        sa.CheckConstraint("reason IN ('value', 'filled', 'explored', 'full', 'below_cutoff')", name=op.f("ck_match_candidates_reason")),
        sa.PrimaryKeyConstraint("request_id", "lawyer_id", name=op.f("pk_match_candidates")),
        schema="litgo",
        comment="A log kept 180 days: no foreign keys, so that writing and expiring it stays cheap.",
    )
    op.create_table(
        "match_history",
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="order of arrival; ranks rows without a time"),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("lawyer_id", sa.Uuid(), nullable=False),
        sa.Column("feature_a", sa.REAL(), nullable=True),
        sa.Column("feature_s", sa.REAL(), nullable=True),
        sa.Column("feature_t", sa.REAL(), nullable=True),
        sa.Column("feature_g", sa.REAL(), nullable=True),
        sa.Column("feature_q", sa.REAL(), nullable=True),
        sa.Column("feature_u", sa.REAL(), nullable=True),
        sa.Column("feature_r", sa.REAL(), nullable=True),
        sa.Column("feature_c", sa.REAL(), nullable=True),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ordered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("position", sa.SmallInteger(), nullable=True),
        sa.Column("area", sa.Text(), nullable=True),
        sa.Column("imported_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("event IN ('match', 'recommend')", name=op.f("ck_match_history_event")),
        sa.CheckConstraint("label IN ('lost', 'declined', 'accepted', 'won')", name=op.f("ck_match_history_label")),
        sa.CheckConstraint("feature_a BETWEEN 0 AND 1", name=op.f("ck_match_history_feature_a")),
        sa.CheckConstraint("feature_c BETWEEN 0 AND 1", name=op.f("ck_match_history_feature_c")),
        sa.CheckConstraint("feature_g BETWEEN 0 AND 1", name=op.f("ck_match_history_feature_g")),
        sa.CheckConstraint("feature_q BETWEEN 0 AND 1", name=op.f("ck_match_history_feature_q")),
        sa.CheckConstraint("feature_r BETWEEN 0 AND 1", name=op.f("ck_match_history_feature_r")),
        sa.CheckConstraint("feature_s BETWEEN 0 AND 1", name=op.f("ck_match_history_feature_s")),
        sa.CheckConstraint("feature_t BETWEEN 0 AND 1", name=op.f("ck_match_history_feature_t")),
        sa.CheckConstraint("feature_u BETWEEN 0 AND 1", name=op.f("ck_match_history_feature_u")),
        sa.CheckConstraint("position >= 1", name=op.f("ck_match_history_position")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_match_history")),
        sa.UniqueConstraint(
            "event", "case_id", "lawyer_id", "occurred_at", name="uq_match_history_line", postgresql_nulls_not_distinct=True
        ),
        schema="litgo",
        comment="Matches of the product's old backend. ordered_at is occurred_at, or that of the line before it in its file.",
    )
    op.create_index(op.f("ix_match_history_case_id"), "match_history", ["case_id"], unique=False, schema="litgo")
    op.create_table(
        "simulation_truth",
        sa.Column("entity_type", sa.Text(), nullable=False),
        sa.Column("entity_id", sa.Uuid(), nullable=False),
        sa.Column("traits", sa.ARRAY(sa.Double()), nullable=False),
        sa.CheckConstraint("entity_type IN ('lawyer', 'case')", name=op.f("ck_simulation_truth_entity_type")),
        sa.PrimaryKeyConstraint("entity_id", name=op.f("pk_simulation_truth")),
        schema="litgo",
        comment="Hidden quality and need. Owned by the role litgo_simulator; product code runs as litgo_app and cannot read it.",
    )
    op.create_table(
        "trainings",
        sa.Column("dagster_run_id", sa.Text(), nullable=False),
        sa.Column("reviews_seen", sa.BigInteger(), nullable=False, comment="reviews in the database when the training set was read"),
        sa.Column("dataset_fingerprint", sa.Text(), nullable=True),
        sa.Column("mlflow_run_id", sa.Text(), nullable=True),
        sa.Column("model_version", sa.Text(), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("verdict IN ('pass', 'fail', 'insufficient data')", name=op.f("ck_trainings_verdict")),
        sa.PrimaryKeyConstraint("dagster_run_id", name=op.f("pk_trainings")),
        schema="litgo",
    )
    op.create_index(op.f("ix_trainings_finished_at"), "trainings", ["finished_at"], unique=False, schema="litgo")
    op.create_table(
        "cases",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("area", sa.Text(), nullable=False),
        sa.Column("subarea", sa.Text(), nullable=True),
        sa.Column("urgency_h", sa.Integer(), nullable=False),
        sa.Column("complexity", sa.Text(), server_default="MEDIUM", nullable=False),
        sa.Column("lat", sa.Double(), nullable=True),
        sa.Column("lng", sa.Double(), nullable=True),
        sa.Column("radius_km", sa.Integer(), server_default="50", nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="open", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("complexity IN ('LOW', 'MEDIUM', 'HIGH')", name=op.f("ck_cases_complexity")),
        sa.CheckConstraint("status IN ('open', 'contracted', 'closed', 'canceled')", name=op.f("ck_cases_status")),
        sa.CheckConstraint("lat BETWEEN -90 AND 90", name=op.f("ck_cases_lat")),
        sa.CheckConstraint("lng BETWEEN -180 AND 180", name=op.f("ck_cases_lng")),
        sa.CheckConstraint("radius_km > 0", name=op.f("ck_cases_radius_km")),
        sa.CheckConstraint("urgency_h > 0", name=op.f("ck_cases_urgency_h")),
        sa.ForeignKeyConstraint(["client_id"], ["litgo.clients.id"], name=op.f("fk_cases_client_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cases")),
        schema="litgo",
    )
    op.create_index(op.f("ix_cases_created_at_area"), "cases", ["created_at", "area"], unique=False, schema="litgo")
    op.create_index("ix_cases_open", "cases", ["id"], unique=False, schema="litgo", postgresql_where=sa.text("status = 'open'"))
    op.create_table(
        "contracts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("lawyer_id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), server_default="requested", nullable=False),
        sa.Column("signing_method", sa.Text(), nullable=True),
        sa.Column("envelope_id", sa.Text(), nullable=True),
        sa.Column("fee_model", postgresql.JSONB(), nullable=True),
        sa.Column("signed_client", sa.DateTime(timezone=True), nullable=True),
        sa.Column("signed_lawyer", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("signing_method IN ('docusign', 'manual')", name=op.f("ck_contracts_signing_method")),
        sa.CheckConstraint(
            "status IN ('requested', 'pending-signature', 'active', 'closed', 'canceled')", name=op.f("ck_contracts_status")
        ),
        sa.ForeignKeyConstraint(["case_id"], ["litgo.cases.id"], name=op.f("fk_contracts_case_id")),
        sa.ForeignKeyConstraint(["client_id"], ["litgo.clients.id"], name=op.f("fk_contracts_client_id")),
        sa.ForeignKeyConstraint(["lawyer_id"], ["litgo.lawyers.id"], name=op.f("fk_contracts_lawyer_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contracts")),
        schema="litgo",
    )
    op.create_index("ix_contracts_active", "contracts", ["id"], unique=False, schema="litgo", postgresql_where=sa.text("status = 'active'"))
    op.create_index(
        op.f("ix_contracts_created_at"),
        "contracts",
        ["created_at"],
        unique=False,
        schema="litgo",
        postgresql_include=["lawyer_id", "status"],
    )
    op.create_index(op.f("ix_contracts_lawyer_id_created_at"), "contracts", ["lawyer_id", "created_at"], unique=False, schema="litgo")
    op.create_index(
        "uq_contracts_open_case", "contracts", ["case_id"], unique=True, schema="litgo", postgresql_where=sa.text("status <> 'canceled'")
    )
    op.create_table(
        "match_requests",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("error_class", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("duration_ms", sa.REAL(), nullable=True),
        sa.Column("model_version", sa.Text(), nullable=True),
        sa.Column("embedding_space", sa.Text(), nullable=True),
        sa.Column("eligible", sa.Integer(), nullable=True),
        sa.Column("cutoff", sa.REAL(), nullable=True, comment="value of the last lawyer shown; those below it were not"),
        sa.Column("exploration", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("request_hash", sa.Text(), nullable=True, comment="what was asked under the idempotency key"),
        sa.Column("answer", postgresql.JSONB(), nullable=True, comment="what was answered under the idempotency key"),
        sa.CheckConstraint("kind IN ('triage', 'matching')", name=op.f("ck_match_requests_kind")),
        sa.CheckConstraint("status IN ('started', 'ok', 'error')", name=op.f("ck_match_requests_status")),
        sa.ForeignKeyConstraint(["case_id"], ["litgo.cases.id"], name=op.f("fk_match_requests_case_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_match_requests")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_match_requests_idempotency_key")),
        schema="litgo",
    )
    op.create_index(op.f("ix_match_requests_started_at"), "match_requests", ["started_at"], unique=False, schema="litgo")
    op.create_table(
        "case_matches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("lawyer_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("feature_a", sa.REAL(), nullable=True),
        sa.Column("feature_s", sa.REAL(), nullable=True),
        sa.Column("feature_t", sa.REAL(), nullable=True),
        sa.Column("feature_g", sa.REAL(), nullable=True),
        sa.Column("feature_q", sa.REAL(), nullable=True),
        sa.Column("feature_u", sa.REAL(), nullable=True),
        sa.Column("feature_r", sa.REAL(), nullable=True),
        sa.Column("feature_c", sa.REAL(), nullable=True),
        sa.Column("raw_score", sa.REAL(), nullable=False),
        sa.Column("score", sa.REAL(), nullable=True),
        sa.Column("equity_price", sa.REAL(), nullable=False, comment="a * u_eff at the decision"),
        sa.Column("fair_score", sa.REAL(), nullable=False, comment="score - equity_price + bonus of new lawyers"),
        sa.Column("propensity", sa.REAL(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("feature_a BETWEEN 0 AND 1", name=op.f("ck_case_matches_feature_a")),
        sa.CheckConstraint("feature_c BETWEEN 0 AND 1", name=op.f("ck_case_matches_feature_c")),
        sa.CheckConstraint("feature_g BETWEEN 0 AND 1", name=op.f("ck_case_matches_feature_g")),
        sa.CheckConstraint("feature_q BETWEEN 0 AND 1", name=op.f("ck_case_matches_feature_q")),
        sa.CheckConstraint("feature_r BETWEEN 0 AND 1", name=op.f("ck_case_matches_feature_r")),
        sa.CheckConstraint("feature_s BETWEEN 0 AND 1", name=op.f("ck_case_matches_feature_s")),
        sa.CheckConstraint("feature_t BETWEEN 0 AND 1", name=op.f("ck_case_matches_feature_t")),
        sa.CheckConstraint("feature_u BETWEEN 0 AND 1", name=op.f("ck_case_matches_feature_u")),
        sa.CheckConstraint("position >= 1", name=op.f("ck_case_matches_position")),
        sa.CheckConstraint("propensity > 0 AND propensity <= 1", name=op.f("ck_case_matches_propensity")),
        sa.CheckConstraint("score BETWEEN 0 AND 1", name=op.f("ck_case_matches_score")),
        sa.ForeignKeyConstraint(["case_id"], ["litgo.cases.id"], name=op.f("fk_case_matches_case_id")),
        sa.ForeignKeyConstraint(["lawyer_id"], ["litgo.lawyers.id"], name=op.f("fk_case_matches_lawyer_id")),
        sa.ForeignKeyConstraint(["request_id"], ["litgo.match_requests.id"], name=op.f("fk_case_matches_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_matches")),
        sa.UniqueConstraint("request_id", "lawyer_id", name=op.f("uq_case_matches_request_id_lawyer_id")),
        sa.UniqueConstraint("request_id", "position", name=op.f("uq_case_matches_request_id_position")),
        schema="litgo",
    )
    op.create_index(op.f("ix_case_matches_case_id"), "case_matches", ["case_id"], unique=False, schema="litgo")
    op.create_table(
        "reviews",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("contract_id", sa.Uuid(), nullable=False),
        sa.Column("lawyer_id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("rating", sa.SmallInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("outcome IN ('won', 'lost', 'settled', 'ongoing')", name=op.f("ck_reviews_outcome")),
        sa.CheckConstraint("rating BETWEEN 1 AND 5", name=op.f("ck_reviews_rating")),
        sa.ForeignKeyConstraint(["client_id"], ["litgo.clients.id"], name=op.f("fk_reviews_client_id")),
        sa.ForeignKeyConstraint(["contract_id"], ["litgo.contracts.id"], name=op.f("fk_reviews_contract_id")),
        sa.ForeignKeyConstraint(["lawyer_id"], ["litgo.lawyers.id"], name=op.f("fk_reviews_lawyer_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
        sa.UniqueConstraint("contract_id", name=op.f("uq_reviews_contract_id")),
        schema="litgo",
    )
    op.create_index(op.f("ix_reviews_created_at"), "reviews", ["created_at"], unique=False, schema="litgo")
    op.create_table(
        "offers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("lawyer_id", sa.Uuid(), nullable=False),
        sa.Column("match_id", sa.Uuid(), nullable=True),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("decline_reason", sa.Text(), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("responded_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "decline_reason IN ('capacity', 'conflict', 'not_interested', 'fee', 'other')", name=op.f("ck_offers_decline_reason")
        ),
        sa.CheckConstraint("decline_reason IS NULL OR status = 'declined'", name=op.f("ck_offers_reason_of_a_decline")),
        sa.CheckConstraint("status IN ('pending', 'interested', 'declined', 'expired', 'closed')", name=op.f("ck_offers_status")),
        sa.CheckConstraint("status NOT IN ('interested', 'declined') OR responded_at IS NOT NULL", name=op.f("ck_offers_answered")),
        sa.CheckConstraint("expires_at > sent_at", name=op.f("ck_offers_expires_after_sent")),
        sa.ForeignKeyConstraint(["case_id"], ["litgo.cases.id"], name=op.f("fk_offers_case_id")),
        sa.ForeignKeyConstraint(["lawyer_id"], ["litgo.lawyers.id"], name=op.f("fk_offers_lawyer_id")),
        sa.ForeignKeyConstraint(["match_id"], ["litgo.case_matches.id"], name=op.f("fk_offers_match_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_offers")),
        sa.UniqueConstraint("case_id", "lawyer_id", name=op.f("uq_offers_case_id_lawyer_id")),
        schema="litgo",
    )
    op.create_index(
        "ix_offers_in_flight",
        "offers",
        ["lawyer_id"],
        unique=False,
        schema="litgo",
        postgresql_where=sa.text("status IN ('pending', 'interested')"),
    )
    op.create_index(op.f("ix_offers_lawyer_id_sent_at"), "offers", ["lawyer_id", "sent_at"], unique=False, schema="litgo")
    op.create_index(op.f("ix_offers_sent_at"), "offers", ["sent_at"], unique=False, schema="litgo", postgresql_include=["lawyer_id"])
    op.execute(ROLES)


def downgrade() -> None:
    raise NotImplementedError("the first revision has nothing before it: drop the schema litgo to remove everything")
