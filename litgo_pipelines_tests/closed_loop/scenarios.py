"""What happens to the models while nobody lifts a hand, one scenario after another in the same world. Each returns what it saw.

What should have been seen is asserted in `test_closed_loop`; how long things took is told by `python -m litgo_pipelines_tests.closed_loop`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from litgo_pipelines.ranking.text import SPACE
from litgo_pipelines_tests.closed_loop.harness import PERSON, SEED, World, parsed, register, versions_of

CLIENTS = 260
"""Of whom about half come to either side: enough for a verdict on models that differ as much as these do."""
REFERENCE = 110
A_WEEK = timedelta(days=8)
"""For answers (a day) and signatures (seven)."""

_EXPERIMENT = "SELECT id, champion, challenger, status, verdict, actor, conclusion FROM litgo.experiments ORDER BY created_at DESC LIMIT 1"
_RUNS = "SELECT FROM litgo.experiments WHERE status = 'running' AND challenger = :version"
_STATE = "SELECT state, reason, cooldown_until, watched_since FROM litgo.model_states WHERE version = :version"
_MOVES = """
SELECT id, action, actor, from_version, to_version, result, reason, decided_at FROM litgo.decisions
WHERE stage = 'outcome' AND action IN ('promotion', 'rollback', 'alias moved') ORDER BY id
"""
_DEGRADED = "SELECT id FROM litgo.decisions WHERE action = 'watch' AND result = 'degraded' AND :version IN (from_version, to_version)"
_TOLD = "SELECT key, subject, status FROM litgo.notifications ORDER BY id"
_SCORES = """
SELECT avg(m.score)::float8 FROM litgo.match_requests r JOIN litgo.case_matches m ON m.request_id = r.id
WHERE r.model_version = :version AND r.status = 'ok' AND (r.embedding_space = :words) = :away AND r.id = ANY(:ids)
GROUP BY r.id, r.started_at ORDER BY r.started_at
"""
_LOST = "SELECT id, lat, lng, tempo_resposta_h FROM litgo.lawyers"


@dataclass
class Seen:
    """What a scenario saw.

    Attributes:
        facts: what is asserted.
        seconds: how long things took, by what they were.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def a_better_candidate_is_promoted(world: World) -> Seen:
    """A weak champion answers; reviews start a training; its candidate passes the gate, wins its experiment and answers everybody."""
    seen = Seen()
    weak = register(world.registry, world.artifacts, {"q": 1.0}, (0.5, -1.5))
    world.move_alias(weak)
    world.until(lambda: world.model()["version"] == weak, "the weak champion answers")
    world.tell("reviews start a training")
    seen.seconds["reviews to experiment"] = world.until(lambda: world.one(f"{_EXPERIMENT}"), "the candidate is on trial")
    candidate = world.one(_EXPERIMENT).challenger
    _wait_for_sides(world, candidate)
    world.tell(f"{CLIENTS} clients come, and a week passes")
    visits = world.come(CLIENTS)
    world.pass_time(A_WEEK)
    seen.seconds["evidence to promotion"] = world.until(lambda: world.champion_is(candidate), "the candidate is promoted")
    seen.seconds["alias change to first answer"] = _until_answered_by(world, candidate)
    world.until(lambda: world.one(_EXPERIMENT).status == "ended", "the experiment ends")
    world.until(lambda: world.model()["experiment"] is None, "the service knows that the experiment ended")
    seen.facts |= {
        "weak": weak,
        "candidate": candidate,
        "sides": versions_of(visits),
        "experiment": world.one(_EXPERIMENT)._asdict(),
        "state": world.one(_STATE, version=candidate)._asdict(),
        "moves": _moves(world),
        "afterwards": versions_of(world.come(20)),
    }
    return seen


def a_worse_candidate_is_stopped(world: World) -> Seen:
    """A person puts a bad candidate on trial; it is stopped for harm and blocked, and the champion never changes."""
    seen = Seen()
    champion = world.registry.champion()
    assert champion is not None
    worse = register(world.registry, world.artifacts, {"t": 1.0}, (0.5, -1.5))
    world.command("experiment", "start", worse, "--by", PERSON, "--reason", "it looked good in a notebook")
    _wait_for_sides(world, worse)
    world.tell(f"{CLIENTS} clients come, and a week passes")
    visits = world.come(CLIENTS)
    world.pass_time(A_WEEK)
    seen.seconds["evidence to stop for harm"] = world.until(lambda: world.one(_EXPERIMENT).status == "ended", "the experiment ends")
    world.until(lambda: world.model()["experiment"] is None, "the service knows that the experiment ended")
    seen.facts |= {
        "champion": champion,
        "worse": worse,
        "sides": versions_of(visits),
        "experiment": world.one(_EXPERIMENT)._asdict(),
        "state": world.one(_STATE, version=worse)._asdict(),
        "alias": world.registry.champion(),
        "moves": _moves(world),
        "told": _told(world),
        "afterwards": versions_of(world.come(20)),
        "once more": world.refused("experiment", "start", worse, "--by", PERSON, "--reason", "once more"),
        "running": world.rows(_RUNS, version=worse),
    }
    return seen


