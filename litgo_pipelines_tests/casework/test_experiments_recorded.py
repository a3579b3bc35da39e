"""What a request leaves behind of the experiment that it takes part in, and how an interleaved one is decided."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from litgo_pipelines.casework.market import Market
from litgo_pipelines.casework.matching import Decision, Exposure, decide, decide_anew, derived_id, note_offers
from litgo_pipelines.casework.recording import Recording, open_request, record
from litgo_pipelines.equity.allocation import OfferRule
from litgo_pipelines.ranking.ranker import Ranker
from litgo_pipelines.rollout import experiments
from litgo_pipelines.rollout.assignment import Variant
from litgo_pipelines.rollout.experiments import Terms
from litgo_pipelines_tests.casework.conftest import NOON, Town

DAY = timedelta(days=1)
RULE = OfferRule(exploration=0.0)
OFFERING = Recording(offer_lifetime=DAY, recorded_candidates=20)


@dataclass(frozen=True)
class ByFeature:
    """Scores by one feature (a column of `FEATURES`), and expects more acceptance of a larger value."""

    version: str
    column: int

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.nan_to_num(features[:, self.column].astype(np.float64))

    def acceptance(self, features: NDArray[np.float32], raw: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: ARG002 (the protocol's shape)
        return np.clip(0.1 + 0.8 * raw, 0.0, 1.0)


CHAMPION, CHALLENGER = ByFeature("1", 4), ByFeature("2", 7)
"""One goes by the curriculum, the other by soft skills."""


@pytest.fixture
def experiment(town: Town) -> UUID:
    """An experiment to take part in."""
    with town.engine.begin() as connection:
        terms = Terms("ab", (0.1,), 28.0, "keep")
        return experiments.queue(connection, "2", "1", terms, actor="a", reason="r", at=NOON, evidence={}).id


def opposed(town: Town, count: int = 8, **values: Any) -> list[UUID]:
    """Lawyers of whom one model likes best whom the other likes least."""
    return [town.lawyer(cv_score=n / count, kpi_softskill=1 - n / count, **values) for n in range(count)]


def ask(town: Town, case: UUID, exposure: Exposure | None, *, ranker: Ranker = CHAMPION, top_n: int = 3, **options: Any) -> Decision:
    """Decide and note, as serving does."""
    market: Market = options.pop("market", None) or town.market()
    given: dict[str, Any] = {"request_id": uuid4(), "at": NOON, "top_n": top_n, "new_lawyer_offers": 0, "rule": RULE}
    asked = given | options
    decision = decide(market, town.as_case(case), ranker, asked.pop("rule"), exposure=exposure, **asked)
    note_offers(market, decision)
    return decision


def written(town: Town, decision: Decision, how: Recording = OFFERING) -> Decision:
    (found,) = record(town.engine, town.market(), [decision], how)
    return found


def exposures(town: Town) -> list[Any]:
    return town.rows("SELECT client_id, variant, step, request_id, exposed_at FROM litgo.exposures ORDER BY exposed_at")


def part(experiment: UUID, variant: Variant = "control", other: Ranker = CHALLENGER, step: int = 2) -> Exposure:
    return Exposure(experiment, variant, step, other)


@pytest.mark.parametrize("variant", ["control", "treatment", "held back", "interleaved"])
def test_a_request_tells_its_side_and_its_client_is_exposed(town: Town, experiment: UUID, variant: Variant) -> None:
    """Request and exposure name the experiment, the side and the step, whichever way the request was begun."""
    opposed(town)
    case = town.case()
    decision = written(town, ask(town, case, part(experiment, variant)))
    ((*request,),) = town.rows("SELECT experiment_id, variant, model_version FROM litgo.match_requests")
    assert request == [experiment, variant, "1"]
    assert [tuple(one) for one in exposures(town)] == [(town.client, variant, 2, decision.request_id, NOON)]


def test_an_opened_request_tells_its_side_too(town: Town, experiment: UUID) -> None:
    """Serving opens a request before it decides; completing it writes the same."""
    opposed(town)
    case, request = town.case(), uuid4()
    with town.engine.begin() as connection:
        open_request(connection, request_id=request, case_id=case, at=NOON, key=None, request_hash=None)
    written(town, ask(town, case, part(experiment, "treatment"), request_id=request), replace(OFFERING, opened=True))
    ((*found,),) = town.rows("SELECT id, status, experiment_id, variant FROM litgo.match_requests")
    assert found == [request, "ok", experiment, "treatment"]
    assert [one.request_id for one in exposures(town)] == [request]


def test_a_client_is_exposed_once(town: Town, experiment: UUID) -> None:
    """By the first request: a second one, of another case and let in by then, leaves it as it is, and is recorded itself."""
    opposed(town)
    first = written(town, ask(town, town.case(), part(experiment, "held back", step=0)))
    written(town, ask(town, town.case(), part(experiment, "treatment", step=1), at=NOON + DAY))
    assert [(one.variant, one.step, one.request_id) for one in exposures(town)] == [("held back", 0, first.request_id)]
    assert town.value("SELECT count(*) FROM litgo.match_requests WHERE variant = 'treatment'") == 1


def test_two_requests_in_one_recording_expose_a_client_once(town: Town, experiment: UUID) -> None:
    """Whichever is counted, it is one of them."""
    opposed(town)
    market = town.market()
    both = [ask(town, town.case(), part(experiment), market=market) for _ in range(2)]
    record(town.engine, market, both, OFFERING)
    assert [one.request_id in {both[0].request_id, both[1].request_id} for one in exposures(town)] == [True]


@pytest.mark.parametrize("how", ["outside", "without offers", "nobody"])
def test_whoever_sees_nothing_of_it_is_not_exposed(town: Town, experiment: UUID, how: str) -> None:
    """Outside of an experiment, where no offers are made, or where there was nobody to be offered the case: nothing can become of it."""
    if how != "nobody":
        opposed(town)
    written(
        town,
        ask(town, town.case(), None if how == "outside" else part(experiment)),
        replace(OFFERING, offer_lifetime=None) if how == "without offers" else OFFERING,
    )
    assert exposures(town) == []
    ((variant,),) = town.rows("SELECT variant FROM litgo.match_requests")
    assert variant == (None if how == "outside" else "control")


def test_an_exposure_is_written_with_its_offers_or_not_at_all(town: Town, experiment: UUID) -> None:
    """Where the exposure cannot be written, nothing of the answer is; where the answer cannot, the client is not exposed."""
    opposed(town)
    for table in ("exposures", "offers"):

        def fail(connection: Any, cursor: Any, statement: str, *_: Any, table: str = table) -> None:
            if f"INTO litgo.{table}" in statement or (table == "offers" and "UPDATE litgo.lawyers" in statement):
                cursor.execute("SELECT 1 / 0")

        with listening(town, fail), pytest.raises(DBAPIError):
            written(town, ask(town, town.case(), part(experiment)))
        for each in ("exposures", "offers", "match_requests", "case_matches"):
            assert town.value(f"SELECT count(*) FROM litgo.{each}") == 0, (table, each)


class listening:  # noqa: N801 (reads as a verb)
    """Let a function see each statement before it is sent, for a while."""

    def __init__(self, town: Town, heard: Any) -> None:
        self.engine, self.heard = town.engine, heard

    def __enter__(self) -> None:
        event.listen(self.engine, "before_cursor_execute", self.heard)

    def __exit__(self, *_: object) -> None:
        event.remove(self.engine, "before_cursor_execute", self.heard)


@pytest.mark.parametrize(("ranker", "other"), [(CHAMPION, CHALLENGER), (CHALLENGER, CHAMPION)])
def test_what_the_other_side_would_have_expected_is_kept(town: Town, experiment: UUID, ranker: ByFeature, other: ByFeature) -> None:
    """For each lawyer shown, the acceptance by the other ranker, reckoned from the very features that are stored."""
    opposed(town)
    written(town, ask(town, town.case(), part(experiment, "treatment", other), ranker=ranker))
    rows = town.rows("SELECT score, other_arm_score, feature_q, feature_c, team FROM litgo.case_matches ORDER BY position")
    own, others = ("feature_q", "feature_c") if ranker is CHAMPION else ("feature_c", "feature_q")
    assert [row.score for row in rows] == pytest.approx([0.1 + 0.8 * getattr(row, own) for row in rows], abs=1e-6)
    assert [row.other_arm_score for row in rows] == pytest.approx([0.1 + 0.8 * getattr(row, others) for row in rows], abs=1e-6)
    assert rows[0].score != pytest.approx(rows[0].other_arm_score, abs=0.1)
    assert {row.team for row in rows} == {None}


def test_outside_of_an_experiment_nothing_of_one_is_written(town: Town) -> None:
    """No other score, no team, no side, no features."""
    opposed(town)
    written(town, ask(town, town.case(), None))
    assert town.value("SELECT count(*) FROM litgo.case_matches WHERE other_arm_score IS NOT NULL OR team IS NOT NULL") == 0
    assert town.value("SELECT count(*) FROM litgo.match_requests WHERE experiment_id IS NOT NULL OR variant IS NOT NULL") == 0
    assert town.value("SELECT count(*) FROM litgo.match_candidates WHERE features IS NOT NULL") == 0


@pytest.mark.parametrize("taking_part", [True, False])
def test_features_of_all_recorded_candidates_are_kept_where_the_order_was_drawn(town: Town, experiment: UUID, taking_part: bool) -> None:
    """In the order of the eight, unknown ones empty, for those shown and those not; elsewhere they would be of no use."""
    opposed(town, lat=-23.5, lng=-46.6)
    given = part(experiment) if taking_part else None
    decision = written(town, ask(town, town.case(), given, rule=OfferRule(exploration=1.0)), replace(OFFERING, recorded_candidates=6))
    assert decision.allocation.explored
    rows = {row.lawyer_id: row.features for row in town.rows("SELECT lawyer_id, features FROM litgo.match_candidates")}
    assert len(rows) == 6
    known = {
        decision.names[member]: features for member, features in zip(decision.candidates.members, decision.candidates.features, strict=True)
    }
    for lawyer, features in rows.items():
        expected = [None if np.isnan(one) else pytest.approx(one) for one in known[lawyer].tolist()]
        assert features == expected
    # Nobody has a rating: that is none, and not a rating of nothing.
    assert all(features[6] is None and features[0] == 1 for features in rows.values())


def test_an_interleaved_list_holds_both_models_best(town: Town, experiment: UUID) -> None:
    """Each place tells its team, teams have as many places, each takes its own best first, and the champion's scores are told."""
    lawyers = opposed(town, 10)
    decision = written(town, ask(town, town.case(), part(experiment, "interleaved"), top_n=4))
    rows = town.rows(
        "SELECT lawyer_id, team, score, other_arm_score, feature_q, feature_c, propensity FROM litgo.case_matches ORDER BY position"
    )
    assert [row.team for row in rows] == list(decision.teams or ())
    by_team = {team: [row.lawyer_id for row in rows if row.team == team] for team in ("champion", "challenger")}
    assert by_team == {"champion": lawyers[:-3:-1], "challenger": lawyers[:2]}
    assert [row.score for row in rows] == pytest.approx([0.1 + 0.8 * row.feature_q for row in rows], abs=1e-6)
    assert [row.other_arm_score for row in rows] == pytest.approx([0.1 + 0.8 * row.feature_c for row in rows], abs=1e-6)
    assert town.value("SELECT cutoff FROM litgo.match_requests") == pytest.approx(min(row.score for row in rows), abs=1e-6)


