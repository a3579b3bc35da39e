"""Embeddings, triage, contracts that are signed, messages that are delivered, and how people are reached."""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Types are found wherever pgvector is installed. The application's role owns no table, so it could not make an index itself; an index
# made with its space is empty and costs nothing.
_ADD_SPACE = """
CREATE FUNCTION litgo.add_embedding_space(name text, model text, revision text, dim integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = litgo, {types}, pg_temp AS $$
BEGIN
    INSERT INTO litgo.embedding_spaces (name, model, revision, dim) VALUES (name, model, revision, dim) ON CONFLICT DO NOTHING;
    IF FOUND THEN
        EXECUTE format(
            'CREATE INDEX %I ON litgo.embeddings USING hnsw ((vector::halfvec(%s)) halfvec_cosine_ops) WHERE space = %L',
            'ix_embeddings_' || left(md5(name), 12), dim, name
        );
    END IF;
END $$
"""


def upgrade() -> None:
    types = (
        op.get_bind()
        .execute(
            sa.text(
                "SELECT quote_ident(nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'vector'"
            )
        )
        .scalar_one()
    )
    op.execute(f"SET LOCAL search_path TO litgo, {types}")
    op.create_table(
        "contacts",
        sa.Column("person_id", sa.Uuid(), nullable=False, comment="a lawyer's or a client's"),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("email ~ '^[^@[:space:]]+@[^@[:space:]]+$'", name=op.f("ck_contacts_email")),
        sa.CheckConstraint("kind IN ('lawyer', 'client')", name=op.f("ck_contacts_kind")),
        sa.PrimaryKeyConstraint("person_id", name=op.f("pk_contacts")),
        schema="litgo",
        comment="How people are reached. The only table with clients' names and addresses.",
    )
    op.create_table(
        "embedding_spaces",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("dim", sa.SmallInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("dim BETWEEN 1 AND 4000", name=op.f("ck_embedding_spaces_dim")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_embedding_spaces")),
        schema="litgo",
        comment="Vectors of two spaces are never compared. Added by litgo.add_embedding_space, which makes the index of the space.",
    )
    op.create_table(
        "idempotent_answers",
        sa.Column("key", sa.Text(), nullable=False, comment="by caller"),
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("answer", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_idempotent_answers")),
        schema="litgo",
        comment="What was answered under an idempotency key, written with what the request changed.",
    )
    op.create_index(op.f("ix_idempotent_answers_created_at"), "idempotent_answers", ["created_at"], unique=False, schema="litgo")
    op.create_table(
        "embeddings",
        sa.Column("space", sa.Text(), nullable=False),
        sa.Column("entity_type", sa.Text(), nullable=False),
        sa.Column("entity_id", sa.Uuid(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False, comment="of what the vector was made of"),
        sa.Column("vector", HALFVEC(), nullable=False),
        sa.Column("embedded_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("entity_type IN ('case', 'lawyer', 'example')", name=op.f("ck_embeddings_entity_type")),
        sa.ForeignKeyConstraint(["space"], ["litgo.embedding_spaces.name"], name=op.f("fk_embeddings_space")),
        sa.PrimaryKeyConstraint("space", "entity_type", "entity_id", name=op.f("pk_embeddings")),
        schema="litgo",
        comment="Unit vectors of cases, of what lawyers handled, and of labelled examples.",
    )
    op.create_table(
        "contract_documents",
        sa.Column("contract_id", sa.Uuid(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False, comment="what people quote"),
        sa.Column("made_of", sa.Text(), nullable=False, comment="hash of what it tells and of its template"),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("pdf", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["contract_id"], ["litgo.contracts.id"], name=op.f("fk_contract_documents_contract_id")),
        sa.PrimaryKeyConstraint("contract_id", name=op.f("pk_contract_documents")),
        sa.UniqueConstraint("reference", name=op.f("uq_contract_documents_reference")),
        schema="litgo",
        comment="What is signed; made anew only while nothing of it has left the house.",
    )
    op.create_table(
        "contract_signatures",
        sa.Column("contract_id", sa.Uuid(), nullable=False),
        sa.Column("party", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False, comment="who recorded it"),
        sa.Column("evidence_name", sa.Text(), nullable=True),
        sa.Column("evidence_sha256", sa.Text(), nullable=True),
        sa.Column("evidence", sa.LargeBinary(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("method <> 'manual' OR evidence_sha256 IS NOT NULL", name=op.f("ck_contract_signatures_manual_needs_evidence")),
        sa.CheckConstraint("method IN ('docusign', 'manual')", name=op.f("ck_contract_signatures_method")),
        sa.CheckConstraint("party IN ('client', 'lawyer')", name=op.f("ck_contract_signatures_party")),
        sa.ForeignKeyConstraint(["contract_id"], ["litgo.contracts.id"], name=op.f("fk_contract_signatures_contract_id")),
        sa.PrimaryKeyConstraint("contract_id", "party", name=op.f("pk_contract_signatures")),
        schema="litgo",
        comment="Who signed, once a party.",
    )
    op.create_table(
        "triages",
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("area", sa.Text(), nullable=True, comment="null: not sure enough"),
        sa.Column("subarea", sa.Text(), nullable=True),
        sa.Column("urgency_h", sa.Integer(), nullable=False),
        sa.Column("complexity", sa.Text(), nullable=False),
        sa.Column("confidence", sa.REAL(), nullable=False),
        sa.Column("space", sa.Text(), nullable=False, comment="of the comparison with the examples"),
        sa.Column("nearest", postgresql.JSONB(), nullable=False, comment="the labelled examples it was judged by"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=True, comment="the person who decided where the triage was not sure"),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_because", sa.Text(), nullable=True, comment="in that person's words"),
        sa.CheckConstraint("complexity IN ('LOW', 'MEDIUM', 'HIGH')", name=op.f("ck_triages_complexity")),
        sa.CheckConstraint("confidence BETWEEN 0 AND 1", name=op.f("ck_triages_confidence")),
        sa.ForeignKeyConstraint(["case_id"], ["litgo.cases.id"], name=op.f("fk_triages_case_id")),
        sa.ForeignKeyConstraint(["request_id"], ["litgo.match_requests.id"], name=op.f("fk_triages_request_id")),
        sa.PrimaryKeyConstraint("case_id", name=op.f("pk_triages")),
        schema="litgo",
        comment="How a client's own telling was classified.",
    )
    op.create_index(
        "ix_triages_undecided",
        "triages",
        ["created_at"],
        unique=False,
        schema="litgo",
        postgresql_where=sa.text("area IS NULL AND decided_at IS NULL"),
    )
    op.add_column(
        "contracts",
        sa.Column(
            "envelope_number", sa.SmallInteger(), server_default="0", nullable=False, comment="envelopes given up so far; names the draft"
        ),
        schema="litgo",
    )
    op.add_column("contracts", sa.Column("due_at", sa.DateTime(timezone=True), nullable=True), schema="litgo")
    op.add_column("contracts", sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True), schema="litgo")
    op.add_column(
        "contracts",
        sa.Column("tries", sa.SmallInteger(), server_default="0", nullable=False, comment="in vain, since it last went on"),
        schema="litgo",
    )
    op.add_column("contracts", sa.Column("trouble", sa.Text(), nullable=True, comment="why the last try was in vain"), schema="litgo")
    op.add_column("contracts", sa.Column("pending_since", sa.DateTime(timezone=True), nullable=True), schema="litgo")
    op.add_column("contracts", sa.Column("manual_since", sa.DateTime(timezone=True), nullable=True), schema="litgo")
    op.add_column("contracts", sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True), schema="litgo")
    op.add_column("contracts", sa.Column("ended_because", sa.Text(), nullable=True), schema="litgo")
    op.add_column(
        "contracts",
        sa.Column(
            "draft_of",
            sa.Text(),
            nullable=True,
            comment="contract_documents.made_of, before a draft of it is asked for; null: there is no draft",
        ),
        schema="litgo",
    )
    op.add_column("contracts", sa.Column("unknown_since", sa.DateTime(timezone=True), nullable=True), schema="litgo")
    op.add_column("contracts", sa.Column("lost_at", sa.DateTime(timezone=True), nullable=True), schema="litgo")
    # Nobody would ever take up a contract that was requested before there was a queue.
    op.execute("UPDATE litgo.contracts SET due_at = now() WHERE status = 'requested'")
    op.create_index(
        "ix_contracts_due",
        "contracts",
        ["due_at"],
        unique=False,
        schema="litgo",
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "uq_contracts_envelope_id",
        "contracts",
        ["envelope_id"],
        unique=True,
        schema="litgo",
        postgresql_where=sa.text("envelope_id IS NOT NULL"),
    )
    op.add_column(
        "notifications",
        sa.Column("recipient_id", sa.Uuid(), nullable=True, comment="the lawyer or client; null: the operators"),
        schema="litgo",
    )
    op.add_column("notifications", sa.Column("channel", sa.Text(), server_default="email", nullable=False), schema="litgo")
    op.add_column(
        "notifications", sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False), schema="litgo"
    )
    op.add_column("notifications", sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True), schema="litgo")
    op.add_column("notifications", sa.Column("claim", sa.Uuid(), nullable=True, comment="of the worker that sends it"), schema="litgo")
    op.add_column(
        "notifications",
        sa.Column("tries", sa.SmallInteger(), server_default="0", nullable=False, comment="in vain, on this channel"),
        schema="litgo",
    )
    op.add_column("notifications", sa.Column("vendor_id", sa.Text(), nullable=True, comment="what the vendor calls it"), schema="litgo")
    op.add_column("notifications", sa.Column("trouble", sa.Text(), nullable=True, comment="why the last try was in vain"), schema="litgo")
    op.add_column("notifications", sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True), schema="litgo")
    op.drop_index(op.f("ix_notifications_queued"), table_name="notifications", schema="litgo", postgresql_where="(status = 'queued'::text)")
    op.create_index(
        "ix_notifications_claimed",
        "notifications",
        ["claimed_until"],
        unique=False,
        schema="litgo",
        postgresql_where=sa.text("status = 'sending'"),
    )
    op.create_index(
        "ix_notifications_due", "notifications", ["due_at"], unique=False, schema="litgo", postgresql_where=sa.text("status = 'queued'")
    )
    op.create_index(
        "ix_notifications_lost",
        "notifications",
        ["id"],
        unique=False,
        schema="litgo",
        postgresql_where=sa.text("status IN ('unknown', 'failed')"),
    )
    op.create_index(
        "ix_offers_running_out", "offers", ["expires_at"], unique=False, schema="litgo", postgresql_where=sa.text("status = 'pending'")
    )
    _checks()
    op.execute(_ADD_SPACE.format(types=types))
    op.execute("SET LOCAL search_path TO DEFAULT")


def _checks() -> None:
    op.drop_constraint(op.f("ck_cases_status"), "cases", schema="litgo")
    for table, name, rule in (
        ("cases", "status", "status IN ('open', 'contracted', 'closed', 'canceled', 'triage')"),
        ("contracts", "manual_has_no_envelope", "signing_method IS DISTINCT FROM 'manual' OR envelope_id IS NULL"),
        ("notifications", "channel", "channel IN ('push', 'email')"),
        ("notifications", "recipient", "(audience = 'ops') = (recipient_id IS NULL)"),
        ("notifications", "claim", "(status = 'sending') = (claim IS NOT NULL AND claimed_until IS NOT NULL)"),
        ("notifications", "sent", "(status = 'sent') = (sent_at IS NOT NULL)"),
    ):
        op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, rule, schema="litgo")


def downgrade() -> None:
    raise NotImplementedError("signatures and messages would be lost: restore a backup made before the upgrade")