def a_person_moves_the_alias(world: World) -> Seen:
    """Amid an experiment a person moves the alias in MLflow: the service follows, and it is recorded, told, and flagged until explained."""
    seen = Seen()
    before = world.registry.champion()
    chosen = register(world.registry, world.artifacts, {"g": 0.3, "s": 0.4, "u": 0.3}, (24.0, -13.8))
    world.command("experiment", "start", chosen, "--by", PERSON, "--reason", "place, likeness and promptness alone")
    _wait_for_sides(world, chosen)
    amid = versions_of(world.come(20))
    world.tell("a person loses patience and moves the alias")
    moved_at = datetime.now(UTC)
    world.move_alias(chosen)
    seen.seconds["alias change to first answer"] = _until_answered_by(world, chosen)
    world.until(lambda: _moves(world)[-1]["to_version"] == chosen, "the move is recorded")
    decision = _moves(world)[-1]
    seen.seconds["alias change to record"] = (decision["decided_at"] - moved_at).total_seconds()
    world.until(lambda: world.model()["experiment"] is None, "the service knows that the experiment ended")
    flagged = _flagged(world)
    world.command("model", "annotate", str(decision["id"]), "--by", PERSON, "--reason", "I could not wait")
    seen.facts |= {
        "before": before,
        "chosen": chosen,
        "amid": amid,
        "decision": decision,
        "experiment": world.one(_EXPERIMENT)._asdict(),
        "state": world.one(_STATE, version=chosen)._asdict(),
        "watched": [row.version for row in world.rows("SELECT version FROM litgo.model_states WHERE watched_since IS NOT NULL")],
        "told": _told(world),
        "flagged": flagged,
        "flagged after the note": _flagged(world),
        "afterwards": versions_of(world.come(20)),
    }
    return seen


def a_vendor_is_away(world: World) -> Seen:
    """For an hour texts are compared by their words alone: scores fall, nobody is rolled back for it, and afterwards all goes on."""
    seen = Seen()
    champion = world.registry.champion()
    assert champion is not None
    moves = _moves(world)
    world.tell("the champion's first decisions become its reference")
    before = world.come(REFERENCE)
    world.vendor.away = True
    world.tell("the vendor is away for an hour")
    during = []
    for _ in range(2):
        during += world.come(80)
        world.pass_time(timedelta(minutes=30))
    looked_at = datetime.now(UTC)
    during += world.come(20)

    def told() -> list[Any]:
        # A tick while a look is under way says nothing of these decisions.
        said = [(one, one.skip_reason or parsed(one.cursor)["reason"]) for one in world.ticks("champion_watch", looked_at)]
        return [one for one, words in said if "new decisions" in words or "degraded" in words]

    seen.seconds["until the watch looked"] = world.until(lambda: told(), "the watch tells of decisions that it did not know")
    tick = told()[0]
    world.until(lambda: not world.runs_under_way(), "a look under way ends")
    alias = world.registry.champion()
    world.vendor.away = False
    after = world.come(30)
    scores = {
        name: _scores(world, champion, visits, away=away)
        for name, visits, away in (("before", before, False), ("during", during, True), ("after", after, False))
    }
    seen.facts |= {
        "champion": champion,
        "spaces": {name: sorted({one.answer["embedding_space"] for one in each}) for name, each in _named(before, during, after)},
        "versions": {name: versions_of(each) for name, each in _named(before, during, after)},
        "decisions": {name: len(each) for name, each in scores.items()},
        "scores": {name: float(each.mean()) for name, each in scores.items()},
        "highest, had they counted": _highest(scores["before"], scores["during"], world),
        "watch": tick.skip_reason or parsed(tick.cursor)["reason"],
        "degraded": world.rows(_DEGRADED, version=champion),
        "alias": alias,
        "new moves": _moves(world)[len(moves) :],
        "state": world.one(_STATE, version=champion)._asdict(),
    }
    return seen


