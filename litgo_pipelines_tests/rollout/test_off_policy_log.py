"""Explored requests read for another ranker: who would have stood where, and what is counted."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from litgo_pipelines.casework.matching import decide, derived_id, note_offers
from litgo_pipelines.casework.recording import Recording, record
from litgo_pipelines.equity.allocation import OfferRule, allocate, never
from litgo_pipelines.marketplace.names import FEATURES
from litgo_pipelines.ranking.ranker import HandWeights, Ranker
from litgo_pipelines.rollout.off_policy import OffPolicyResult, recompute
from litgo_pipelines.rollout.off_policy_log import estimate, place_probabilities
from litgo_pipelines.simulation.engine import simulate
from litgo_pipelines_tests.casework.conftest import NOON, Town
from litgo_pipelines_tests.simulation.conftest import AS_OF, as_simulator, conduct, plan

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from litgo_pipelines_tests.conftest import Databases

QUALIFIED = FEATURES.index("q")
RULE = OfferRule(price=0.5, bonus=0.05, exploration=1.0)
LATER = NOON + timedelta(days=2)


@dataclass(frozen=True)
class Even:
    """To whom all lawyers are alike."""

    version: str = "even"

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.zeros(len(features))

    def acceptance(self, features: NDArray[np.float32], raw: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: ARG002 (the protocol's shape)
        return np.full(len(features), 0.5)


@dataclass(frozen=True)
class Strict:
    """Who goes by qualification, in steps of far more than a band."""

    version: str = "strict"

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        return features[:, QUALIFIED].astype(np.float64)

    def acceptance(self, features: NDArray[np.float32], raw: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: ARG002 (the protocol's shape)
        return 0.1 + 0.8 * raw


@given(st.lists(st.sampled_from([0.1, 0.11, 0.125, 0.3, 0.31, 0.5]), min_size=1, max_size=9), st.integers(1, 9), st.integers(0, 9))
def test_the_chance_of_a_place_is_what_the_offer_rule_records(scores: list[float], top_n: int, seed: int) -> None:
    """Of each lawyer at the place where an explored allocation put them; at every place somebody stands for certain."""
    score, count = np.array(scores), len(scores)
    nothing, ids = np.zeros(count), np.arange(count).astype(">u8").repeat(2).view("V16")
    never_offered = np.full(count, never())
    rule = OfferRule(price=0.0, bonus=0.0)
    found = allocate(score, nothing, nothing.astype(bool), never_offered, ids, b"case", top_n, rule, explore=np.random.default_rng(seed))
    chance = place_probabilities(score, found.chosen.size)
    np.testing.assert_allclose(chance[found.chosen, np.arange(found.chosen.size)], found.propensity)
    np.testing.assert_allclose(chance.sum(axis=0), 1)


def test_values_on_the_edge_of_a_band_survive_single_precision() -> None:
    """Every multiple of .02 lies in the band that begins there, also after a way through a real column."""
    edges = np.arange(1, 50) * 0.02
    stored = edges.astype(np.float32).astype(np.float64)
    assert np.all(place_probabilities(stored, 49) == np.eye(49)[::-1])


@dataclass
class Explored:
    """A town whose requests all explore, answered by `Even`."""

    town: Town
    lawyers: list[UUID]
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def ask(self, at: datetime = NOON, top_n: int = 3, most: int = 20, ranker: Ranker | None = None, rule: OfferRule = RULE) -> UUID:
        """One request with offers."""
        case = self.town.as_case(self.town.case(created_at=at))
        market, request = self.town.market(at), derived_id(UUID(int=next(self._numbers)), "request")
        decision = decide(market, case, ranker or Even(), rule, request_id=request, at=at, top_n=top_n, new_lawyer_offers=0)
        note_offers(market, decision)
        record(self.town.engine, market, [decision], Recording(timedelta(hours=48), most))
        return request

    def answer(self, request: UUID, position: int, status: str, hours: float | None = 1.0, reason: str | None = None) -> None:
        self.town.execute(
            "UPDATE litgo.offers o SET status = :status, decline_reason = :reason, "
            "responded_at = o.sent_at + make_interval(secs => :seconds) "
            "FROM litgo.case_matches m WHERE m.id = o.match_id AND m.request_id = :request AND m.position = :position",
            status=status,
            reason=reason,
            seconds=None if hours is None else hours * 3600,
            request=request,
            position=position,
        )

    def estimate(self, candidate: Ranker | None = None, as_of: datetime = LATER, **given: Any) -> OffPolicyResult:
        with self.town.engine.connect() as connection:
            return estimate(connection, candidate or Even(), Even(), as_of, **({"bonus": 0.05} | given))


@pytest.fixture
def explored(engine: Engine) -> Explored:
    """Four lawyers who differ in their qualification alone."""
    town = Town(engine)
    return Explored(town, [town.lawyer(cv_score=score) for score in (0.9, 0.6, 0.3, 0.0)])


@pytest.mark.parametrize(
    ("status", "hours", "reason", "reward"),
    [
        ("interested", 1.0, None, 1.0),
        ("interested", 23.9, None, 1.0),
        ("interested", 24.1, None, 0.0),
        ("closed", 1.0, None, 1.0),
        ("closed", 24.1, None, 0.0),
        ("closed", None, None, None),
        ("declined", 1.0, "fee", 0.0),
        ("declined", 1.0, "capacity", None),
        ("expired", None, None, 0.0),
        ("pending", None, None, 0.0),
    ],
)
def test_an_offer_is_worth_what_came_of_it_in_a_day(
    explored: Explored, status: str, hours: float | None, reason: str | None, reward: float | None
) -> None:
    """Accepted in time is 1, silence and a late answer 0; no time, and closed before an answer, are not counted."""
    explored.answer(explored.ask(top_n=1), 1, status, hours, reason)
    found = explored.estimate()
    assert (found.places, found.champion.mean) == ((0, None) if reward is None else (1, reward))


def test_offers_count_once_a_day_has_passed_and_until_they_are_old(explored: Explored) -> None:
    """At exactly 24 hours they are mature; beyond the days asked for they are forgotten."""
    explored.ask()
    assert explored.estimate(as_of=NOON + timedelta(hours=23, minutes=59)).requests == 0
    assert explored.estimate(as_of=NOON + timedelta(hours=24)).requests == 1
    assert explored.estimate(as_of=NOON + timedelta(days=29)).requests == 1
    assert explored.estimate(as_of=NOON + timedelta(days=30)).requests == 0
    assert explored.estimate(as_of=NOON + timedelta(days=30), days=31).requests == 1


def test_a_candidate_is_weighed_by_the_places_it_would_have_filled_alike(explored: Explored) -> None:
    """Drawn among four by the champion; the candidate always puts the best first: four times the weight where the draw did, too."""
    worth = {}
    for minute in range(12):
        request = explored.ask(NOON + timedelta(minutes=minute), top_n=1, rule=OfferRule(price=0.0, bonus=0.05, exploration=1.0))
        ((lawyer,),) = explored.town.rows("SELECT lawyer_id FROM litgo.case_matches WHERE request_id = :request", request=request)
        accepted = minute % 2 == 0
        explored.answer(request, 1, "interested" if accepted else "declined", 1.0, None if accepted else "fee")
        worth[request] = (lawyer == explored.lawyers[0], accepted)
    alike = [accepted for same, accepted in worth.values() if same]
    assert 0 < len(alike) < 12
    found = explored.estimate(Strict())
    assert found.places == 12
    assert found.champion.mean == pytest.approx(0.5)
    assert found.snips.mean == pytest.approx(np.mean(alike), abs=1e-5)
    assert found.coverage == pytest.approx(4 * len(alike) / 12, abs=1e-5)
    assert found.effective_sample_size == pytest.approx(len(alike), abs=1e-3)
    assert found.verdict == "insufficient data"


def test_only_requests_of_the_champion_that_explored_one_list_are_read(explored: Explored) -> None:
    """Neither those of another version, nor those without a draw, nor interleaved ones, whose order was not the offer rule's."""
    explored.ask()
    explored.ask(ranker=Strict())
    explored.ask(rule=OfferRule(price=0.5, bonus=0.05, exploration=0.0))
    interleaved = explored.ask()
    explored.town.execute("UPDATE litgo.match_requests SET variant = 'interleaved' WHERE id = :id", id=interleaved)
    treated = explored.ask()
    explored.town.execute("UPDATE litgo.match_requests SET variant = 'control' WHERE id = :id", id=treated)
    found = explored.estimate()
    assert (found.requests, found.places, found.left_out) == (2, 6, {})


