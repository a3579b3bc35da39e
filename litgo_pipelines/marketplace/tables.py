"""The tables of schema `litgo`, as SQLAlchemy Core.

Migrations create them; a test compares both. Column names of the product (in Portuguese where they came so) are kept.
No query lives here.
"""

from __future__ import annotations

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.types import UserDefinedType

from litgo_pipelines.marketplace.names import FEATURE_COLUMNS as FEATURE_COLUMNS
from litgo_pipelines.marketplace.names import FEATURES as FEATURES
from litgo_pipelines.marketplace.names import SCHEMA as SCHEMA

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    },
)


class Xid8(UserDefinedType[str]):
    """A transaction's number that never wraps around, as PostgreSQL's `xid8`."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


ischema_names["xid8"] = Xid8


def _id() -> Column[object]:
    return Column("id", Uuid, primary_key=True)


def _moment(name: str, *, nullable: bool = False, now: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=text("now()") if now else None)


def _share(name: str) -> Column[object]:
    return Column(name, REAL, CheckConstraint(f"{name} BETWEEN 0 AND 1", name=name))


def _one_of(name: str, *values: str, nullable: bool = False, default: str | None = None) -> Column[object]:
    listed = ", ".join(f"'{value}'" for value in values)
    return Column(name, Text, CheckConstraint(f"{name} IN ({listed})", name=name), nullable=nullable, server_default=default)


def _reference(name: str, table: str, *, nullable: bool = False) -> Column[object]:
    return Column(name, Uuid, ForeignKey(f"{SCHEMA}.{table}.id"), nullable=nullable)


lawyers = Table(
    "lawyers",
    metadata,
    _id(),
    Column("name", Text, nullable=False),
    Column("oab_number", Text, unique=True),
    _one_of("status", "active", "inactive", "suspended", default="active"),
    _moment("available_until", nullable=True),
    _moment("available_from", nullable=True),
    Column("primary_area", Text, nullable=False),
    Column("specialties", ARRAY(Text), nullable=False, server_default="{}"),
    Column("state", Text),
    Column("city", Text),
    Column("lat", Double, CheckConstraint("lat BETWEEN -90 AND 90", name="lat")),
    Column("lng", Double, CheckConstraint("lng BETWEEN -180 AND 180", name="lng")),
    Column("anos_experiencia", Integer, CheckConstraint("anos_experiencia >= 0", name="anos_experiencia")),
    _one_of("tipo_atuacao", "individual", "escritorio_pequeno", "escritorio_medio", "escritorio_grande", nullable=True),
    _share("success_rate"),
    Column("avaliacao_media", REAL, CheckConstraint("avaliacao_media BETWEEN 1 AND 5", name="avaliacao_media")),
    Column("tempo_resposta_h", REAL, CheckConstraint("tempo_resposta_h >= 0", name="tempo_resposta_h")),
    _share("cv_score"),
    _share("kpi_softskill"),
    Column("max_concurrent_cases", Integer, CheckConstraint("max_concurrent_cases >= 1", name="max_concurrent_cases")),
    Column("cases_30d", Integer, CheckConstraint("cases_30d >= 0", name="cases_30d"), nullable=False, server_default="0"),
    Column(
        "capacidade_mensal",
        Integer,
        CheckConstraint("capacidade_mensal BETWEEN 1 AND 30", name="capacidade_mensal"),
        nullable=False,
        server_default="10",
    ),
    _moment("last_offered_at", nullable=True),
    _moment("equity_updated_at", nullable=True),
    _moment("created_at", now=True),
    _moment("updated_at", now=True),
)

clients = Table(
    "clients",
    metadata,
    _id(),
    Column("state", Text),
    Column("city", Text),
    Column("lat", Double),
    Column("lng", Double),
    _moment("created_at", now=True),
)

cases = Table(
    "cases",
    metadata,
    _id(),
    _reference("client_id", "clients"),
    Column("area", Text, nullable=False),
    Column("subarea", Text),
    Column("urgency_h", Integer, CheckConstraint("urgency_h > 0", name="urgency_h"), nullable=False),
    _one_of("complexity", "LOW", "MEDIUM", "HIGH", default="MEDIUM"),
    Column("lat", Double, CheckConstraint("lat BETWEEN -90 AND 90", name="lat")),
    Column("lng", Double, CheckConstraint("lng BETWEEN -180 AND 180", name="lng")),
    Column("radius_km", Integer, CheckConstraint("radius_km > 0", name="radius_km"), nullable=False, server_default="50"),
    Column("summary", Text, nullable=False),
    _one_of("status", "open", "contracted", "closed", "canceled", "triage", default="open"),
    _moment("created_at", now=True),
    _moment("withdrawn_at", nullable=True),
    Column("withdrawn_because", Text),
    Index(None, "created_at", "area"),
    Index("ix_cases_open", "id", postgresql_where=text("status = 'open'")),
)

match_requests = Table(
    "match_requests",
    metadata,
    _id(),
    _one_of("kind", "triage", "matching"),
    _reference("case_id", "cases", nullable=True),
    _one_of("status", "started", "ok", "error"),
    Column("error_class", Text),
    _moment("started_at"),
    Column("duration_ms", REAL),
    Column("model_version", Text),
    Column("equity_price", REAL, comment="a of the offer rule at the decision"),
    Column("price_id", BigInteger, ForeignKey(f"{SCHEMA}.equity_prices.id"), comment="its row; null: from the settings"),
    Column("embedding_space", Text),
    Column("eligible", Integer),
    Column("cutoff", REAL, comment="value of the last lawyer shown; those below it were not"),
    Column("exploration", Boolean, nullable=False, server_default="false"),
    Column("experiment_id", Uuid, ForeignKey(f"{SCHEMA}.experiments.id"), comment="the experiment that the client was in"),
    _one_of("variant", "control", "treatment", "interleaved", "held back", nullable=True),
    Column("idempotency_key", Text, unique=True),
    Column("request_hash", Text, comment="what was asked under the idempotency key"),
    Column("answer", JSONB, comment="what was answered under the idempotency key"),
    Index(None, "started_at"),
    Index(None, "model_version", "started_at"),
    Index("ix_match_requests_experiment", "experiment_id", "variant", postgresql_where=text("experiment_id IS NOT NULL")),
)

match_candidates = Table(
    "match_candidates",
    metadata,
    Column("request_id", Uuid, primary_key=True),
    Column("lawyer_id", Uuid, primary_key=True),
    Column("score", REAL, nullable=False, comment="acceptance probability"),
    Column("u_eff", REAL, nullable=False),
    _one_of("outcome", "shown", "not_shown"),
    _one_of("reason", "value", "filled", "explored", "full", "below_cutoff", "waited_less", "tied", "not_drawn"),
    Column("fair_score", REAL, comment="score - a * u_eff + bonus of new lawyers"),
    Column("is_new", Boolean, comment="whether the bonus was due"),
    Column("features", ARRAY(REAL), comment="the eight features, of requests that explored: what another ranker would have scored"),
    comment="A log kept 180 days: no foreign keys, so that writing and expiring it stays cheap.",
)

case_matches = Table(
    "case_matches",
    metadata,
    _id(),
    _reference("request_id", "match_requests"),
    _reference("case_id", "cases"),
    _reference("lawyer_id", "lawyers"),
    Column("position", SmallInteger, CheckConstraint("position >= 1", name="position"), nullable=False),
    *(_share(name) for name in FEATURE_COLUMNS),
    Column("raw_score", REAL, nullable=False),
    _share("score"),
    Column("equity_price", REAL, nullable=False, comment="a * u_eff at the decision"),
    Column("fair_score", REAL, nullable=False, comment="score - equity_price + bonus of new lawyers"),
    Column("propensity", REAL, CheckConstraint("propensity > 0 AND propensity <= 1", name="propensity"), nullable=False),
    Column("other_arm_score", REAL, comment="acceptance by the model of the other arm, in an experiment"),
    _one_of("team", "champion", "challenger", nullable=True),
    _moment("created_at"),
    UniqueConstraint("request_id", "position"),
    UniqueConstraint("request_id", "lawyer_id"),
    Index(None, "case_id"),
)

offers = Table(
    "offers",
    metadata,
    _id(),
    _reference("case_id", "cases"),
    _reference("lawyer_id", "lawyers"),
    _reference("match_id", "case_matches", nullable=True),
    _one_of("status", "pending", "interested", "declined", "expired", "closed", default="pending"),
    _one_of("decline_reason", "capacity", "conflict", "not_interested", "fee", "other", nullable=True),
    _moment("sent_at"),
    _moment("expires_at"),
    _moment("responded_at", nullable=True),
    UniqueConstraint("case_id", "lawyer_id"),
    CheckConstraint("expires_at > sent_at", name="expires_after_sent"),
    CheckConstraint("decline_reason IS NULL OR status = 'declined'", name="reason_of_a_decline"),
    CheckConstraint("status NOT IN ('interested', 'declined') OR responded_at IS NOT NULL", name="answered"),
    Index("ix_offers_in_flight", "lawyer_id", postgresql_where=text("status IN ('pending', 'interested')")),
    Index("ix_offers_running_out", "expires_at", postgresql_where=text("status = 'pending'")),
    Index(None, "sent_at", postgresql_include=["lawyer_id"]),
    Index(None, "lawyer_id", "sent_at"),
)

contracts = Table(
    "contracts",
    metadata,
    _id(),
    _reference("case_id", "cases"),
    _reference("lawyer_id", "lawyers"),
    _reference("client_id", "clients"),
    _one_of("status", "requested", "pending-signature", "active", "closed", "canceled", default="requested"),
    _one_of("signing_method", "docusign", "manual", nullable=True),
    Column("envelope_id", Text),
    Column("fee_model", JSONB),
    _moment("signed_client", nullable=True),
    _moment("signed_lawyer", nullable=True),
    _moment("created_at", now=True),
    Column("envelope_number", SmallInteger, nullable=False, server_default="0", comment="envelopes given up so far; names the draft"),
    _moment("due_at", nullable=True),
    _moment("claimed_until", nullable=True),
    Column("tries", SmallInteger, nullable=False, server_default="0", comment="in vain, since it last went on"),
    Column("trouble", Text, comment="why the last try was in vain"),
    _moment("pending_since", nullable=True),
    _moment("manual_since", nullable=True),
    _moment("ended_at", nullable=True),
    Column("ended_because", Text),
    Column("draft_of", Text, comment="contract_documents.made_of, before a draft of it is asked for; null: there is no draft"),
    _moment("unknown_since", nullable=True),
    _moment("lost_at", nullable=True),
    CheckConstraint("signing_method IS DISTINCT FROM 'manual' OR envelope_id IS NULL", name="manual_has_no_envelope"),
    Index("ix_contracts_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    Index("uq_contracts_envelope_id", "envelope_id", unique=True, postgresql_where=text("envelope_id IS NOT NULL")),
    Index("uq_contracts_open_case", "case_id", unique=True, postgresql_where=text("status <> 'canceled'")),
    Index(None, "created_at", postgresql_include=["lawyer_id", "status"]),
    Index(None, "lawyer_id", "created_at"),
    Index("ix_contracts_active", "id", postgresql_where=text("status = 'active'")),
    Index("ix_contracts_unsigned", "status", "created_at", postgresql_where=text("status IN ('requested', 'pending-signature')")),
    Index("ix_contracts_canceled", "case_id", postgresql_where=text("status = 'canceled'")),
)

contract_documents = Table(
    "contract_documents",
    metadata,
    Column("contract_id", Uuid, ForeignKey(f"{SCHEMA}.contracts.id"), primary_key=True),
    Column("reference", Text, nullable=False, unique=True, comment="what people quote"),
    Column("made_of", Text, nullable=False, comment="hash of what it tells and of its template"),
    Column("sha256", Text, nullable=False),
    Column("pdf", LargeBinary, nullable=False),
    _moment("created_at"),
    comment="What is signed; made anew only while nothing of it has left the house.",
)

contract_signatures = Table(
    "contract_signatures",
    metadata,
    Column("contract_id", Uuid, ForeignKey(f"{SCHEMA}.contracts.id"), primary_key=True),
    Column("party", Text, CheckConstraint("party IN ('client', 'lawyer')", name="party"), primary_key=True),
    _one_of("method", "docusign", "manual"),
    _moment("signed_at"),
    Column("actor", Text, nullable=False, comment="who recorded it"),
    Column("evidence_name", Text),
    Column("evidence_sha256", Text),
    Column("evidence", LargeBinary),
    _moment("recorded_at"),
    CheckConstraint("method <> 'manual' OR evidence_sha256 IS NOT NULL", name="manual_needs_evidence"),
    comment="Who signed, once a party.",
)

contacts = Table(
    "contacts",
    metadata,
    Column("person_id", Uuid, primary_key=True, comment="a lawyer's or a client's"),
    _one_of("kind", "lawyer", "client"),
    Column("name", Text),
    Column("email", Text, CheckConstraint("email ~ '^[^@[:space:]]+@[^@[:space:]]+$'", name="email")),
    _moment("updated_at", now=True),
    comment="How people are reached. The only table with clients' names and addresses.",
)

idempotent_answers = Table(
    "idempotent_answers",
    metadata,
    Column("key", Text, primary_key=True, comment="by caller"),
    Column("request_hash", Text, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("answer", JSONB, nullable=False),
    _moment("created_at"),
    Index(None, "created_at"),
    comment="What was answered under an idempotency key, written with what the request changed.",
)

embedding_spaces = Table(
    "embedding_spaces",
    metadata,
    Column("name", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("dim", SmallInteger, CheckConstraint("dim BETWEEN 1 AND 4000", name="dim"), nullable=False),
    _moment("created_at", now=True),
    comment="Vectors of two spaces are never compared. Added by litgo.add_embedding_space, which makes the index of the space.",
)

embeddings = Table(
    "embeddings",
    metadata,
    Column("space", Text, ForeignKey(f"{SCHEMA}.embedding_spaces.name"), primary_key=True),
    Column("entity_type", Text, CheckConstraint("entity_type IN ('case', 'lawyer', 'example')", name="entity_type"), primary_key=True),
    Column("entity_id", Uuid, primary_key=True),
    Column("content_hash", Text, nullable=False, comment="of what the vector was made of"),
    Column("vector", HALFVEC, nullable=False),
    _moment("embedded_at"),
    comment="Unit vectors of cases, of what lawyers handled, and of labelled examples.",
)

triages = Table(
    "triages",
    metadata,
    Column("case_id", Uuid, ForeignKey(f"{SCHEMA}.cases.id"), primary_key=True),
    Column("request_id", Uuid, ForeignKey(f"{SCHEMA}.match_requests.id"), nullable=False),
    Column("area", Text, comment="null: not sure enough"),
    Column("subarea", Text),
    Column("urgency_h", Integer, nullable=False),
    _one_of("complexity", "LOW", "MEDIUM", "HIGH"),
    Column("confidence", REAL, CheckConstraint("confidence BETWEEN 0 AND 1", name="confidence"), nullable=False),
    Column("space", Text, nullable=False, comment="of the comparison with the examples"),
    Column("nearest", JSONB, nullable=False, comment="the labelled examples it was judged by"),
    _moment("created_at"),
    Column("decided_by", Text, comment="the person who decided where the triage was not sure"),
    _moment("decided_at", nullable=True),
    Column("decided_because", Text, comment="in that person's words"),
    Index("ix_triages_undecided", "created_at", postgresql_where=text("area IS NULL AND decided_at IS NULL")),
    comment="How a client's own telling was classified.",
)

reviews = Table(
    "reviews",
    metadata,
    _id(),
    Column("contract_id", Uuid, ForeignKey(f"{SCHEMA}.contracts.id"), nullable=False, unique=True),
    _reference("lawyer_id", "lawyers"),
    _reference("client_id", "clients"),
    Column("rating", SmallInteger, CheckConstraint("rating BETWEEN 1 AND 5", name="rating"), nullable=False),
    _one_of("outcome", "won", "lost", "settled", "ongoing"),
    Column("comment", Text),
    _moment("created_at", now=True),
    Index(None, "created_at"),
)

match_history = Table(
    "match_history",
    metadata,
    Column("seq", BigInteger, Identity(always=True), primary_key=True, comment="order of arrival; ranks rows without a time"),
    _one_of("event", "match", "recommend"),
    Column("case_id", Uuid, nullable=False),
    Column("lawyer_id", Uuid, nullable=False),
    *(_share(name) for name in FEATURE_COLUMNS),
    _one_of("label", "lost", "declined", "accepted", "won"),
    _moment("occurred_at", nullable=True),
    _moment("ordered_at", nullable=True),
    Column("position", SmallInteger, CheckConstraint("position >= 1", name="position")),
    Column("area", Text),
    _moment("imported_at", now=True),
    UniqueConstraint("event", "case_id", "lawyer_id", "occurred_at", name="uq_match_history_line", postgresql_nulls_not_distinct=True),
    Index(None, "case_id"),
    comment="Matches of the product's old backend. ordered_at is occurred_at, or that of the line before it in its file.",
)

equity_snapshots = Table(
    "equity_snapshots",
    metadata,
    Column("as_of", DateTime(timezone=True), primary_key=True),
    Column("lawyer_id", Uuid, primary_key=True),
    Column("cases_30d", Integer, nullable=False),
    Column("capacidade_mensal", Integer, nullable=False),
    Column("utilisation", REAL, nullable=False),
    Column("area", Text, nullable=False),
    _one_of("capacity_band", "1-10", "11-15", "16-20", "21-30"),
    Column("is_new", Boolean, nullable=False),
    Column("eligible", Boolean, nullable=False, comment="in at least one area with demand in the 30 days"),
    Column("last_offered_at", DateTime(timezone=True)),
    comment="One row per active lawyer and run. No foreign key: a lawyer who leaves keeps a history.",
)

equity_prices = Table(
    "equity_prices",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True, comment="the greatest one is in force"),
    Column("price", Double, CheckConstraint("price >= 0", name="price"), nullable=False, comment="a of the offer rule"),
    Column("previous", Double, nullable=False),
    Column("actor", Text, nullable=False, comment="equity_price (the weekly asset), or the person who set it"),
    Column("reason", Text, nullable=False),
    Column("evidence", JSONB, comment="the trade-off curve it was chosen from"),
    Column("dagster_run_id", Text),
    _moment("decided_at"),
    comment="Every price of load that was put in force. Rows are added, never changed.",
)

switches = Table(
    "switches",
    metadata,
    Column("name", Text, primary_key=True),
    Column("on", Boolean, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    _moment("changed_at"),
    comment="What people have frozen. A switch that is not here is off.",
)

equity_reports = Table(
    "equity_reports",
    metadata,
    Column("as_of", DateTime(timezone=True), primary_key=True),
    Column("figures", JSONB, nullable=False),
    comment="What a snapshot says of the distribution, so that a trend need not read the snapshots again.",
)

experiments = Table(
    "experiments",
    metadata,
    _id(),
    _one_of("mode", "ab", "interleaving"),
    Column("champion", Text, nullable=False, comment="version that control is answered by, or hand-weights; pinned by number"),
    Column("challenger", Text, nullable=False, comment="version that treatment is answered by"),
    _one_of("status", "waiting", "running", "approval", "ended"),
    Column("salt", Text, nullable=False, comment="of the arms"),
    Column("ramp_salt", Text, nullable=False, comment="of who is let in at which ramp step"),
    Column("steps", ARRAY(Double), nullable=False, comment="shares of all clients in treatment, ascending"),
    Column("step", SmallInteger, CheckConstraint("step >= 0", name="step"), nullable=False, server_default="0"),
    Column("max_days", Double, CheckConstraint("max_days > 0", name="max_days"), nullable=False),
    _one_of("at_the_end", "keep", "promote-if-not-inferior"),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    _moment("created_at"),
    _moment("started_at", nullable=True),
    _moment("step_started_at", nullable=True),
    _moment("ended_at", nullable=True),
    _one_of("verdict", "promote", "harm", "inconclusive", "stopped", "replaced", nullable=True),
    Column("approved_by", Text, comment="who approved the promotion, where a person must"),
    Column("conclusion", Text, comment="why it ended"),
    CheckConstraint("(status = 'ended') = (ended_at IS NOT NULL AND verdict IS NOT NULL)", name="ended"),
    CheckConstraint("status = 'waiting' OR verdict = 'replaced' OR verdict = 'stopped' OR started_at IS NOT NULL", name="started"),
    Index("uq_experiments_running", text("(true)"), unique=True, postgresql_where=text("status IN ('running', 'approval')")),
    Index("uq_experiments_waiting", text("(true)"), unique=True, postgresql_where=text("status = 'waiting'")),
    comment="One at a time on the ranker; at most one waits.",
)

exposures = Table(
    "exposures",
    metadata,
    Column("experiment_id", Uuid, ForeignKey(f"{SCHEMA}.experiments.id"), primary_key=True),
    Column("client_id", Uuid, primary_key=True),
    _one_of("variant", "control", "treatment", "interleaved", "held back"),
    Column("step", SmallInteger, nullable=False, comment="the ramp step: its stratum"),
    Column("request_id", Uuid, nullable=False),
    _moment("exposed_at"),
    Index(None, "experiment_id", "exposed_at"),
    comment="A client's first request in an experiment, which is the unit that is counted.",
)

experiment_readouts = Table(
    "experiment_readouts",
    metadata,
    Column("experiment_id", Uuid, ForeignKey(f"{SCHEMA}.experiments.id"), primary_key=True),
    Column("read_at", DateTime(timezone=True), primary_key=True),
    Column("figures", JSONB, nullable=False),
    comment="What each look at an experiment saw.",
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("operation_id", Uuid, nullable=False),
    _one_of("stage", "intent", "outcome"),
    Column("action", Text, nullable=False),
    Column("actor", Text, nullable=False, comment="an asset or sensor, mlflow-ui, or a person"),
    Column("from_version", Text),
    Column("to_version", Text),
    Column("result", Text, comment="of an outcome"),
    Column("reason", Text, nullable=False),
    Column("evidence", JSONB, nullable=False, server_default="{}", comment="all that the decision can be computed from again"),
    Column("about", BigInteger, ForeignKey(f"{SCHEMA}.decisions.id"), comment="the decision that this one speaks of"),
    Column("dagster_run_id", Text),
    _moment("decided_at"),
    UniqueConstraint("operation_id", "stage"),
    CheckConstraint("(stage = 'outcome') = (result IS NOT NULL)", name="result"),
    Index(None, "about"),
    comment="Who decided what about the models, and why. A trigger refuses to change or delete a row.",
)

model_states = Table(
    "model_states",
    metadata,
    Column("version", Text, primary_key=True),
    _one_of("state", "unproven", "proven", "blocked"),
    Column("reason", Text, nullable=False),
    _moment("changed_at"),
    _moment("cooldown_until", nullable=True),
    _moment("watched_since", nullable=True),
    Column("reference", JSONB, comment="what the version's match scores are compared with"),
    comment="What is known of a registered version. One that is not here is unproven.",
)

alias_observations = Table(
    "alias_observations",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("version", Text, comment="null: nobody"),
    Column("actor", Text, nullable=False, comment="who moved it there; mlflow-ui where nobody here did"),
    Column("operation_id", Uuid),
    _moment("observed_at"),
    comment="Where the alias champion was seen to point, each time it pointed elsewhere than before.",
)

notifications = Table(
    "notifications",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("key", Text, nullable=False, unique=True, comment="one message a key"),
    _one_of("audience", "ops", "lawyer", "client"),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("details", JSONB, nullable=False, server_default="{}"),
    _one_of("status", "queued", "sending", "sent", "unknown", "failed", default="queued"),
    _moment("created_at"),
    Column("recipient_id", Uuid, comment="the lawyer or client; null: the operators"),
    _one_of("channel", "push", "email", default="email"),
    _moment("due_at", now=True),
    _moment("claimed_until", nullable=True),
    Column("claim", Uuid, comment="of the worker that sends it"),
    Column("tries", SmallInteger, nullable=False, server_default="0", comment="in vain, on this channel"),
    Column("vendor_id", Text, comment="what the vendor calls it"),
    Column("trouble", Text, comment="why the last try was in vain"),
    _moment("sent_at", nullable=True),
    CheckConstraint("(audience = 'ops') = (recipient_id IS NULL)", name="recipient"),
    CheckConstraint("(status = 'sending') = (claim IS NOT NULL AND claimed_until IS NOT NULL)", name="claim"),
    CheckConstraint("(status = 'sent') = (sent_at IS NOT NULL)", name="sent"),
    Index("ix_notifications_due", "due_at", postgresql_where=text("status = 'queued'")),
    Index("ix_notifications_claimed", "claimed_until", postgresql_where=text("status = 'sending'")),
    Index("ix_notifications_lost", "id", postgresql_where=text("status IN ('unknown', 'failed')")),
    comment="Outbox: what is to be told, written before anything else moves.",
)

external_calls = Table(
    "external_calls",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("service", Text, CheckConstraint("service ~ '^[a-z]{1,30}$'", name="service"), nullable=False),
    Column(
        "operation",
        Text,
        CheckConstraint("operation ~ '^[a-z][a-z_]{0,49}$'", name="operation"),
        nullable=False,
        comment="a fixed word, never an address",
    ),
    _one_of(
        "outcome",
        *("ok", "connect", "timeout", "broken", "http_3xx", "http_408", "http_429", "http_4xx", "http_5xx", "malformed"),
        *("breaker_open", "no_time", "invalid"),
    ),
    Column("number", SmallInteger, nullable=False, comment="of the request within its call; 0 where none was made"),
    _moment("started_at"),
    Column("duration_ms", Double, CheckConstraint("duration_ms >= 0", name="duration_ms"), nullable=False),
    Column("status", SmallInteger, comment="of the HTTP answer"),
    Column(
        "error_class",
        Text,
        CheckConstraint("error_class ~ '^[A-Za-z_][A-Za-z0-9_]{0,99}$'", name="error_class"),
        comment="a class name, without the message",
    ),
    CheckConstraint("(number = 0) = (outcome IN ('breaker_open', 'no_time', 'invalid')) AND number >= 0", name="number"),
    Index("ix_external_calls_service_started_at", "service", text("started_at DESC")),
    comment="Requests to vendors, one row each. A trigger refuses to change a row, or to delete one of the last 30 days.",
)

events = Table(
    "events",
    metadata,
    Column("seq", BigInteger, Identity(always=True), primary_key=True),
    Column("xid", Xid8, nullable=False, server_default=text("pg_current_xact_id()")),
    Column("metric", Text, nullable=False),
    Column("labels", JSONB, nullable=False, server_default="{}"),
    Column("amount", BigInteger, nullable=False, server_default="1", comment="how many at once, where nothing was measured"),
    Column("value", Double, comment="what was measured, in the unit of the metric"),
    _moment("at", now=True),
    CheckConstraint("amount >= 1 AND (value IS NULL OR amount = 1)", name="amount"),
    Index(None, "xid"),
    Index(None, "at", postgresql_using="brin"),
    comment="What is counted, appended in the transaction in which it happened.",
)

metric_rollups = Table(
    "metric_rollups",
    metadata,
    Column("metric", Text, primary_key=True),
    Column("labels", JSONB, primary_key=True),
    Column("le", Double, primary_key=True, comment="upper bound of the bucket; infinity where nothing was measured"),
    Column("events", BigInteger, nullable=False),
    Column("total", Double, nullable=False, comment="sum of what was measured"),
    _moment("last_at"),
    comment="What all events that were read add up to; kept when events go.",
)

metric_cursors = Table(
    "metric_cursors",
    metadata,
    Column("name", Text, primary_key=True),
    Column("position", Text, nullable=False),
    _moment("moved_at"),
    comment="Up to where each reader of a log has read.",
)

job_runs = Table(
    "job_runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("job", Text, nullable=False),
    _one_of("status", "success", "failure", "retried", "canceled"),
    _moment("started_at", nullable=True),
    _moment("ended_at"),
    _moment("due_at", nullable=True),
    Index(None, "job", "status", "ended_at"),
    comment="Runs of Dagster that ended, each counted once; Dagster itself may forget them.",
)

job_dues = Table(
    "job_dues",
    metadata,
    Column("job", Text, primary_key=True),
    Column("due_at", DateTime(timezone=True), primary_key=True),
    Column("executed", Boolean, nullable=False),
    Column("run_id", Text),
    _moment("judged_at"),
    comment="Moments at which schedules were due, and whether a run succeeded in time.",
)

trainings = Table(
    "trainings",
    metadata,
    Column("dagster_run_id", Text, primary_key=True),
    Column("reviews_seen", BigInteger, nullable=False, comment="reviews in the database when the training set was read"),
    Column("dataset_fingerprint", Text),
    Column("mlflow_run_id", Text),
    Column("model_version", Text),
    _one_of("verdict", "pass", "fail", "insufficient data"),
    _moment("finished_at"),
    Index(None, "finished_at"),
)

marketplace_origin = Table(
    "marketplace_origin",
    metadata,
    Column("only", Boolean, CheckConstraint('"only"', name="one_row"), primary_key=True, server_default="true"),
    _one_of("origin", "simulated"),
    Column("seed", BigInteger, nullable=False),
    _moment("started_at"),
    _moment("rule_since"),
    Column("utilisation", Double, nullable=False),
    _moment("simulated_until"),
    comment="Says that the rows were made by the simulator, and up to which moment.",
)

simulation_truth = Table(
    "simulation_truth",
    metadata,
    _one_of("entity_type", "lawyer", "case"),
    Column("entity_id", Uuid, primary_key=True),
    Column("traits", ARRAY(Double), nullable=False),
    comment="Hidden quality and need. Owned by the role litgo_simulator; product code runs as litgo_app and cannot read it.",
)

# Alembic writes migrations from the checks of tables alone; those of columns would be missing in every real database.
for _table in metadata.tables.values():
    for _column in _table.columns:
        for _check in tuple(_column.constraints):
            _column.constraints.remove(_check)
            _table.append_constraint(_check)
