"""What explored requests say of another ranker: who would have stood where, and what came of it where chance put the same one.

In an explored request the order inside value bands was drawn at random, and the chance of each place was recorded. What the figures mean,
and when they are enough, is in `off_policy`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.equity.allocation import BAND
from litgo_pipelines.ranking.ranker import Ranker
from litgo_pipelines.rollout.off_policy import LEAST_EFFECTIVE_SAMPLE, Logged, OffPolicyResult, evaluate, fit_level, gather

if TYPE_CHECKING:
    from sqlalchemy import Connection

_MOST_REQUESTS = 20_000
_FREE = 1e-6
_SAME_BONUS = 1e-3

# The reward is an experiment's: accepted within a day of being sent. A lawyer who stays silent is of no use to the client and counts as 0.
# As in the labels of training, refusals for lack of capacity and offers closed before an answer are left out: they say nothing about the
# match, and load is the price's business.
_EXPLORED = """
WITH explored AS (
    SELECT r.id, r.started_at, r.equity_price
    FROM litgo.match_requests r
    WHERE r.kind = 'matching' AND r.status = 'ok' AND r.exploration AND r.model_version = :champion
        AND r.variant IS DISTINCT FROM 'interleaved' AND r.equity_price IS NOT NULL
        AND r.started_at > CAST(:as_of AS timestamptz) - make_interval(secs => :seconds)
        AND r.started_at <= CAST(:as_of AS timestamptz) - interval '24 hours'
    ORDER BY r.started_at DESC, r.id
    LIMIT :most
)
SELECT r.id, c.features, c.score, c.u_eff, c.is_new, c.reason, c.fair_score, r.equity_price, m.position, m.propensity,
    CASE WHEN o.sent_at > CAST(:as_of AS timestamptz) - interval '24 hours' THEN NULL
         WHEN o.status = 'declined' AND o.decline_reason = 'capacity' AND o.responded_at <= o.sent_at + interval '24 hours' THEN NULL
         WHEN o.status = 'closed' AND o.responded_at IS NULL THEN NULL
         WHEN o.status IN ('interested', 'closed') AND o.responded_at <= o.sent_at + interval '24 hours' THEN 1
         WHEN o.id IS NOT NULL THEN 0 END AS reward