def test_a_request_that_cannot_be_used_is_left_out_and_counted(explored: Explored) -> None:
    """A band that was cut when it was recorded, features that were not written down, a bonus of other days, nobody with room."""
    explored.ask(top_n=2, most=2)
    bare = explored.ask()
    explored.town.execute("UPDATE litgo.match_candidates SET features = NULL WHERE request_id = :id", id=bare)
    explored.town.execute("UPDATE litgo.match_candidates SET is_new = true WHERE request_id = :id", id=explored.ask())
    explored.town.execute("UPDATE litgo.match_candidates SET reason = 'filled' WHERE request_id = :id", id=explored.ask(top_n=4))
    explored.ask()
    found = explored.estimate()
    assert found.requests == 1
    assert found.left_out == {
        "a band was not recorded whole": 1,
        "features or values were not recorded": 1,
        "decided under another bonus": 1,
        "nobody with room was shown": 1,
    }


def test_full_lawyers_take_no_part_in_either_draw(explored: Explored) -> None:
    """Who only fills up the list would do so under any ranker: neither counted as a place nor as one of a band."""
    for lawyer in explored.lawyers[:2]:
        explored.town.execute("UPDATE litgo.lawyers SET capacidade_mensal = 1 WHERE id = :id", id=lawyer)
        explored.town.contract(lawyer)
    request = explored.ask(top_n=4)
    shown = explored.town.rows(
        "SELECT reason, propensity FROM litgo.match_candidates c JOIN litgo.case_matches m USING (request_id, lawyer_id) "
        "WHERE request_id = :id ORDER BY position",
        id=request,
    )
    assert [(reason, round(propensity, 6)) for reason, propensity in shown] == [("explored", 0.5)] * 2 + [("filled", 1.0)] * 2
    found = explored.estimate()
    assert (found.places, found.coverage, found.left_out) == (2, 1.0, {})


