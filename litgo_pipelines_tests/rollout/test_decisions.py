"""The history of decisions: only ever added to, whole, and told in its order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from litgo_pipelines.rollout import decisions
from litgo_pipelines.rollout.decisions import MLFLOW_UI, Decision, NotSaid, UnknownDecision

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def record(connection: Connection, action: Any = "gate", **changes: Any) -> Decision:
    given: dict[str, Any] = {"actor": "ana", "reason": "because", "at": NOON, "result": "pass"}
    return decisions.record(connection, action, **(given | changes))


def intend(connection: Connection, **changes: Any) -> Decision:
    given: dict[str, Any] = {
        "actor": "promotion",
        "reason": "it passed",
        "at": NOON,
        "from_version": "1",
        "to_version": "2",
        "evidence": {"verdict": "pass"},
        "run_id": "run",
    }
    return decisions.intend(connection, "promotion", **(given | changes))


def stored(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT * FROM litgo.decisions ORDER BY id")))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE litgo.decisions SET reason = 'another'",
        "DELETE FROM litgo.decisions",
        "TRUNCATE litgo.decisions",
        "TRUNCATE litgo.decisions CASCADE",
    ],
)
def test_the_database_refuses_to_change_or_delete_a_decision(engine: Engine, database_url: str, change: str) -> None:
    """Not even the owner of the tables may, and what was written stays as it was."""
    from litgo_pipelines.marketplace.database import open_engine

    with engine.begin() as connection:
        record(connection)
    before = stored(engine)
    owner = open_engine(database_url, role=None)
    for one in (engine, owner):
        with pytest.raises(DBAPIError) as refused, one.begin() as connection:
            connection.execute(text(change))
        assert one is engine or "added, never changed" in str(refused.value)
    owner.dispose()
    assert stored(engine) == before


def test_a_decision_is_kept_as_it_was_taken(engine: Engine) -> None:
    """Every field comes back as it went in, found by its number; blanks around names are none of theirs."""
    with engine.begin() as connection:
        first = record(connection)
        evidence = {"ndcg": 0.75, "areas": ["cível"], "champion": None}
        added = record(
            connection,
            "promotion",
            actor=" ana ",
            reason=" ok\n",
            from_version="1",
            to_version="2",
            evidence=evidence,
            run_id="r",
            about=first.id,
        )
    with engine.connect() as connection:
        found = decisions.find(connection, added.id)
    assert found == added
    assert (found.stage, found.actor, found.reason, found.evidence, found.about) == ("outcome", "ana", "ok", evidence, first.id)
    assert (found.from_version, found.to_version, found.result, found.dagster_run_id, found.decided_at) == ("1", "2", "pass", "r", NOON)
    assert found.operation_id != first.operation_id


@pytest.mark.parametrize(("actor", "reason", "said"), [("", "why", "somebody"), (" \n", "why", "somebody"), ("ana", "\t", "a reason")])
def test_a_decision_without_a_name_or_a_reason_is_none(engine: Engine, actor: str, reason: str, said: str) -> None:
    """Refused with what to give, whichever way it is written."""
    with engine.begin() as connection:
        with pytest.raises(NotSaid, match=said):
            record(connection, actor=actor, reason=reason)
        with pytest.raises(NotSaid, match=said):
            intend(connection, actor=actor, reason=reason)
        about = record(connection)
        with pytest.raises(NotSaid, match=said):
            decisions.annotate(connection, about.id, actor=actor, reason=reason, at=NOON)
    assert len(stored(engine)) == 1


def test_evidence_that_json_cannot_hold_is_not_written(engine: Engine) -> None:
    """A NaN would come back as something else; nothing is kept rather than that."""
    with engine.begin() as connection, pytest.raises(ValueError, match="JSON"):
        record(connection, evidence={"ndcg": float("nan")})
    assert stored(engine) == []


def test_an_intent_is_concluded_once(engine: Engine) -> None:
    """Who concludes it again, with whatever result, gets what the first wrote; the intent is no longer unfinished."""
    with engine.begin() as connection:
        intent, other = intend(connection), intend(connection, to_version="3")
        assert decisions.unfinished(connection) == [intent, other]
        assert (intent.stage, intent.result) == ("intent", None)
    with engine.begin() as connection:
        first = decisions.conclude(connection, intent, "done", at=NOON + timedelta(seconds=1))
        again = decisions.conclude(connection, intent, "superseded", reason="late", evidence={}, at=NOON + timedelta(hours=1))
        assert decisions.unfinished(connection) == [other]
    assert again == first
    assert len(stored(engine)) == 3
    assert (first.operation_id, first.stage, first.result) == (intent.operation_id, "outcome", "done")
    shared = ("action", "actor", "from_version", "to_version", "reason", "evidence", "dagster_run_id")
    assert [getattr(first, one) for one in shared] == [getattr(intent, one) for one in shared]


def test_an_outcome_may_say_more_than_its_intent(engine: Engine) -> None:
    """A reason and evidence of its own, where they are given; the intent keeps its."""
    with engine.begin() as connection:
        intent = intend(connection)
        outcome = decisions.conclude(connection, intent, "superseded", reason="moved meanwhile", evidence={"seen": "3"}, at=NOON)
        assert (outcome.reason, outcome.evidence) == ("moved meanwhile", {"seen": "3"})
        assert decisions.find(connection, intent.id) == intent


def test_history_tells_the_newest_first_and_of_one_version_alone(engine: Engine) -> None:
    """As many as asked for, later than a number if given; a version's are those from it and to it."""
    with engine.begin() as connection:
        numbers = [record(connection, from_version=before, to_version=after).id for before, after in (("1", "2"), ("2", "3"), (None, "4"))]
        assert [one.id for one in decisions.history(connection, 10)] == numbers[::-1]
        assert [one.id for one in decisions.history(connection, 2)] == numbers[:0:-1]
        assert [one.id for one in decisions.history(connection, 10, version="2")] == numbers[1::-1]
        assert [one.id for one in decisions.history(connection, 10, after=numbers[0])] == numbers[:0:-1]
        assert decisions.earliest_after(connection, 0, 1) == [], "not committed yet"
    with engine.connect() as connection:
        assert [one.id for one in decisions.earliest_after(connection, numbers[0], 1)] == numbers[1:2]