def numbers() -> Iterator[tuple[UUID, int]]:
    return product([derived_id(UUID(int=one), "request") for one in range(40)], (1, 3, 5, 20))


def test_two_equal_rankers_interleaved_show_whom_either_shows_alone(town: Town, experiment: UUID) -> None:
    """The same lawyers in the same order, however many are asked for and however the coins fall; each team gets half of the places."""
    opposed(town)
    market, case = town.market(), town.as_case(town.case())
    firsts: dict[str, set[UUID]] = {"champion": set(), "challenger": set()}
    for request, top_n in numbers():
        question: dict[str, Any] = {"request_id": request, "at": NOON, "top_n": top_n, "new_lawyer_offers": 0}
        alone = decide(market, case, CHAMPION, RULE, **question)
        both = decide(market, case, CHAMPION, RULE, exposure=part(experiment, "interleaved", CHAMPION), **question)
        assert both.chosen_ids == alone.chosen_ids
        assert both.allocation.cutoff == alone.allocation.cutoff
        assert both.teams is not None
        assert abs(both.teams.count("champion") - both.teams.count("challenger")) <= 1
        firsts[both.teams[0]].add(request)
    # Of 40 coins, 8 or fewer fall to one side once in ten thousand times; these 40 are always the same.
    assert min(map(len, firsts.values())) > 8