FROM explored r
JOIN litgo.match_candidates c ON c.request_id = r.id
LEFT JOIN litgo.case_matches m ON m.request_id = c.request_id AND m.lawyer_id = c.lawyer_id
LEFT JOIN litgo.offers o ON o.case_id = m.case_id AND o.lawyer_id = m.lawyer_id AND o.match_id = m.id
ORDER BY r.started_at, r.id, m.position, c.lawyer_id
"""


@dataclass(frozen=True)
class _Candidates:
    """The recorded candidates of one request who had room, shown ones first in their order. Shapes (n,) but for features (n, 8).

    `position` is 0 and `propensity` NaN for those not shown; `reward` is NaN where nothing is to be counted.
    """

    features: NDArray[np.float32]
    u_eff: NDArray[np.float64]
    is_new: NDArray[np.bool_]
    value: NDArray[np.float64]
    price: float
    position: NDArray[np.int64]
    propensity: NDArray[np.float64]
    reward: NDArray[np.float64]


def estimate(
    connection: Connection,
    candidate: Ranker,
    champion: Ranker,
    as_of: datetime,
    *,
    days: float = 30,
    bonus: float,
    floor: float = LEAST_EFFECTIVE_SAMPLE,
) -> OffPolicyResult:
    """What the candidate's offers would have been worth in the champion's explored requests of the last days.

    The candidate is put under the same offer rule: the same price of load, the same bonus, its own probability of acceptance, drawn inside
    its own bands. What it promises is brought to the level of the log before it counts as a prediction. It chooses among the candidates
    that were recorded; whom it would have fetched from below them is not known. Reward of a place is 1 for an offer accepted within 24
    hours; see `_EXPLORED` for what is left out.

    Args:
        champion: who answered; requests that others answered, and interleaved ones, are not looked at.
        as_of: aware datetime; offers of the last 24 hours before it are not mature.
        days: how far back, before `as_of`.
        bonus: b of the offer rule; requests that were decided under another one are left out.
        floor: least effective sample size.

    Raises:
        ValueError: `as_of` has no time zone.
    """
    if as_of.tzinfo is None:
        raise ValueError("as_of needs a time zone")
    requests, left_out = _read(connection, champion.version, as_of, days, bonus)
    return evaluate(
        gather(
            _logged(requests, candidate, bonus),
            candidate=candidate.version,
            champion=champion.version,
            left_out=left_out,
            floor=floor,
        )
    )


def place_probabilities(value: NDArray[np.float64], places: int) -> NDArray[np.float64]:
    """Probability that each candidate stands at each place where the order inside value bands is drawn. Shape (n,) to (n, places).

    A place that the list of n does not reach is nobody's.
    """
    band = _band(value)
    before = np.sum(band[None, :] > band[:, None], axis=1)
    size = np.sum(band[None, :] == band[:, None], axis=1)
    place = np.arange(places)
    within = (before[:, None] <= place) & (place < (before + size)[:, None])
    return np.where(within, 1.0 / size[:, None], 0.0)


def _band(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """As `equity.allocation`; columns of single precision are a few 1e-8 off, which must not carry a value over an edge."""
    return np.asarray(np.floor(np.round(value, 6) / BAND + 1e-9))


def _read(connection: Connection, champion: str, as_of: datetime, days: float, bonus: float) -> tuple[list[_Candidates], dict[str, int]]:
    """Requests that can be used, oldest first, and how many cannot, by reason."""
    from sqlalchemy import text

    given = {"champion": champion, "as_of": as_of, "seconds": days * 86_400, "most": _MOST_REQUESTS}
    rows = connection.execute(text(_EXPLORED), given).all()
    found, left_out = [], Counter[str]()
    for _, members in itertools.groupby(rows, key=lambda row: row[0]):
        recorded = [row for row in members if row.reason not in ("full", "filled")]
        reason = _unusable(recorded, bonus)
        if reason is None:
            found.append(_candidates(recorded))
        else:
            left_out[reason] += 1
    return found, dict(left_out)


def _unusable(recorded: list[Any], bonus: float) -> str | None:
    """Why a request cannot be used, if it cannot."""
    if not any(row.position is not None for row in recorded):
        return "nobody with room was shown"
    if any(row.features is None or row.fair_score is None or row.is_new is None for row in recorded):
        return "features or values were not recorded"
    if any(abs(row.fair_score - (row.score - row.equity_price * row.u_eff + bonus * row.is_new)) > _SAME_BONUS for row in recorded):
        return "decided under another bonus"
    band = _band(np.array([row.fair_score for row in recorded], dtype=np.float64))
    sizes = Counter(band.tolist())
    shown = [(one, row.propensity) for one, row in zip(band.tolist(), recorded, strict=True) if row.position is not None]
    if any(abs(sizes[one] * propensity - 1) > _FREE * sizes[one] for one, propensity in shown):
        return "a band was not recorded whole"
    return None


def _candidates(recorded: list[Any]) -> _Candidates:
    def numbers(name: str) -> NDArray[np.float64]:
        return np.array([getattr(row, name) for row in recorded], dtype=np.float64)

    return _Candidates(
        features=np.array([row.features for row in recorded], dtype=np.float32),
        u_eff=numbers("u_eff"),
        is_new=numbers("is_new").astype(bool),
        value=numbers("fair_score"),
        price=float(recorded[0].equity_price),
        position=np.array([row.position or 0 for row in recorded], dtype=np.int64),
        propensity=numbers("propensity"),
        reward=numbers("reward"),
    )


def _logged(requests: list[_Candidates], candidate: Ranker, bonus: float) -> Logged:
    """The places whose reward is known, seen by the candidate."""
    if not requests:
        nothing = np.zeros(0)
        return Logged(nothing, nothing, nothing, nothing.astype(np.int64), nothing, nothing)
    features = np.concatenate([one.features for one in requests])
    accepts = candidate.acceptance(features, candidate.score(features))
    reward = np.concatenate([one.reward for one in requests])
    known = ~np.isnan(reward)
    expects = fit_level(accepts[known], reward[known])(accepts)
    ends = np.cumsum([len(one.value) for one in requests])[:-1]
    parts = []
    for number, (one, accept, expect) in enumerate(zip(requests, np.split(accepts, ends), np.split(expects, ends), strict=True)):
        chance = place_probabilities(accept - one.price * one.u_eff + bonus * one.is_new, int(one.position.max()))
        counted = np.flatnonzero((one.position > 0) & ~np.isnan(one.reward))
        place = one.position[counted] - 1
        parts.append(
            (
                one.reward[counted],
                one.propensity[counted],
                chance[counted, place],
                np.full(counted.size, number, dtype=np.int64),
                expect[counted],
                (expect @ chance)[place],
            )
        )
    return Logged(*(np.concatenate(column) for column in zip(*parts, strict=True)))