def a_degraded_champion_is_rolled_back(world: World) -> Seen:
    """Amid an experiment an import loses what the champion looks at: it is withdrawn, and a proven version answers again."""
    seen = Seen()
    champion = world.registry.champion()
    assert champion is not None
    tried = register(world.registry, world.artifacts, {"g": 1.0}, (6.0, -3.0))
    world.command("experiment", "start", tried, "--by", PERSON, "--reason", "place alone")
    _wait_for_sides(world, tried)
    world.tell("an import loses everybody's place and answer time")
    lost = [row._asdict() for row in world.rows(_LOST)]
    _break_profiles(world)
    known = world.service.get("/readyz").json()["lawyers"]
    world.until(lambda: world.service.get("/readyz").json()["lawyers"] == known + 1, "the service reads the lawyers anew")
    asked_at = datetime.now(UTC)
    visits = world.come(200)
    evidence_at = datetime.now(UTC)
    world.until(lambda: not world.champion_is(champion), "the champion is withdrawn")
    seen.seconds["evidence to rollback"] = (datetime.now(UTC) - evidence_at).total_seconds()
    back = world.registry.champion()
    assert back is not None
    seen.seconds["alias change to first answer"] = _until_answered_by(world, back)
    world.until(lambda: world.one(_EXPERIMENT).status == "ended", "the experiment ends")
    decision = _moves(world)[-1]
    asking = next(tick for tick in world.ticks("champion_watch", asked_at) if tick.run_ids)
    seen.seconds["tick to rollback"] = decision["decided_at"].timestamp() - asking.timestamp
    for row in lost:
        world.write("UPDATE litgo.lawyers SET lat = :lat, lng = :lng, tempo_resposta_h = :tempo_resposta_h WHERE id = :id", **row)
    seen.facts |= {
        "champion": champion,
        "back to": back,
        "tried": tried,
        "sides": versions_of(visits),
        "decision": decision,
        "state": world.one(_STATE, version=champion)._asdict(),
        "state of the one gone back to": world.one(_STATE, version=back)._asdict(),
        "experiment": world.one(_EXPERIMENT)._asdict(),
        "told": _told(world),
        "afterwards": versions_of(world.come(20)),
        "now": datetime.now(UTC),
    }
    return seen


SCENARIOS: tuple[Callable[[World], Seen], ...] = (
    a_better_candidate_is_promoted,
    a_worse_candidate_is_stopped,
    a_person_moves_the_alias,
    a_vendor_is_away,
    a_degraded_champion_is_rolled_back,
)
"""In this order: each begins where the one before it ended."""


def _wait_for_sides(world: World, challenger: str) -> None:
    """Until the service lets clients take part in the experiment."""
    world.until(lambda: world.rows(_RUNS, version=challenger), f"version {challenger} is on trial")

    def served() -> bool:
        found = world.model()["experiment"]
        return found is not None and found["challenger"] == challenger and found["error"] is None

    world.until(served, f"version {challenger} answers its share of the clients")


def _until_answered_by(world: World, version: str) -> float:
    """Seconds until a client is answered by a version because it is the champion; clients come one after another."""

    def answered() -> bool:
        (visit,) = world.come(1)
        # On trial it answers some clients anyway.
        on_trial = world.one("SELECT variant FROM litgo.match_requests WHERE id = :id", id=visit.answer["request_id"]).variant
        return visit.model_version == version and on_trial is None

    return world.until(answered, f"version {version} answers everybody")


def _moves(world: World) -> list[dict[str, Any]]:
    return [row._asdict() for row in world.rows(_MOVES)]


def _told(world: World) -> dict[str, str]:
    """Subjects of what is in the outbox, by key."""
    return {row.key: row.subject for row in world.rows(_TOLD) if row.status == "queued"}


def _flagged(world: World) -> list[int]:
    listed = parsed(world.command("model", "history", "--limit", "100", "--json"))["decisions"]
    return [one["id"] for one in listed if one["unexplained"]]


def _named(before: Any, during: Any, after: Any) -> tuple[tuple[str, Any], ...]:
    return ("before", before), ("during", during), ("after", after)


def _scores(world: World, version: str, visits: Any, *, away: bool) -> np.ndarray[Any, Any]:
    """Mean match score of each decision of a version."""
    ids = [one.answer["request_id"] for one in visits]
    return np.array([row[0] for row in world.rows(_SCORES, version=version, words=SPACE, away=away, ids=ids)])


def _highest(reference: Any, scores: Any, world: World) -> float:
    """How high the watch's statistics would have stood had the scores counted, as a share of their boundaries: above 1 is an alarm."""
    from litgo_pipelines.rollout.watch import reference_of, score_statistics

    found = reference_of(reference[:100], SPACE, (), (), least=100)
    assert found is not None
    return float(score_statistics(scores, found, world.settings.quality_threshold).max())


def _break_profiles(world: World) -> None:
    """Everybody's place and answer time are gone, and a lawyer joins, at which the service reads all of them anew."""
    from litgo_pipelines.marketplace import tables
    from litgo_pipelines.simulation.world import make_lawyers

    now = datetime.now(UTC)
    joining = make_lawyers(SEED + 1, 1, now - timedelta(days=1), now)
    row = joining.rows[0] | {"oab_number": "XX000000"}
    with world.engine.begin() as connection:
        connection.execute(tables.lawyers.update().values(lat=None, lng=None, tempo_resposta_h=None))
        connection.execute(tables.lawyers.insert(), row | {"capacidade_mensal": int(joining.capacity[0])})
        traits = {"entity_type": "lawyer", "entity_id": row["id"], "traits": joining.traits[0].tolist()}
        connection.execute(tables.simulation_truth.insert(), traits)
