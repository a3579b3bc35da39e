"""Which facts are counted, when they come about: every one that a dashboard or an alert asks for, under its labels."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from litgo_pipelines.casework import offers
from litgo_pipelines.casework.delivery import NO_DEVICE
from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger
from litgo_pipelines.marketplace.event_log import advance, rollups, write_history
from litgo_pipelines.marketplace.outbox import tell
from litgo_pipelines.observability.metrics import BOUNDS, COUNTED
from litgo_pipelines_tests.casework.conftest import NOON, Town

LABELS = {metric.name: set(metric.labels) for metric in COUNTED}
KNOWN = {metric.name: metric.known for metric in COUNTED}


@pytest.fixture
def town(engine: Any) -> Town:
    return Town(engine)


def counted(town: Town) -> Counter[str]:
    """What was counted since the beginning: `metric{value,value}`, values in the order of the label names."""
    while advance(town.engine, BOUNDS):
        pass
    with town.engine.connect() as connection:
        found = rollups(connection)
    total: Counter[str] = Counter()
    for one in found:
        assert one.labels.keys() == LABELS[one.metric], f"{one.metric} is counted with other labels than it is shown with"
        for label, value in one.labels.items():
            assert value in KNOWN[one.metric].get(label, (value,)), f"{one.metric}: {label}={value} is no value that anybody expects"
        values = ",".join(one.labels[label] for label in sorted(one.labels))
        total[one.metric + (f"{{{values}}}" if values else "")] += one.events
    return total


def since(town: Town, before: Counter[str]) -> dict[str, int]:
    """What was counted since `before`."""
    return dict(counted(town) - before)


def request(town: Town, **values: Any) -> UUID:
    return town.add("match_requests", **({"kind": "matching", "status": "started", "started_at": NOON} | values))


def finish(town: Town, table: str, row: UUID, **values: Any) -> None:
    listed = ", ".join(f"{name} = :{name}" for name in values)
    town.execute(f"UPDATE litgo.{table} SET {listed} WHERE id = :id", id=row, **values)


@pytest.mark.parametrize("kind", ["matching", "triage"])
def test_requests_count_when_they_end(town: Town, kind: str) -> None:
    """Once each, by how they ended; what is written about them later does not count again."""
    answered, failed = request(town, kind=kind), request(town, kind=kind)
    assert counted(town) == {}
    finish(town, "match_requests", answered, status="ok", duration_ms=12.0)
    finish(town, "match_requests", failed, status="error", error_class="ValueError")
    finish(town, "match_requests", answered, duration_ms=13.0)
    assert counted(town) == {f"{kind}_requests_total{{ok}}": 1, f"{kind}_requests_total{{error}}": 1}


@pytest.mark.parametrize(("space", "mode"), [("text-embedding-3-small@1:1536", "primary"), ("all-MiniLM@1:384", "fallback")])
def test_a_request_tells_whether_it_was_compared_by_the_vendors_model(town: Town, space: str, mode: str) -> None:
    """In the space of words and the model, as matching names it."""
    request(town, status="ok", embedding_space=f"hashed-words-pt-256+{space}")
    assert counted(town) == {"matching_requests_total{ok}": 1, f"service_operations_total{{{mode},openai}}": 1}


def test_an_experiment_is_counted_by_group(town: Town) -> None:
    """Requests and their time, scores of those shown, and whether they accepted; a case that was closed says nothing."""
    experiment, lawyers = uuid4(), town.lawyers(3)
    town.add(
        "experiments",
        **{"id": experiment, "mode": "ab", "champion": "1", "challenger": "2", "status": "running", "salt": "a", "ramp_salt": "b"},
        **{"steps": [0.1], "max_days": 1, "at_the_end": "keep", "actor": "x", "reason": "x", "created_at": NOON, "started_at": NOON},
    )
    case = town.case()
    asked = request(town, status="ok", experiment_id=experiment, variant="treatment", duration_ms=40.0, case_id=case)
    before = counted(town)
    for position, lawyer in enumerate(lawyers, start=1):
        features = dict.fromkeys((f"feature_{name}" for name in "astgqurc"), 0.5)
        match = town.add(
            "case_matches",
            **{"request_id": asked, "case_id": case, "lawyer_id": lawyer, "position": position, **features, "raw_score": 1.0},
            **{"score": 0.7, "equity_price": 0.0, "fair_score": 0.7, "propensity": 1.0, "created_at": NOON},
        )
        offer = town.offer(lawyer, case=case)
        finish(town, "offers", offer, match_id=match)
        answer = ("interested", "expired", "closed")[position - 1]
        finish(town, "offers", offer, status=answer, responded_at=NOON + timedelta(hours=2) if answer == "interested" else None)
    found = {name: count for name, count in since(town, before).items() if name.startswith("ab_")}
    assert found == {f"ab_test_metrics{{{experiment},score,treatment}}": 3, f"ab_test_metrics{{{experiment},accepted,treatment}}": 2}
    assert before[f"ab_requests_total{{{experiment},ok,treatment}}"] == 1
    assert before[f"ab_request_duration_seconds{{{experiment},treatment}}"] == 1
    with town.engine.connect() as connection:
        (accepted,) = [one.total for one in rollups(connection) if one.labels.get("metric") == "accepted" and one.total]
    assert accepted == 1


def test_offers_count_from_their_sending_to_their_end(town: Town) -> None:
    """An offer ends once: what becomes of the interested later is the contract's story."""
    lawyers = town.lawyers(3)
    sent = [town.offer(lawyer) for lawyer in lawyers]
    with town.engine.begin() as connection:
        offers.respond(connection, sent[0], "interested", None, NOON + timedelta(hours=1))
    with town.engine.begin() as connection:
        offers.expire(connection, NOON + timedelta(days=2))
    finish(town, "offers", sent[0], status="closed")
    found = {name: count for name, count in counted(town).items() if name.startswith("offer")}
    assert found == {
        "offers_created_total": 3,
        "offers_ended_total{interested}": 1,
        "offers_ended_total{expired}": 2,
        "offer_response_seconds{interested}": 1,
    }