def test_what_happened_in_mlflow_is_unexplained_until_somebody_explains_it(engine: Engine) -> None:
    """An annotation of another decision, or our own decisions, change nothing about that."""
    with engine.begin() as connection:
        record(connection)
        moved = record(connection, "alias moved", actor=MLFLOW_UI, from_version="1", to_version="3", result="followed")
        deleted = record(connection, "version deleted", actor=MLFLOW_UI, from_version="2", to_version="2", result="noted")
        record(connection, "rollback", about=moved.id)
        assert decisions.unexplained(connection) == [moved, deleted]
        note = decisions.annotate(connection, deleted.id, actor="ana", reason="old", at=NOON + timedelta(days=1))
        assert (note.about, note.action, note.actor, note.to_version) == (deleted.id, "annotation", "ana", "2")
        assert decisions.unexplained(connection) == [moved]
        decisions.annotate(connection, moved.id, actor="ana", reason="a drill", at=NOON)
        assert decisions.unexplained(connection) == []


def test_a_number_that_nobody_decided_is_told_with_the_verb_that_lists_them(engine: Engine) -> None:
    """Neither found nor annotated."""
    with engine.begin() as connection:
        with pytest.raises(UnknownDecision, match="litgo model history"):
            decisions.find(connection, 99)
        with pytest.raises(UnknownDecision):
            decisions.annotate(connection, 99, actor="ana", reason="x", at=NOON)


def test_a_decision_is_told_in_one_line(engine: Engine) -> None:
    """From where to where, with the hand weights by name; nothing where nothing moved."""
    with engine.begin() as connection:
        assert intend(connection, from_version=None).told() == "promotion hand-weights -> 2: intended (promotion): it passed"
        assert record(connection, from_version="2", to_version="2").told() == "gate: pass (ana): because"
