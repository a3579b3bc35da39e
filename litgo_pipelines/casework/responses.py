"""How lawyers and clients answer, estimated from the record: what a replay lets happen to offers that were never made.

The hidden truth of the simulator is not known here; a real marketplace has none to read either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.casework.draws import as_numbers, gumbel, paired, uniform
from litgo_pipelines.casework.market import micros
from litgo_pipelines.casework.matching import Decision
from litgo_pipelines.casework.rehearsal import WINDOW, Contract, Reaction

if TYPE_CHECKING:
    from sqlalchemy import Connection

LEAST_ANSWERS, LEAST_CONTRACTS = 200, 50
"""Fewer than these say too little about how offers are answered."""

_S_ACCEPTS, _S_DRAWN, _S_SIGNS = range(3)
_HOUR = 3_600_000_000
_OWN_SCORES = 500
_SURE = 1e-3

# A case whose offers are all answered or run out, and of which the client had two days to choose, is settled. Whoever signed a case
# again after a contract was canceled has one offer still.
_RECORD = """
SELECT m.case_id, m.position, m.score, c.u_eff, r.model_version,
       o.status IN ('interested', 'closed') AND o.responded_at IS NOT NULL OR k.id IS NOT NULL AS accepted, k.id IS NOT NULL AS won,
       EXTRACT(EPOCH FROM o.responded_at - o.sent_at) AS answer_seconds, EXTRACT(EPOCH FROM k.created_at - o.sent_at) AS sign_seconds,
       k.status = 'canceled' AS canceled
FROM litgo.offers o
JOIN litgo.case_matches m ON m.id = o.match_id
JOIN litgo.match_requests r ON r.id = m.request_id
LEFT JOIN litgo.match_candidates c ON c.request_id = m.request_id AND c.lawyer_id = m.lawyer_id
LEFT JOIN (SELECT DISTINCT ON (case_id, lawyer_id) id, case_id, lawyer_id, status, created_at FROM litgo.contracts
           WHERE created_at > CAST(:as_of AS timestamptz) - interval '33 days' AND created_at <= :as_of
           ORDER BY case_id, lawyer_id, status = 'canceled', created_at) k ON k.case_id = o.case_id AND k.lawyer_id = o.lawyer_id
WHERE o.sent_at > CAST(:as_of AS timestamptz) - interval '33 days' AND o.sent_at <= CAST(:as_of AS timestamptz) - interval '3 days'
  AND (o.status <> 'pending' OR o.expires_at <= :as_of)