def test_a_moment_without_a_time_zone_is_refused(explored: Explored) -> None:
    """Nobody knows which day it means."""
    with pytest.raises(ValueError, match="time zone"):
        explored.estimate(as_of=NOON.replace(tzinfo=None))


@pytest.fixture(scope="module")
def _lived_exploring(databases: Databases, _migrated: str) -> str:
    databases.create("explored_template", _migrated)
    engine = as_simulator(databases.server.url("explored_template"))
    simulate(engine, plan(before=0.25), conduct(rule=RULE), AS_OF)
    engine.dispose()
    return "explored_template"


@pytest.fixture
def lived(databases: Databases, _lived_exploring: str) -> Iterator[Callable[..., Any]]:
    """Asks for an estimate in a simulated marketplace that explored in every request, by the hand weights."""
    from litgo_pipelines.marketplace.database import open_engine

    with databases.fresh(_lived_exploring) as name:
        engine = open_engine(databases.server.url(name))

        def ask(question: Callable[[Any], Any]) -> Any:
            with engine.connect() as connection:
                return question(connection)

        yield ask
        engine.dispose()


def test_whoever_answered_is_estimated_at_what_came_of_it(lived: Callable[..., Any]) -> None:
    """All weights are 1, so both estimates are the plain mean of the matured offers; requests before the rule had another bonus."""
    from sqlalchemy import text

    found = lived(lambda connection: estimate(connection, HandWeights(), HandWeights(), AS_OF, bonus=RULE.bonus))
    assert found.requests > 150
    assert found.left_out.keys() == {"decided under another bonus"}
    assert found.coverage == pytest.approx(1, abs=1e-6)
    assert found.effective_sample_size == pytest.approx(found.places, abs=1e-3)
    assert found.snips.mean == pytest.approx(found.champion.mean, abs=1e-6)
    assert found.doubly_robust.mean == pytest.approx(found.champion.mean, abs=1e-3)
    assert found.verdict == "no clear difference"
    counted = """
        SELECT avg((o.status IN ('interested', 'closed') AND o.responded_at <= o.sent_at + interval '24 hours')::int)::float8
        FROM litgo.offers o JOIN litgo.case_matches m ON m.id = o.match_id JOIN litgo.match_requests r ON r.id = m.request_id
        JOIN litgo.match_candidates c ON c.request_id = r.id AND c.lawyer_id = m.lawyer_id
        WHERE r.equity_price > 0 AND o.sent_at <= :mature AND c.reason = 'explored' AND o.decline_reason IS DISTINCT FROM 'capacity'
            AND NOT (o.status = 'closed' AND o.responded_at IS NULL)
    """
    mature = AS_OF - timedelta(hours=24)
    assert found.champion.mean == pytest.approx(
        lived(lambda connection: connection.execute(text(counted), {"mature": mature}).scalar_one())
    )
    assert recompute(found.evidence) == found


def test_promises_alone_make_nobody_better(lived: Callable[..., Any]) -> None:
    """The hand weights promise far more than is kept; who promises still more of the same lawyers is not estimated any better."""

    @dataclass(frozen=True)
    class Boastful(HandWeights):
        version: str = "boastful"

        def acceptance(self, features: NDArray[np.float32], raw: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.clip(raw + 0.3 + 0.02 * features[:, QUALIFIED], 1e-3, 1 - 1e-3)

    found = lived(lambda connection: estimate(connection, Boastful(), HandWeights(), AS_OF, bonus=RULE.bonus))
    assert 0.3 < found.coverage < 0.99
    assert abs(found.doubly_robust_difference.mean) < 0.03
    assert found.verdict != "better"
