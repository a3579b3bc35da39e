"""Experiments as recorded facts: one runs, one waits, and each change is one decision."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError

from litgo_pipelines.rollout import experiments
from litgo_pipelines.rollout.assignment import Split
from litgo_pipelines.rollout.decisions import NotSaid
from litgo_pipelines.rollout.experiment_rules import Ruling
from litgo_pipelines.rollout.experiments import Experiment, NoExperiment, Terms
from litgo_pipelines.settings import load_settings

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
TERMS = Terms("ab", (0.01, 0.05, 0.1), 28.0, "keep")


def ruling(verdict: str) -> Ruling:
    return Ruling(verdict=verdict, reasons=["so it is"], evidence={"why": verdict})


def queue(connection: Connection, challenger: str = "2", champion: str = "1", **changes: Any) -> Experiment:
    given: dict[str, Any] = {"actor": "promotion", "reason": "it passed", "at": NOON, "evidence": {"judged": "gate"}}
    return experiments.queue(connection, challenger, champion, TERMS, **(given | changes))


def begin(connection: Connection, challenger: str = "2", champion: str = "1") -> Experiment:
    return experiments.start(connection, queue(connection, challenger), ruling("start"), champion, actor="promotion", at=NOON)


def end(connection: Connection, found: Experiment, **changes: Any) -> None:
    given: dict[str, Any] = {"verdict": "inconclusive", "conclusion": "time is up", "actor": "experiment_readout", "at": NOON}
    experiments.end(connection, found.id, **(given | changes))


def actions(connection: Connection) -> list[tuple[str, str, str | None, str | None]]:
    """Action, result, from and to of each decision, oldest first."""
    rows = connection.execute(text("SELECT action, result, from_version, to_version FROM litgo.decisions ORDER BY id"))
    return [tuple(row) for row in rows]  # type: ignore[misc]


def test_a_candidate_waits_until_it_is_started(engine: Engine) -> None:
    """In line it assigns nobody; started, it runs against what answers then, from its first step."""
    with engine.begin() as connection:
        queued = queue(connection, champion="1")
        assert (queued.status, queued.started_at, experiments.running(connection)) == ("waiting", None, None)
        assert experiments.waiting(connection) == queued
        at = NOON + timedelta(hours=3)
        began = experiments.start(connection, queued, ruling("start"), "5", actor="experiment_readout", at=at)
        assert experiments.waiting(connection) is None
        assert experiments.running(connection) == began == experiments.newest(connection)
    assert (began.status, began.champion, began.step, began.started_at, began.step_started_at) == ("running", "5", 0, at, at)
    assert began.split == Split(began.salt, began.ramp_salt, TERMS.steps, 0, "ab")
    assert (began.max_days, began.at_the_end, began.mode) == (28.0, "keep", "ab")
    with engine.connect() as connection:
        assert actions(connection) == [("experiment queued", "waits", "1", "2"), ("experiment started", "start", "5", "2")]


def test_no_two_experiments_share_a_salt(engine: Engine) -> None:
    """Nor are the two of one experiment the same: who is let in first would be on one side."""
    with engine.begin() as connection:
        made = [queue(connection, version) for version in "234"]
    assert len({salt for one in made for salt in (one.salt, one.ramp_salt)}) == 6


def test_a_newer_candidate_takes_the_place_of_the_one_in_line(engine: Engine) -> None:
    """The one that runs is left alone; who had waited is replaced, and the conclusion says by whom."""
    with engine.begin() as connection:
        runs, waits = begin(connection, "2"), queue(connection, "3")
        newer = queue(connection, "4")
        assert (experiments.running(connection), experiments.waiting(connection)) == (runs, newer)
        before = experiments.find(connection, waits.id)
        assert (before.status, before.verdict, before.ended_at) == ("ended", "replaced", NOON)
        assert "version 4" in str(before.conclusion)
        assert actions(connection)[2:] == [
            ("experiment queued", "waits", "1", "3"),
            ("experiment ended", "replaced", "1", "3"),
            ("experiment queued", "waits", "1", "4"),
        ]
        assert [one.id for one in experiments.of_version(connection, "3")] == [waits.id]
        assert len(experiments.of_version(connection, "1")) == 3


def test_who_queues_at_once_leaves_one_in_line(engine: Engine) -> None:
    """The second waits for the first one's transaction, sees what it wrote, and replaces it; neither fails."""

    def second() -> None:
        with engine.begin() as connection:
            queue(connection, "3")

    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as connection:
            queue(connection, "2")
            later = pool.submit(second)
            until = time.monotonic() + 20
            while not later.done() and not waits_for_a_lock(engine):
                assert time.monotonic() < until, "it neither waits nor ends"
                time.sleep(0.01)
        later.result()
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT challenger, status, verdict FROM litgo.experiments ORDER BY challenger")).all()
        assert [tuple(row) for row in rows] == [("2", "ended", "replaced"), ("3", "waiting", None)]