@pytest.mark.parametrize(("method", "mode"), [("docusign", "primary"), ("manual", "fallback")])
def test_contracts_count_by_how_they_are_signed(town: Town, method: str, mode: str) -> None:
    """When they go out and when both have signed; the time from the case on is measured."""
    contract = town.contract(town.lawyer(), status="requested")
    before = counted(town)
    finish(town, "contracts", contract, status="pending-signature", signing_method=method)
    finish(town, "contracts", contract, tries=1)
    finish(town, "contracts", contract, status="active", signed_client=NOON, signed_lawyer=NOON + timedelta(days=2))
    assert since(town, before) == {
        f"contract_creation_method_total{{{method}}}": 1,
        f"service_operations_total{{{mode},docusign}}": 1,
        f"contracts_signed_total{{{method}}}": 1,
        "time_to_contract_seconds": 1,
    }
    with town.engine.connect() as connection:
        assert [one.total for one in rollups(connection) if one.metric == "time_to_contract_seconds"] == [2 * 86400]


def test_a_contract_that_falls_back_after_it_was_sent_counts_for_both(town: Town) -> None:
    """It went out through the vendor, and then by hand."""
    contract = town.contract(town.lawyer(), status="requested")
    before = counted(town)
    finish(town, "contracts", contract, status="pending-signature", signing_method="docusign", envelope_id="e")
    finish(town, "contracts", contract, signing_method="manual", envelope_id=None)
    finish(town, "contracts", contract, status="canceled")
    found = since(town, before)
    assert found["contract_creation_method_total{docusign}"] == found["contract_creation_method_total{manual}"] == 1
    assert found["contracts_canceled_total"] == 1


def test_an_envelope_that_was_voided_counts_for_nothing_until_there_is_another(town: Town) -> None:
    """The contract has no way of signing in between; the next envelope counts again."""
    contract = town.contract(town.lawyer(), status="requested")
    before = counted(town)
    for envelope in ("first", "second"):
        finish(town, "contracts", contract, status="pending-signature", signing_method="docusign", envelope_id=envelope)
        finish(town, "contracts", contract, signing_method=None, envelope_id=None)
    assert since(town, before) == {"contract_creation_method_total{docusign}": 2, "service_operations_total{primary,docusign}": 2}


def message(town: Town, **values: Any) -> int:
    recipient = None if values.get("audience", "ops") == "ops" else town.lawyer()
    key = str(uuid4())
    with town.engine.begin() as connection:
        tell(connection, key=key, subject="s", body="b", at=NOON, recipient=recipient, **values)
    found: int = town.value("SELECT id FROM litgo.notifications WHERE key = :key", key=key)
    return found


def settle(town: Town, number: int, **values: Any) -> None:
    listed = ", ".join(f"{name} = :{name}" for name in values)
    town.execute(f"UPDATE litgo.notifications SET {listed} WHERE id = :id", id=number, **values)


def test_messages_count_when_they_are_settled(town: Town) -> None:
    """By how they travelled; those that events overtook are no failures."""
    pushed, lost, late, unclear = (message(town, audience="lawyer") for _ in range(4))
    settle(town, pushed, status="sent", sent_at=NOON + timedelta(seconds=4))
    settle(town, lost, status="failed", trouble="nobody could be reached in time")
    settle(town, late, status="failed", trouble="overtaken: the offer was answered, closed or ran out before this could be sent")
    settle(town, unclear, status="unknown")
    found = {name: count for name, count in counted(town).items() if name.startswith(("notif", "service"))}
    assert found == {
        "notifications_created_total{lawyer,push}": 4,
        "notifications_sent_total{sent,push}": 1,
        "notifications_sent_total{failed,push}": 1,
        "notifications_sent_total{overtaken,push}": 1,
        "notifications_sent_total{unknown,push}": 1,
        "notification_duration_seconds{push}": 1,
        "service_operations_total{primary,onesignal}": 1,
    }