ORDER BY m.created_at DESC, m.case_id, m.position
LIMIT :most
"""
_MOST_ROWS = 60_000


class TooLittleRecorded(Exception):
    """The record says too little about how offers are answered; the message says what is missing. A verdict, not a failure."""


@dataclass(frozen=True)
class Answers:
    """Settled offers, grouped by case; shapes (n,).

    Attributes:
        case: number of the case, equal ones adjacent.
        position: place in the list, from 1.
        score: P(accept) as it was promised; `comparable` tells whether the ranker to be replayed promised it.
        u_eff: load at the decision, NaN where it was not recorded.
        accepted, won: what came of it.
        answer_us: microseconds until the answer, NaN where there was none.
        sign_us: microseconds until the contract, NaN where there was none.
        canceled: whether its contract was canceled.
    """

    case: NDArray[np.int64]
    position: NDArray[np.int64]
    score: NDArray[np.float64]
    comparable: NDArray[np.bool_]
    u_eff: NDArray[np.float64]
    accepted: NDArray[np.bool_]
    won: NDArray[np.bool_]
    answer_us: NDArray[np.float64]
    sign_us: NDArray[np.float64]
    canceled: NDArray[np.bool_]


@dataclass(frozen=True)
class ResponseModel:
    """Lawyers and clients as the record shows them. Calling it answers a decision (`rehearsal.Reactions`).

    Attributes:
        intercept, slope, load: logit P(accept) = intercept + slope * logit(score) + load * u_eff.
        liking, first: an interested lawyer is chosen in proportion to exp(liking * score) / position^first.
        signs: share of the cases with an interested lawyer that end in a contract which lasts; lower than recorded by as much as
            somebody is interested more often where lawyers are drawn one by one than where some cases please everybody and others nobody.
        answer_us, sign_us: medians, in microseconds from the offer.
    """

    intercept: float = 0.0
    slope: float = 1.0
    load: float = 0.0
    liking: float = 0.0
    first: float = 0.0
    signs: float = 0.9
    answer_us: int = 4 * _HOUR
    sign_us: int = 24 * _HOUR

    def acceptance(self, score: NDArray[np.float64], u_eff: NDArray[np.float64]) -> NDArray[np.float64]:
        """P(accept), shapes (n,)."""
        from scipy.special import expit

        return np.asarray(expit(self.intercept + self.slope * _logit(score) + self.load * u_eff))

    def __call__(self, decision: Decision, utilisation: NDArray[np.float64]) -> Reaction:  # noqa: ARG002 (the record holds u_eff)
        """Draws follow from case and lawyer, so that two prices meet the same lawyers in the same mood."""
        chosen = decision.allocation.chosen
        score = decision.candidates.score[chosen]
        sent = micros(decision.ask.at)
        case = as_numbers(np.frombuffer(decision.case.id.bytes, dtype="V16"))
        draws = paired(as_numbers(decision.lawyers[chosen]), case[0])
        accepted = uniform(draws, _S_ACCEPTS) < self.acceptance(score, decision.u_eff[decision.allocation.chosen])
        signed_at = sent + self.sign_us
        free_at = np.where(accepted, signed_at, sent + self.answer_us)
        if not accepted.any() or uniform(case, _S_SIGNS)[0] >= self.signs:
            return Reaction(free_at, None)
        weight = self.liking * score - self.first * np.log(np.arange(1, len(chosen) + 1)) + gumbel(draws, _S_DRAWN)
        winner = int(decision.chosen[np.argmax(np.where(accepted, weight, -np.inf))])
        return Reaction(free_at, Contract(winner, signed_at, signed_at + WINDOW))


def read_answers(connection: Connection, as_of: datetime, model_version: str) -> Answers:
    """Offers sent 3 to 33 days before `as_of`, the newest 60,000 of them.

    Args:
        model_version: of the ranker to be replayed; what others promised is not comparable with its scores.
    """
    from sqlalchemy import text

    rows = connection.execute(text(_RECORD), {"as_of": as_of, "most": _MOST_ROWS}).all()
    columns = list(zip(*rows, strict=True)) if rows else [()] * 10

    def numbers(column: int) -> NDArray[np.float64]:
        return np.array(columns[column], dtype=np.float64)

    numbered = {case: number for number, case in enumerate(dict.fromkeys(columns[0]))}
    return Answers(
        case=np.array([numbered[one] for one in columns[0]], dtype=np.int64),
        position=np.array(columns[1], dtype=np.int64),
        score=numbers(2),
        comparable=np.array([one == model_version for one in columns[4]], dtype=bool),
        u_eff=numbers(3),
        accepted=np.array(columns[5], dtype=bool),
        won=np.array(columns[6], dtype=bool),
        answer_us=numbers(7) * 1e6,
        sign_us=numbers(8) * 1e6,
        canceled=np.array(columns[9], dtype=bool),
    )


def fit_responses(answers: Answers) -> ResponseModel:
    """Estimate all of a `ResponseModel`; ridge priors hold what little is recorded near "as promised, no preference".

    Where the ranker has fewer than 500 offers of its own, its promises are taken as they are.

    Raises:
        TooLittleRecorded: fewer than 200 settled offers or 50 contracts.
    """
    contracts = int(answers.won.sum())
    if answers.accepted.size < LEAST_ANSWERS or contracts < LEAST_CONTRACTS:
        raise TooLittleRecorded(
            f"{answers.accepted.size} settled offers and {contracts} contracts in 30 days; {LEAST_ANSWERS} and {LEAST_CONTRACTS} are needed"
        )
    found = ResponseModel(*_fit_acceptance(answers))
    liking, first = _fit_choice(answers)
    lasting = int(np.count_nonzero(answers.won & ~answers.canceled))
    return replace(
        found,
        liking=liking,
        first=first,
        signs=min(1.0, (lasting + 4) / (_expected_interest(found, answers) + 5)),
        answer_us=_median(answers.answer_us, 4 * _HOUR),
        sign_us=_median(answers.sign_us, 24 * _HOUR),
    )


def _expected_interest(model: ResponseModel, answers: Answers) -> float:
    """In how many of the cases the model expects somebody to be interested."""
    refuses = 1 - model.acceptance(answers.score, np.nan_to_num(answers.u_eff))
    nobody = np.bincount(answers.case, np.log(np.maximum(refuses, _SURE)))
    return float(np.sum(1 - np.exp(nobody)))


def _fit_acceptance(answers: Answers) -> tuple[float, float, float]:
    known = answers.comparable & ~np.isnan(answers.u_eff)
    if np.count_nonzero(known) < _OWN_SCORES:
        return 0.0, 1.0, 0.0
    logit, load, accepted = _logit(answers.score[known]), answers.u_eff[known], answers.accepted[known]
    prior = np.array([0.0, 1.0, 0.0])

    def loss(at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        from scipy.special import expit

        margin = at[0] + at[1] * logit + at[2] * load
        surplus = expit(margin) - accepted
        pull = at - prior
        value = np.sum(np.logaddexp(0.0, margin) - accepted * margin) + 0.5 * pull @ pull
        return float(value), np.array([surplus.sum(), surplus @ logit, surplus @ load]) + pull

    found = _minimise(loss, prior, [(None, None), (0.0, None), (None, 0.0)])
    return float(found[0]), float(found[1]), float(found[2])


def _fit_choice(answers: Answers) -> tuple[float, float]:
    """A conditional logit over the interested lawyers of each case that ended in a contract (McFadden, 1974).

    Liking is estimated where the ranker's own promises are recorded; otherwise clients go by the position alone.
    """
    decided = answers.accepted & np.isin(answers.case, answers.case[answers.won])
    own = decided & answers.comparable
    comparable = np.count_nonzero(own & answers.won) >= LEAST_CONTRACTS
    among = own if comparable else decided
    _, group = np.unique(answers.case[among], return_inverse=True)
    score, place, won = answers.score[among], np.log(answers.position[among]), answers.won[among]
    groups = int(group.max(initial=-1)) + 1

    def loss(at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weight = np.exp(at[0] * score - at[1] * place)
        share = weight / np.bincount(group, weight, groups)[group]
        surplus = share - won
        value = -np.sum(np.log(share[won])) + 0.5 * at @ at
        return float(value), np.array([surplus @ score, -(surplus @ place)]) + at

    found = _minimise(loss, np.zeros(2), [(-10.0, 10.0) if comparable else (0.0, 0.0), (-5.0, 5.0)])
    return float(found[0]), float(found[1])


def _minimise(
    loss: Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]],
    start: NDArray[np.float64],
    bounds: list[tuple[float | None, float | None]],
) -> NDArray[np.float64]:
    from scipy.optimize import minimize

    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x)


def _logit(score: NDArray[np.float64]) -> NDArray[np.float64]:
    kept = np.clip(score, _SURE, 1 - _SURE)
    return np.asarray(np.log(kept / (1 - kept)))


def _median(values: NDArray[np.float64], otherwise: int) -> int:
    known = values[~np.isnan(values)]
    return int(np.median(known)) if known.size else otherwise