def waits_for_a_lock(engine: Engine) -> bool:
    with engine.connect() as connection:
        return bool(connection.execute(text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")).scalar_one())


def test_who_starts_at_once_starts_it_once(engine: Engine) -> None:
    """Two read that the same one waits, and both let it begin: it begins once, and one decision says so."""
    with engine.begin() as connection:
        waits = queue(connection)
    together = Barrier(2)

    def one(actor: str) -> Experiment:
        together.wait()
        with engine.begin() as connection:
            experiments.take_turn(connection)
            found = experiments.waiting(connection)
            said = ruling("start" if found is not None else "wait")
            return experiments.start(connection, waits, said, "1", actor=actor, at=NOON)

    with ThreadPoolExecutor(2) as pool:
        began = list(pool.map(one, ["a", "b"]))
    assert [found.status for found in began] == ["running", "running"]
    with engine.connect() as connection:
        assert [action for action, *_ in actions(connection)] == ["experiment queued", "experiment started"]


def test_the_database_holds_one_that_runs_and_one_that_waits(engine: Engine) -> None:
    """Whoever forgets to ask is stopped there: a second one does not begin beside the first."""
    with engine.begin() as connection:
        begin(connection)
        second = queue(connection, "3")
    with pytest.raises(IntegrityError), engine.begin() as connection:
        experiments.start(connection, second, ruling("start"), "1", actor="a", at=NOON)
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO litgo.experiments (id, mode, champion, challenger, status, salt, ramp_salt, steps, max_days, at_the_end, "
                "actor, reason, created_at) SELECT :id, mode, champion, challenger, status, salt, ramp_salt, steps, max_days, at_the_end, "
                "actor, reason, created_at FROM litgo.experiments WHERE status = 'waiting'"
            ),
            {"id": uuid4()},
        )


def test_a_candidate_that_has_to_wait_stays_in_line(engine: Engine) -> None:
    """Nothing is changed, nothing recorded."""
    with engine.begin() as connection:
        waits = queue(connection)
        assert experiments.start(connection, waits, ruling("wait"), "1", actor="a", at=NOON) == waits
        assert len(actions(connection)) == 1


def test_a_candidate_that_is_refused_leaves_the_line(engine: Engine) -> None:
    """It ends without having begun, and the conclusion says why."""
    with engine.begin() as connection:
        found = experiments.start(connection, queue(connection), ruling("refuse"), "1", actor="a", at=NOON)
        assert (found.status, found.verdict, found.conclusion, found.started_at) == ("ended", "stopped", "so it is", None)
        assert experiments.waiting(connection) is None
        assert actions(connection)[1:] == [("experiment ended", "stopped", "1", "2")]


def test_a_ramp_goes_on_once_for_each_ruling(engine: Engine) -> None:
    """Two that judged the same step move on by one step; staying, or a ruling on a step that was left, changes nothing."""
    with engine.begin() as connection:
        began = begin(connection)
        at = NOON + timedelta(hours=24)
        assert not experiments.ramp(connection, began, ruling("stay"), actor="a", at=at)
        assert experiments.ramp(connection, began, ruling("ramp"), actor="a", at=at)
        assert not experiments.ramp(connection, began, ruling("ramp"), actor="a", at=at)
        found = experiments.find(connection, began.id)
        assert (found.step, found.step_started_at, found.started_at) == (1, at, NOON)
        assert found.split.share == 0.05
        assert (found.salt, found.ramp_salt) == (began.salt, began.ramp_salt)
        assert actions(connection)[2:] == [("experiment ramped", "ramp", "1", "2")]


def test_an_end_is_the_first_one(engine: Engine) -> None:
    """Ended again, with whatever verdict, it stays as it ended, and one decision tells it; there is room for the next."""
    with engine.begin() as connection:
        began = begin(connection)
        end(connection, began, evidence={"verdict": "inconclusive"})
        ended = experiments.find(connection, began.id)
        end(connection, began, verdict="harm", conclusion="worse", at=NOON + timedelta(days=1))
        assert experiments.find(connection, began.id) == ended
        assert (ended.status, ended.verdict, ended.conclusion, ended.ended_at) == ("ended", "inconclusive", "time is up", NOON)
        assert actions(connection)[2:] == [("experiment ended", "inconclusive", "1", "2")]
        assert not experiments.ramp(connection, began, ruling("ramp"), actor="a", at=NOON)
        assert begin(connection, "3").status == "running"


def test_a_winner_that_waits_for_approval_still_runs(engine: Engine) -> None:
    """Nobody is approved before, a person is named, and the arms go on as they did in the meantime; no step is taken."""
    with engine.begin() as connection:
        began = begin(connection)
        with pytest.raises(NoExperiment, match="litgo experiment status"):
            experiments.approve(connection, by="ana", reason="checked", at=NOON)
        assert [experiments.ask_approval(connection, began) for _ in range(2)] == [True, False]
        asked = experiments.running(connection)
        assert asked is not None
        assert (asked.status, asked.approved_by, asked.split) == ("approval", None, began.split)
        assert not experiments.ramp(connection, began, ruling("ramp"), actor="a", at=NOON)
        for by, reason in (("", "checked"), ("ana", " ")):
            with pytest.raises(NotSaid):
                experiments.approve(connection, by=by, reason=reason, at=NOON)
        found = experiments.approve(connection, by=" ana ", reason="checked", at=NOON)
        assert (found.status, found.approved_by) == ("approval", "ana")
        assert actions(connection)[2:] == [("approval", "approved", "1", "2")]
        end(connection, found, verdict="harm")
        assert experiments.running(connection) is None
        with pytest.raises(NoExperiment):
            experiments.approve(connection, by="ana", reason="checked", at=NOON)


@pytest.mark.parametrize(("actor", "reason"), [("", "why"), ("ana", "")])
def test_nobody_queues_without_name_and_reason(engine: Engine, actor: str, reason: str) -> None:
    """Who waits keeps its place then."""
    with engine.begin() as connection:
        waits = queue(connection)
    with pytest.raises(NotSaid), engine.begin() as connection:
        queue(connection, "3", actor=actor, reason=reason)
    with engine.connect() as connection:
        assert experiments.waiting(connection) == waits
        assert len(actions(connection)) == 1


def test_the_hand_weights_are_no_version_in_the_history(engine: Engine) -> None:
    """An experiment pins them by name; its decisions leave the version empty, as promotions do."""
    with engine.begin() as connection:
        found = experiments.start(
            connection, queue(connection, champion="hand-weights"), ruling("start"), "hand-weights", actor="a", at=NOON
        )
        end(connection, found)
        assert found.champion == "hand-weights"
        assert {before for _, _, before, _ in actions(connection)} == {None}


def test_the_newest_is_the_one_made_last_whatever_became_of_it(engine: Engine) -> None:
    """Nothing to begin with; an unknown id is told with the verb that helps."""
    with engine.begin() as connection:
        assert (experiments.newest(connection), experiments.running(connection), experiments.waiting(connection)) == (None, None, None)
        with pytest.raises(NoExperiment, match="litgo experiment status"):
            experiments.find(connection, uuid4())
        first = begin(connection)
        later = queue(connection, "3", at=NOON + timedelta(hours=1))
        end(connection, later, verdict="stopped")
        newest = experiments.newest(connection)
        assert newest is not None
        assert (newest.id, experiments.running(connection)) == (later.id, first)


def test_terms_are_those_of_the_settings(engine: Engine) -> None:
    """The ramp ends with the default share, or is as said; the mode may be another one for once."""
    assert Terms.of(load_settings()) == TERMS
    settings = load_settings(default_traffic_percentage=3.0, litgo_experiment_max_days=7.0, litgo_experiment_mode="interleaving")
    assert Terms.of(settings) == Terms("interleaving", (0.01, 0.03), 7.0, "keep")
    assert Terms.of(settings, "ab") == replace(Terms.of(settings), mode="ab")
    assert Terms.of(load_settings(litgo_ramp=[2.0, 50.0])).steps == (0.02, 0.5)
