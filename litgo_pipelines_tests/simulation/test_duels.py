"""A/B test and interleaving side by side in a marketplace in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from litgo_pipelines.ranking.ranker import HandWeights
from litgo_pipelines.ranking.training_set import InsufficientData
from litgo_pipelines.rollout.readout import Arms, ExperimentEvidence, Mode, Stratum, Tally, judge_experiment
from litgo_pipelines.simulation import duels
from litgo_pipelines.simulation.duels import Blurred, Findings, Setup, _decided, _Duel, _median, _Seen, compare

SMALL = Setup(lawyers=200, cases=2_000, repeats=2, seed=1, blur=3.0)


@pytest.fixture(scope="module")
def found() -> Findings:
    return compare(SMALL)


def test_interleaving_needs_a_third_of_the_cases_or_fewer(found: Findings) -> None:
    """Both find the better ranker in every marketplace; the medians, their ratio and the lift are those of the repeats."""
    assert [one.seed for one in found.each] == [1, 2]
    assert all(one.challenger > one.champion for one in found.each)
    assert (found.not_decided_ab, found.not_decided_interleaving, found.wrong_ab, found.wrong_interleaving) == (0, 0, 0, 0)
    ab, interleaving = ([getattr(one, f"{mode}_cases") for one in found.each] for mode in ("ab", "interleaving"))
    assert (found.ab_cases_median, found.interleaving_cases_median) == (np.mean(ab), np.mean(interleaving))
    assert found.ratio == pytest.approx(np.mean(ab) / np.mean(interleaving))
    assert found.ratio >= 3
    assert found.lift == pytest.approx(found.challenger_accepted / found.champion_accepted - 1)


def test_the_same_seed_finds_the_same(found: Findings) -> None:
    """A marketplace by itself as among others, apart from the clock."""
    assert compare(replace(SMALL, repeats=1, seed=2)).each == [found.each[1]]


def test_equal_rankers_are_not_told_apart() -> None:
    """Without any blur both lists are the same: shares are equal case by case, and nobody is better."""
    found = compare(replace(SMALL, blur=0.0, cases=400))
    assert found.lift == 0
    assert (found.not_decided_ab, found.not_decided_interleaving) == (2, 2)
    assert (found.ab_cases_median, found.interleaving_cases_median, found.ratio) == (None, None, None)
    assert [one.cases for one in found.each] == [400, 400]


@pytest.mark.parametrize("mode", ["ab", "interleaving"])
def test_the_verdict_comes_with_the_case_at_which_a_real_experiment_would_say_so(mode: Mode) -> None:
    """The same tallies, judged by `judge_experiment`, say nothing one case earlier and promote the challenger then."""
    duel = _Duel(SMALL, 1)
    cases = getattr(duel.fight(), f"{mode}_cases")
    assert cases is not None

    def verdict(first: int) -> str:
        seen = duel._seen
        treated, wins = np.array(seen.treated[:first]), np.array(seen.wins[:first])
        arms = {
            "ab": Arms(
                control=_tally(np.array(seen.champion[:first])[~treated]), treatment=_tally(np.array(seen.challenger[:first])[treated])
            ),
            "interleaving": Arms(
                control=Tally(units=first, conversions=int(np.sum(wins == -1))),
                treatment=Tally(units=first, conversions=int(np.sum(wins == 1))),
            ),
        }
        name = {"ab": "accepted", "interleaving": "preference"}[mode]
        exposed = (int(np.sum(~treated)), int(np.sum(treated)))
        stratum = Stratum(step=0, share=0.5, exposed=exposed, metrics={name: arms[mode]})
        given: dict[str, Any] = {"champion": "1", "challenger": "2", "days": 1, "max_days": 28}
        return judge_experiment(ExperimentEvidence(mode=mode, strata=(stratum,), **given)).verdict

    assert verdict(cases) == "promote"
    assert verdict(cases - 1) in ("go on", "insufficient data")


def _tally(share: Any) -> Tally:
    return Tally(units=share.size, conversions=int(np.sum(share > 0)), total=share.sum(), squares=np.sum(share**2))


def test_a_verdict_for_the_champion_is_noted_as_wrong() -> None:
    """A champion that wins nearly every case is said to, long before the end."""
    seen = _Seen(champion=[0.5] * 400, challenger=[0.5] * 400, treated=[True, False] * 200, wins=[-1] * 400)
    cases, for_champion = _decided(seen.interleaving())
    assert cases is not None
    assert cases < 100
    assert for_champion
    assert _decided(seen.ab()) == (None, False)


def test_the_median_waits_for_who_did_not_decide() -> None:
    """Without a verdict counts as later than any; where half did not decide there is no median."""
    assert _median([100, None, 300]) == 300
    assert _median([100, None]) is None
    assert _median([None]) is None


def test_a_blurred_judgement_is_off_for_each_lawyer_and_right_in_the_mean() -> None:
    """The same pair is misjudged alike each time; a blur of 0 changes nothing; order of the rows makes no difference."""
    features = np.random.default_rng(0).random((4_000, 8)).astype(np.float32)
    features[::5, 3] = np.nan
    plain = HandWeights()
    raw = plain.score(features)
    logit = np.log(raw / (1 - raw))
    off = Blurred(plain, 2.0).acceptance(features, raw)
    noise = np.log(off / (1 - off)) - logit
    assert noise.mean() == pytest.approx(0, abs=0.1)
    assert noise.std() == pytest.approx(2, abs=0.1)
    assert np.array_equal(Blurred(plain, 2.0).acceptance(features[::-1], raw[::-1])[::-1], off)
    np.testing.assert_allclose(Blurred(plain, 0.0).acceptance(features, raw), raw)
    assert Blurred(plain, 2.0).version == "hand-weights-blurred"


def test_both_rankers_see_the_loads_that_the_champions_offers_make(monkeypatch: pytest.MonkeyPatch) -> None:
    """A challenger that would choose otherwise changes what is noted of it, and nothing that comes after."""
    monkeypatch.setattr(duels, "_MOST_DAYS", 30)
    plain = _Duel(SMALL, 3)
    plain.fight()
    other = _Duel(SMALL, 3)
    monkeypatch.setattr(other, "_chosen", lambda _one, candidates, _ranker: np.argsort(candidates.score)[: SMALL.top_n])
    other.fight()
    cases = min(len(plain._seen.wins), len(other._seen.wins))
    assert cases > 100
    assert plain._seen.champion[:cases] == other._seen.champion[:cases]
    assert plain._seen.challenger[:cases] != other._seen.challenger[:cases]


@pytest.mark.parametrize("nonsense", [{"lawyers": 0}, {"cases": 0}, {"repeats": 0}, {"top_n": 0}, {"blur": -1.0}, {"utilisation": 2.0}])
def test_a_setup_that_makes_no_sense_is_refused(nonsense: dict[str, Any]) -> None:
    """Before anything is lived through."""
    with pytest.raises(ValueError, match="comparison needs"):
        compare(replace(SMALL, **nonsense))


def test_too_small_a_marketplace_says_what_is_missing() -> None:
    """Nothing to learn from is no ranker made up."""
    with pytest.raises(InsufficientData):
        compare(replace(SMALL, lawyers=1, utilisation=0.05))