def test_full_lawyers_come_last_in_an_interleaved_list_too(town: Town, experiment: UUID) -> None:
    """However well one of the models thinks of them: free ones first, then the least loaded; none while free ones are left."""
    lawyers = opposed(town, 8, capacidade_mensal=2)
    for full, cases in ((lawyers[0], 3), (lawyers[7], 2), (lawyers[3], 2)):
        for _ in range(cases):
            town.contract(full, NOON - DAY)
    taken = {lawyers[0], lawyers[3], lawyers[7]}
    market, case = town.market(), town.as_case(town.case())
    for request, top_n in numbers():
        question: dict[str, Any] = {"request_id": request, "at": NOON, "top_n": top_n, "new_lawyer_offers": 0}
        decision = decide(market, case, CHAMPION, RULE, exposure=part(experiment, "interleaved"), **question)
        shown = decision.chosen_ids
        assert len(shown) == len(set(shown)) == min(top_n, 8)
        assert set(shown[:5]).isdisjoint(taken)
        assert decision.allocation.filled.tolist() == [one in taken for one in shown]
        if top_n == 20:
            assert set(shown[5:7]) == {lawyers[3], lawyers[7]}
            assert shown[7] == lawyers[0]


def test_an_interleaved_request_never_explores(town: Town, experiment: UUID) -> None:
    """Its order is drawn from two lists already: the same request is decided alike again, with certainty as propensity."""
    opposed(town)
    decision = written(town, ask(town, town.case(), part(experiment, "interleaved"), rule=OfferRule(exploration=1.0)))
    assert not decision.allocation.explored
    assert town.value("SELECT count(*) FROM litgo.match_candidates WHERE features IS NOT NULL") == 0
    assert {row.propensity for row in town.rows("SELECT propensity FROM litgo.case_matches")} == {1.0}
    fresh = town.market()
    assert decide_anew(fresh, decision).teams == decide_anew(fresh, decision).teams


def test_an_interleaved_list_is_decided_anew_by_fresh_loads(town: Town, experiment: UUID) -> None:
    """A lawyer whom others filled meanwhile is not shown, and what is written is still a list of both models."""
    lawyers = opposed(town, 8, capacidade_mensal=1)
    stale = town.market()
    town.contract(lawyers[7], NOON - DAY)
    town.contract(lawyers[0], NOON - DAY)
    decision = written(town, ask(town, town.case(), part(experiment, "interleaved"), market=stale, top_n=4))
    assert set(decision.chosen_ids) == {lawyers[6], lawyers[5], lawyers[1], lawyers[2]}
    teams = town.rows("SELECT team, lawyer_id FROM litgo.case_matches")
    assert {row.lawyer_id for row in teams if row.team == "challenger"} == {lawyers[1], lawyers[2]}
    assert len(exposures(town)) == 1


def test_a_case_without_candidates_is_interleaved_to_nothing(town: Town, experiment: UUID) -> None:
    """An empty list of no team, not an error."""
    decision = written(town, ask(town, town.case(), part(experiment, "interleaved")))
    assert (decision.chosen_ids, decision.teams) == ([], ())
    assert np.isnan(decision.allocation.cutoff)
