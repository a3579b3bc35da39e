"""The log of what is counted, what it adds up to, and what is kept of Dagster's runs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# Whoever writes history, such as the simulator, says so on its connection, and nothing of it counts as having happened just then.
_LIVE = "current_setting('litgo.counted', true) IS DISTINCT FROM 'off'"

_SOURCE = """
CREATE FUNCTION litgo.embedding_source(space text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT CASE WHEN space LIKE '%text-embedding-%' THEN 'openai' ELSE 'local' END $$;
"""

_REQUESTS = """
CREATE FUNCTION litgo.count_request() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO litgo.events (metric, labels)
    VALUES (NEW.kind || '_requests_total', jsonb_build_object('status', NEW.status));
    IF NEW.embedding_space IS NOT NULL AND NEW.embedding_space <> 'none' THEN
        INSERT INTO litgo.events (metric, labels) VALUES ('service_operations_total', jsonb_build_object('service', 'openai', 'mode',
            CASE litgo.embedding_source(NEW.embedding_space) WHEN 'openai' THEN 'primary' ELSE 'fallback' END));
    END IF;
    IF NEW.experiment_id IS NOT NULL THEN
        INSERT INTO litgo.events (metric, labels) VALUES ('ab_requests_total',
            jsonb_build_object('experiment', NEW.experiment_id, 'variant', NEW.variant, 'status', NEW.status));
        IF NEW.duration_ms IS NOT NULL THEN
            INSERT INTO litgo.events (metric, labels, value) VALUES ('ab_request_duration_seconds',
                jsonb_build_object('experiment', NEW.experiment_id, 'variant', NEW.variant), NEW.duration_ms / 1000);
        END IF;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER count_began_and_ended AFTER INSERT ON litgo.match_requests
FOR EACH ROW WHEN (NEW.status <> 'started' AND {live}) EXECUTE FUNCTION litgo.count_request();
CREATE TRIGGER count_ended AFTER UPDATE ON litgo.match_requests
FOR EACH ROW WHEN (OLD.status = 'started' AND NEW.status <> 'started' AND {live}) EXECUTE FUNCTION litgo.count_request();
"""

_CASES = """
CREATE FUNCTION litgo.count_rows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO litgo.events (metric, amount) SELECT TG_ARGV[0], count(*) FROM added HAVING count(*) > 0;
    RETURN NULL;
END $$;
CREATE TRIGGER count_created AFTER INSERT ON litgo.cases REFERENCING NEW TABLE AS added
FOR EACH STATEMENT WHEN ({live}) EXECUTE FUNCTION litgo.count_rows('cases_created_total');
CREATE TRIGGER count_created AFTER INSERT ON litgo.offers REFERENCING NEW TABLE AS added
FOR EACH STATEMENT WHEN ({live}) EXECUTE FUNCTION litgo.count_rows('offers_created_total');
CREATE TRIGGER count_created AFTER INSERT ON litgo.contracts REFERENCING NEW TABLE AS added
FOR EACH STATEMENT WHEN ({live}) EXECUTE FUNCTION litgo.count_rows('contracts_created_total');
CREATE TRIGGER count_found AFTER INSERT ON litgo.case_matches REFERENCING NEW TABLE AS added
FOR EACH STATEMENT WHEN ({live}) EXECUTE FUNCTION litgo.count_rows('matches_found_total');

CREATE FUNCTION litgo.count_shown_in_experiment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO litgo.events (metric, labels, value)
    SELECT 'ab_test_metrics', jsonb_build_object('experiment', r.experiment_id, 'variant', r.variant, 'metric', 'score'), a.score
    FROM added a JOIN litgo.match_requests r ON r.id = a.request_id WHERE r.experiment_id IS NOT NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER count_shown_in_experiment AFTER INSERT ON litgo.case_matches REFERENCING NEW TABLE AS added
FOR EACH STATEMENT WHEN ({live}) EXECUTE FUNCTION litgo.count_shown_in_experiment();

CREATE FUNCTION litgo.count_reviews() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO litgo.events (metric, labels, amount)
    SELECT 'reviews_total', jsonb_build_object('outcome', outcome), count(*) FROM added GROUP BY outcome;
    RETURN NULL;
END $$;
CREATE TRIGGER count_created AFTER INSERT ON litgo.reviews REFERENCING NEW TABLE AS added
FOR EACH STATEMENT WHEN ({live}) EXECUTE FUNCTION litgo.count_reviews();
"""

_OFFERS = """
CREATE FUNCTION litgo.count_ended_offer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO litgo.events (metric, labels) VALUES ('offers_ended_total', jsonb_build_object('status', NEW.status));
    IF NEW.status IN ('interested', 'declined') THEN
        INSERT INTO litgo.events (metric, labels, value) VALUES ('offer_response_seconds', jsonb_build_object('status', NEW.status),
            greatest(0, EXTRACT(epoch FROM NEW.responded_at - NEW.sent_at)));
    END IF;
    IF NEW.status <> 'closed' THEN
        INSERT INTO litgo.events (metric, labels, value)
        SELECT 'ab_test_metrics', jsonb_build_object('experiment', r.experiment_id, 'variant', r.variant, 'metric', 'accepted'),
            CASE NEW.status WHEN 'interested' THEN 1 ELSE 0 END
        FROM litgo.case_matches m JOIN litgo.match_requests r ON r.id = m.request_id
        WHERE m.id = NEW.match_id AND r.experiment_id IS NOT NULL;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER count_ended AFTER UPDATE ON litgo.offers
FOR EACH ROW WHEN (OLD.status = 'pending' AND NEW.status <> 'pending' AND {live}) EXECUTE FUNCTION litgo.count_ended_offer();
"""

_CONTRACTS = """
CREATE FUNCTION litgo.count_contract() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status = 'pending-signature' THEN
        INSERT INTO litgo.events (metric, labels) VALUES
            ('contract_creation_method_total', jsonb_build_object('method', NEW.signing_method)),
            ('service_operations_total', jsonb_build_object('service', 'docusign', 'mode',
                CASE NEW.signing_method WHEN 'docusign' THEN 'primary' ELSE 'fallback' END));
    ELSIF NEW.status = 'active' THEN
        INSERT INTO litgo.events (metric, labels) VALUES ('contracts_signed_total', jsonb_build_object('method', NEW.signing_method));
        INSERT INTO litgo.events (metric, value)
        SELECT 'time_to_contract_seconds',
            greatest(0, EXTRACT(epoch FROM coalesce(greatest(NEW.signed_client, NEW.signed_lawyer), now()) - c.created_at))
        FROM litgo.cases c WHERE c.id = NEW.case_id;
    ELSIF NEW.status = 'canceled' THEN
        INSERT INTO litgo.events (metric) VALUES ('contracts_canceled_total');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER count_moved AFTER UPDATE ON litgo.contracts
FOR EACH ROW WHEN ({live} AND (OLD.status <> NEW.status OR NEW.status = 'pending-signature'
    AND NEW.signing_method IS NOT NULL AND OLD.signing_method IS DISTINCT FROM NEW.signing_method))
EXECUTE FUNCTION litgo.count_contract();
"""

_MESSAGES = """
CREATE FUNCTION litgo.count_messages() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO litgo.events (metric, labels, amount)
    SELECT 'notifications_created_total', jsonb_build_object('audience', audience, 'type', channel), count(*)
    FROM added GROUP BY audience, channel;
    RETURN NULL;
END $$;
CREATE TRIGGER count_created AFTER INSERT ON litgo.notifications REFERENCING NEW TABLE AS added
FOR EACH STATEMENT WHEN ({live}) EXECUTE FUNCTION litgo.count_messages();

CREATE FUNCTION litgo.count_settled_message() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO litgo.events (metric, labels) VALUES ('notifications_sent_total', jsonb_build_object('type', NEW.channel, 'status',
        CASE WHEN NEW.status = 'failed' AND NEW.trouble LIKE 'overtaken:%' THEN 'overtaken' ELSE NEW.status END));
    IF NEW.status = 'sent' THEN
        INSERT INTO litgo.events (metric, labels, value) VALUES ('notification_duration_seconds', jsonb_build_object('type', NEW.channel),
            greatest(0, EXTRACT(epoch FROM NEW.sent_at - NEW.created_at)));
        IF NEW.channel = 'push' THEN
            INSERT INTO litgo.events (metric, labels) VALUES ('service_operations_total', '{{"service": "onesignal", "mode": "primary"}}');
        END IF;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER count_settled AFTER UPDATE ON litgo.notifications
FOR EACH ROW WHEN (OLD.status <> NEW.status AND NEW.status IN ('sent', 'failed', 'unknown') AND {live})
EXECUTE FUNCTION litgo.count_settled_message();

CREATE FUNCTION litgo.count_mailed_instead() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO litgo.events (metric, labels) VALUES ('service_operations_total', '{{"service": "onesignal", "mode": "fallback"}}');
    RETURN NULL;
END $$;
CREATE TRIGGER count_mailed_instead AFTER UPDATE ON litgo.notifications
FOR EACH ROW WHEN (OLD.channel = 'push' AND NEW.channel = 'email' AND {live}
    AND NEW.trouble IS DISTINCT FROM 'OneSignal knows no device of this person') EXECUTE FUNCTION litgo.count_mailed_instead();
"""

_CALLS = """
CREATE FUNCTION litgo.count_call() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO litgo.events (metric, labels)
    VALUES ('external_calls_total', jsonb_build_object('service', NEW.service, 'outcome', NEW.outcome));
    IF NEW.number > 0 THEN
        INSERT INTO litgo.events (metric, labels, value)
        VALUES ('external_call_duration_seconds', jsonb_build_object('service', NEW.service), NEW.duration_ms / 1000);
    END IF;
    IF NEW.outcome = 'timeout' THEN
        INSERT INTO litgo.events (metric, labels) VALUES ('api_timeouts_total', jsonb_build_object('service', NEW.service));
    END IF;
    IF NEW.number > 1 THEN
        INSERT INTO litgo.events (metric, labels) VALUES ('api_retries_total', jsonb_build_object('service', NEW.service));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER count_made AFTER INSERT ON litgo.external_calls
FOR EACH ROW WHEN ({live}) EXECUTE FUNCTION litgo.count_call();
"""

_MODELS = """
CREATE FUNCTION litgo.count_decision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO litgo.events (metric, labels) VALUES ('model_decisions_total', jsonb_build_object('action', NEW.action, 'by',
        CASE WHEN NEW.actor = 'mlflow-ui' THEN 'mlflow-ui'
             WHEN NEW.actor IN ('candidate_evaluation', 'promotion', 'experiment_readout', 'model_quality', 'reconcile', 'found')
             THEN 'system'
             ELSE 'person' END,
        'result', NEW.result));
    RETURN NULL;
END $$;
CREATE TRIGGER count_decided AFTER INSERT ON litgo.decisions
FOR EACH ROW WHEN (NEW.stage = 'outcome' AND {live}) EXECUTE FUNCTION litgo.count_decision();

CREATE FUNCTION litgo.count_vectors() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO litgo.events (metric, labels, amount)
    SELECT 'embedding_source_total', jsonb_build_object('source', litgo.embedding_source(space)), count(*) FROM added GROUP BY 2;
    RETURN NULL;
END $$;
CREATE TRIGGER count_stored AFTER INSERT ON litgo.embeddings REFERENCING NEW TABLE AS added
FOR EACH STATEMENT WHEN ({live}) EXECUTE FUNCTION litgo.count_vectors();
CREATE TRIGGER count_renewed AFTER UPDATE ON litgo.embeddings REFERENCING NEW TABLE AS added
FOR EACH STATEMENT WHEN ({live}) EXECUTE FUNCTION litgo.count_vectors();
"""


_TRIGGERS = (_REQUESTS, _CASES, _OFFERS, _CONTRACTS, _MESSAGES, _CALLS, _MODELS)


class _Xid8(sa.types.UserDefinedType[str]):
    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("xid", _Xid8(), server_default=sa.text("pg_current_xact_id()"), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("labels", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("amount", sa.BigInteger(), server_default="1", nullable=False, comment="how many at once, where nothing was measured"),
        sa.Column("value", sa.Double(), nullable=True, comment="what was measured, in the unit of the metric"),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("amount >= 1 AND (value IS NULL OR amount = 1)", name=op.f("ck_events_amount")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_events")),
        schema="litgo",
        comment="What is counted, appended in the transaction in which it happened.",
    )
    op.create_index(op.f("ix_events_xid"), "events", ["xid"], unique=False, schema="litgo")
    op.create_index(op.f("ix_events_at"), "events", ["at"], unique=False, schema="litgo", postgresql_using="brin")
    op.create_table(
        "metric_rollups",
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("labels", postgresql.JSONB(), nullable=False),
        sa.Column("le", sa.Double(), nullable=False, comment="upper bound of the bucket; infinity where nothing was measured"),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.Double(), nullable=False, comment="sum of what was measured"),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("metric", "labels", "le", name=op.f("pk_metric_rollups")),
        schema="litgo",
        comment="What all events that were read add up to; kept when events go.",
    )
    op.create_table(
        "metric_cursors",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("position", sa.Text(), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_metric_cursors")),
        schema="litgo",
        comment="Up to where each reader of a log has read.",
    )
    op.create_table(
        "job_runs",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("status IN ('success', 'failure', 'retried', 'canceled')", name=op.f("ck_job_runs_status")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_job_runs")),
        schema="litgo",
        comment="Runs of Dagster that ended, each counted once; Dagster itself may forget them.",
    )
    op.create_index(op.f("ix_job_runs_job_status_ended_at"), "job_runs", ["job", "status", "ended_at"], unique=False, schema="litgo")
    op.create_table(
        "job_dues",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("executed", sa.Boolean(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("judged_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("job", "due_at", name=op.f("pk_job_dues")),
        schema="litgo",
        comment="Moments at which schedules were due, and whether a run succeeded in time.",
    )
    op.create_index(
        "ix_contracts_unsigned",
        "contracts",
        ["status", "created_at"],
        unique=False,
        schema="litgo",
        postgresql_where=sa.text("status IN ('requested', 'pending-signature')"),
    )
    op.execute(_SOURCE)
    for triggers in _TRIGGERS:
        op.execute(triggers.format(live=_LIVE))


def downgrade() -> None:
    raise NotImplementedError("what was counted would be lost: restore a backup made before the upgrade")
