"""The rows that a decision becomes: columns, and values in their order. Pure.

Who is shown a case is `matching`'s, writing the rows and everything else of the transaction `recording`'s.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.casework.matching import Decision
from litgo_pipelines.casework.offer_wording import new_offer
from litgo_pipelines.marketplace.names import FEATURE_COLUMNS

Row = tuple[object, ...]

EXPLAINED: Final = (
    "model_version",
    "equity_price",
    "price_id",
    "embedding_space",
    "eligible",
    "cutoff",
    "exploration",
    "experiment_id",
    "variant",
)
REQUEST: Final = ("id", "kind", "case_id", "status", "started_at", "duration_ms", *EXPLAINED)
MATCH: Final = (
    "id",
    "request_id",
    "case_id",
    "lawyer_id",
    "position",
    *FEATURE_COLUMNS,
    "raw_score",
    "score",
    "equity_price",
    "fair_score",
    "propensity",
    "created_at",
    "other_arm_score",
    "team",
)
CANDIDATE: Final = ("request_id", "lawyer_id", "score", "u_eff", "outcome", "reason", "fair_score", "is_new", "features")
EXPOSURE: Final = ("experiment_id", "client_id", "variant", "step", "request_id", "exposed_at")
OFFER: Final = ("id", "case_id", "lawyer_id", "match_id", "status", "sent_at", "expires_at")
MESSAGE: Final = ("key", "audience", "recipient_id", "channel", "subject", "body", "details", "created_at", "due_at")


def explained(decision: Decision) -> Row:
    """The values of `EXPLAINED`: what the request's row tells of the decision."""
    found = decision.allocation
    cutoff = None if np.isnan(found.cutoff) else found.cutoff
    rule = decision.ask.rule
    exposure = decision.ask.exposure
    taking_part = (None, None) if exposure is None else (exposure.experiment_id, exposure.variant)
    eligible, space = len(decision.candidates.members), decision.ask.space
    return decision.model_version, rule.price, rule.price_id, space, eligible, cutoff, found.explored, *taking_part


def request_row(decision: Decision, duration_ms: float | None) -> Row:
    """The row of an answered request that was not opened before, in the order of `REQUEST`."""
    return decision.request_id, "matching", decision.case.id, "ok", decision.ask.at, duration_ms, *explained(decision)


def match_rows(decision: Decision) -> Iterable[Row]:
    """Those shown, best first, in the order of `MATCH`. A feature that is not known is None."""
    found, seen = decision.allocation, decision.candidates
    chosen = found.chosen
    price = (decision.ask.rule.price * decision.u_eff[chosen]).tolist()
    features = _known(seen.features[chosen])
    others = decision.other_scores
    numbers = zip(
        decision.chosen_ids,
        features,
        seen.raw[chosen].tolist(),
        seen.score[chosen].tolist(),
        price,
        found.value[chosen].tolist(),
        found.propensity.tolist(),
        [None] * len(chosen) if others is None else others.tolist(),
        [None] * len(chosen) if decision.teams is None else decision.teams,
        strict=True,
    )
    for position, (lawyer, row, raw, score, paid, value, propensity, other, team) in enumerate(numbers, start=1):
        yield (
            decision.match_id(position),
            decision.request_id,
            decision.case.id,
            lawyer,
            position,
            *row,
            raw,
            score,
            paid,
            value,
            propensity,
            decision.ask.at,
            other,
            team,
        )


def candidate_rows(decision: Decision, most: int) -> Iterable[Row]:
    """Those shown, then the best of the others, `most` in all, in the order of `CANDIDATE`."""
    found = decision.allocation
    others = np.delete(np.arange(len(found.value)), found.chosen)
    room = max(0, most - len(found.chosen))
    if others.size > room:
        others = others[np.argpartition(-found.value[others], room)[:room]] if room else others[:0]
    recorded = np.concatenate([found.chosen, others])
    why_shown = ["filled" if filled else "explored" if found.explored else "value" for filled in found.filled.tolist()]
    seen = zip(
        decision.candidates.members[recorded].tolist(),
        decision.candidates.score[recorded].tolist(),
        decision.u_eff[recorded].tolist(),
        why_shown + _why_not(decision, others),
        found.value[recorded].tolist(),
        decision.is_new[recorded].tolist(),
        # Only where the order was drawn can be told what another ranker would have brought.
        _known(decision.candidates.features[recorded]) if found.explored else [None] * len(recorded),
        strict=True,
    )
    for place, (member, score, u_eff, reason, value, is_new, features) in enumerate(seen):
        outcome = "shown" if place < len(found.chosen) else "not_shown"
        yield decision.request_id, decision.names[member], score, u_eff, outcome, reason, value, is_new, features


def _known(features: NDArray[np.float32]) -> list[list[float | None]]:
    """As lists; a feature that is not known is None."""
    return [[None if one != one else one for one in row] for row in features.tolist()]


def _why_not(decision: Decision, others: NDArray[np.intp]) -> list[str]:
    """The reason for each of `others`, who were not chosen.

    Who shares the band of the last one chosen lost a turn, not a comparison, and who had waited as long as that one not even the turn:
    there the lower load decided, then the hash.
    """
    found = decision.allocation
    best = found.chosen[~found.filled]
    if not best.size:
        return ["full"] * len(others)
    last = found.band[best].min()
    latest = decision.last_offered[best[found.band[best] == last]].max()
    tied = decision.last_offered[others] == latest
    lost_turn = np.where(found.explored, "not_drawn", np.where(tied, "tied", "waited_less"))
    why = np.where(found.full[others], "full", np.where(found.band[others] >= last, lost_turn, "below_cutoff"))
    told: list[str] = why.tolist()
    return told


def offer_rows(decision: Decision, lifetime: timedelta) -> Iterable[Row]:
    """One offer to each who is shown, best first, in the order of `OFFER`."""
    at = decision.ask.at
    for position, lawyer in enumerate(decision.chosen_ids, start=1):
        yield (
            decision.offer_id(position),
            decision.case.id,
            lawyer,
            decision.match_id(position),
            "pending",
            at,
            at + lifetime,
        )


def message_rows(decision: Decision, lifetime: timedelta) -> Iterable[Row]:
    """What each who is offered the case is told of it, best first, in the order of `MESSAGE`; a message waits in the outbox."""
    at, case = decision.ask.at, decision.case
    told = new_offer(case.id, case.area, case.urgency_h, at + lifetime)
    for position, lawyer in enumerate(decision.chosen_ids, start=1):
        offer = decision.offer_id(position)
        details = {"offer_id": str(offer), "case_id": str(case.id)}
        yield f"offer:{offer}", "lawyer", lawyer, "push", told.subject, told.body, details, at, at


def exposure_row(decision: Decision) -> Row | None:
    """That the client was exposed in an experiment, in the order of `EXPOSURE`; None outside of one, or where nobody is shown."""
    exposure = decision.ask.exposure
    if exposure is None or not decision.allocation.chosen.size:
        return None
    return exposure.experiment_id, decision.case.client_id, exposure.variant, exposure.step, decision.request_id, decision.ask.at
