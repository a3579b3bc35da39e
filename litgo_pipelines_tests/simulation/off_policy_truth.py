"""Off-policy estimates beside the hidden truth, in a marketplace in memory whose champion explores in every request.

.venv/bin/python -m litgo_pipelines_tests.simulation.off_policy_truth --seed 1 --blur 0.5
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from litgo_pipelines.casework.matching import Candidates, Decision
from litgo_pipelines.equity.allocation import OfferRule
from litgo_pipelines.ranking.ranker import HandWeights, Ranker
from litgo_pipelines.rollout.off_policy import OffPolicyResult, evaluate, gather
from litgo_pipelines.rollout.off_policy_log import _Candidates, _logged, place_probabilities
from litgo_pipelines.simulation import behaviour, truth
from litgo_pipelines.simulation.duels import LEARNING_DAYS, Blurred, Setup, _Duel

RECORDED = 20
RULE = OfferRule(exploration=1.0)


@dataclass(frozen=True)
class Judged:
    """What the log says of a candidate, and what its offers would truly have come to in the same requests."""

    candidate: str
    estimated: OffPolicyResult
    truth: float


def judged(seed: int, blur: float, days: int = 6, lawyers: int = 400) -> list[Judged]:
    """Learn, explore for some days under a champion of blurred judgement, and estimate what others would have been worth.

    The candidates: the champion itself, the ranker that it blurs, that one blurred a little, and the hand weights.
    """
    duel = _Duel(Setup(lawyers=lawyers), seed)
    learned = duel._learned()
    champion = Blurred(learned, blur)
    duel._rehearsal.change(duel._conditions, RULE)
    requests, accepting = [], []
    for day in range(LEARNING_DAYS, LEARNING_DAYS + days):
        for one, candidates in duel._scored(day, champion):
            accepts, truly = duel._accepts(one, candidates), _chance(duel, candidates)
            decision = duel._rehearsal.offer(one.case, one.at, candidates, champion.version)
            recorded = _recorded(decision)
            if recorded is not None:
                requests.append(_request(decision, recorded, accepts))
                accepting.append(truly[recorded])
        duel._night(day + 1)
    rankers = {"the champion": champion, "not blurred": learned, "blurred by .2": Blurred(learned, 0.2), "hand weights": HandWeights()}
    return [_judge(name, ranker, requests, accepting) for name, ranker in rankers.items()]


def _chance(duel: _Duel, candidates: Candidates) -> NDArray[np.float64]:
    """Hidden probability that each candidate accepts within a day, shape (n,)."""
    members, loads = candidates.members, duel._rehearsal.market.loads
    in_time = norm.cdf((np.log(24) - 1.2 + 0.4 * duel._world.traits[members, 2]) / 0.8)
    utilisation = loads.cases[members] / loads.capacity[members]
    wants = truth.acceptance_probability(duel._reactions.relevance, utilisation)
    return np.asarray((1 - behaviour._NO_ANSWER) * in_time * wants)


def _recorded(decision: Decision) -> NDArray[np.intp] | None:
    """Who would be recorded, those shown first; None where nobody with room is shown, or a band would be cut."""
    found = decision.allocation
    shown = found.chosen[~found.filled]
    others = np.setdiff1d(np.flatnonzero(~found.full), shown)
    best = others[np.argsort(-found.value[others], kind="stable")][: RECORDED - len(found.chosen)]
    recorded = np.concatenate([shown, best])
    sizes = np.array([np.sum(found.band[recorded] == band) for band in found.band[shown]])
    return recorded if shown.size and np.allclose(sizes * found.propensity[~found.filled], 1) else None


def _request(decision: Decision, recorded: NDArray[np.intp], accepts: NDArray[np.bool_]) -> _Candidates:
    found, shown = decision.allocation, int(np.sum(~decision.allocation.filled))

    def shown_only(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([values[:shown], np.full(len(recorded) - shown, np.nan)])

    return _Candidates(
        features=decision.candidates.features[recorded],
        u_eff=decision.u_eff[recorded],
        is_new=decision.is_new[recorded],
        value=found.value[recorded],
        price=RULE.price,
        position=np.where(np.arange(len(recorded)) < shown, np.arange(1, len(recorded) + 1), 0),
        propensity=shown_only(found.propensity),
        reward=shown_only(accepts[recorded].astype(np.float64)),
    )


def _judge(name: str, ranker: Ranker, requests: list[_Candidates], accepting: list[NDArray[np.float64]]) -> Judged:
    found = evaluate(gather(_logged(requests, ranker, RULE.bonus), candidate=name, champion="champion"))
    worth = []
    for one, accepts in zip(requests, accepting, strict=True):
        score = ranker.acceptance(one.features, ranker.score(one.features))
        worth.append(accepts @ place_probabilities(score - one.price * one.u_eff + RULE.bonus * one.is_new, int(one.position.max())))
    return Judged(name, found, float(np.concatenate(worth).mean()))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--blur", type=float, default=0.5)
    given = parser.parse_args()
    for one in judged(given.seed, given.blur):
        found, robust = one.estimated, one.estimated.doubly_robust
        means = f"truth {one.truth:.3f}  champion {found.champion.mean:.3f}  SNIPS {found.snips.mean:.3f}"
        told = f"doubly robust {robust.mean:.3f} ({robust.low:.3f} to {robust.high:.3f})  covered {found.coverage:.0%}"
        print(f"{one.candidate:15} {means}  {told}  effective {found.effective_sample_size:,.0f}  {found.verdict}")  # noqa: T201


if __name__ == "__main__":
    main()