def test_mail_instead_of_a_push_is_a_fallback_where_the_vendor_failed(town: Town) -> None:
    """A person without a device is reached by mail as intended."""
    failed, without_device = message(town, audience="lawyer"), message(town, audience="client")
    settle(town, failed, channel="email", trouble="OneSignal did not answer in time")
    settle(town, without_device, channel="email", trouble=NO_DEVICE)
    assert counted(town)["service_operations_total{fallback,onesignal}"] == 1


def test_calls_to_vendors_count_with_their_timeouts_and_repetitions(town: Town) -> None:
    """A call that made no request has no duration."""
    from litgo_pipelines.integrations.attempts import Attempt

    ledger = PostgresCallLedger(town.engine)
    now = datetime.now(UTC)
    ledger.record(Attempt("openai", "embed", "timeout", 1, now, 30_000.0, None, "ReadTimeout"))
    ledger.record(Attempt("openai", "embed", "ok", 2, now, 200.0, 200, None))
    ledger.record(Attempt("openai", "embed", "breaker_open", 0, now, 0.0, None, None))
    assert counted(town) == {
        "external_calls_total{timeout,openai}": 1,
        "external_calls_total{ok,openai}": 1,
        "external_calls_total{breaker_open,openai}": 1,
        "external_call_duration_seconds{openai}": 2,
        "api_timeouts_total{openai}": 1,
        "api_retries_total{openai}": 1,
    }


@pytest.mark.parametrize(
    ("actor", "by"), [("mlflow-ui", "mlflow-ui"), ("model_quality", "system"), ("reconcile", "system"), ("ana", "person")]
)
def test_decisions_count_by_kind_of_actor(town: Town, actor: str, by: str) -> None:
    """An intent is none yet; no person's name becomes a label."""
    for stage, result in (("intent", None), ("outcome", "done")):
        town.execute(
            "INSERT INTO litgo.decisions (operation_id, stage, action, actor, result, reason, decided_at) "
            "VALUES (:operation, :stage, 'rollback', :actor, :result, 'why', :at)",
            **{"operation": UUID(int=1), "stage": stage, "actor": actor, "result": result, "at": NOON},
        )
    assert counted(town) == {f"model_decisions_total{{rollback,{by},done}}": 1}


def test_facts_that_come_in_count_by_row(town: Town) -> None:
    """Cases, contracts and reviews; of two that are written at once both count."""
    lawyer = town.lawyer()
    contract = town.contract(lawyer)
    town.review(contract, lawyer, "won")
    client = town.client
    town.execute(
        "INSERT INTO litgo.cases (id, client_id, area, urgency_h, summary) "
        "SELECT gen_random_uuid(), :client, 'civil', 24, 'x' FROM generate_series(1, 2)",
        client=client,
    )
    assert counted(town) == {"cases_created_total": 3, "contracts_created_total": 1, "reviews_total{won}": 1}


def test_vectors_count_by_who_made_them(town: Town) -> None:
    """Made for the first time and made anew."""
    for name, dim in (("text-embedding-3-small@1:3", 3), ("all-MiniLM@1:3", 3)):
        town.execute("SELECT litgo.add_embedding_space(:name, 'm', '1', :dim)", name=name, dim=dim)
        for _ in range(2):
            town.execute(
                "INSERT INTO litgo.embeddings (space, entity_type, entity_id, content_hash, vector, embedded_at) "
                "VALUES (:space, 'case', :id, 'h', '[1,0,0]', now()) "
                "ON CONFLICT (space, entity_type, entity_id) DO UPDATE SET vector = excluded.vector",
                space=name,
                id=UUID(int=7),
            )
    assert counted(town) == {"embedding_source_total{openai}": 2, "embedding_source_total{local}": 2}


def test_history_does_not_count(town: Town) -> None:
    """Who writes what happened long ago says so, and no rate jumps; the next transaction counts again."""
    contract = town.contract(town.lawyer(), status="requested")
    before = counted(town)
    with town.engine.begin() as connection:
        write_history(connection)
        connection.execute(text("INSERT INTO litgo.clients (id) VALUES (:id)"), {"id": UUID(int=3)})
        connection.execute(
            text(
                "INSERT INTO litgo.cases (id, client_id, area, urgency_h, summary) "
                "SELECT gen_random_uuid(), :id, 'civil', 24, 'x' FROM generate_series(1, 5)"
            ),
            {"id": UUID(int=3)},
        )
        connection.execute(text("UPDATE litgo.contracts SET status = 'active', signing_method = 'manual' WHERE id = :id"), {"id": contract})
    assert since(town, before) == {}
    town.case()
    assert since(town, before) == {"cases_created_total": 1}
