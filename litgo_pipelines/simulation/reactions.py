"""How simulated lawyers and clients answer offers in memory, by hidden traits; and the record that a real marketplace would have of it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.casework.draws import as_numbers, paired
from litgo_pipelines.casework.market import micros
from litgo_pipelines.casework.matching import Candidates, Decision
from litgo_pipelines.casework.rehearsal import WINDOW, Contract, Reaction
from litgo_pipelines.casework.responses import Answers
from litgo_pipelines.marketplace.match_log import OUTCOMES
from litgo_pipelines.marketplace.names import FEATURE_COLUMNS
from litgo_pipelines.simulation import behaviour
from litgo_pipelines.simulation.memory import World

if TYPE_CHECKING:
    import pyarrow as pa

OFFER_LIFETIME = 24 * behaviour.HOUR
_UNKNOWN = -1
_NO_FEATURES = np.zeros((0, 8), dtype=np.float32)
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Review:
    """A contract that ended and was reviewed: moment in microseconds, lawyer as index."""

    at: int
    lawyer: int
    outcome: str
    stars: int


@dataclass(frozen=True)
class Settled:
    """What one decision led to; arrays of shape (k,) in the order shown.

    Attributes:
        outcome: codes of `match_log.OUTCOMES`, -1 where nothing is said about the match (no answer, no time).
        known_at: microseconds at which all of it is known; the greatest int64 for never.
        answer_us: until each answer, NaN without one.
        winner: place of the contracted lawyer, -1 for none.
        sign_us: until the contract, NaN without one.
    """

    decision: Decision
    utilisation: NDArray[np.float64]
    outcome: NDArray[np.int64]
    interested: NDArray[np.bool_]
    known_at: int
    answer_us: NDArray[np.float64]
    winner: int
    sign_us: float
    canceled: bool

    def is_signed(self, until: int) -> bool:
        """Whether there is a contract by then (microseconds)."""
        return self.winner >= 0 and micros(self.decision.ask.at) + self.sign_us <= until


def only_chosen(decision: Decision) -> Decision:
    """The decision without those who were not chosen: of a long life, that is nearly all of the memory."""
    chosen = decision.allocation.chosen

    def kept(whole: Any, *names: str) -> dict[str, Any]:
        return {name: getattr(whole, name)[chosen] for name in names}

    found = decision.allocation
    per_candidate = [field.name for field in fields(decision) if isinstance(getattr(decision, field.name), np.ndarray)]
    return replace(
        decision,
        candidates=Candidates(**kept(decision.candidates, "members", "features", "raw", "score")),
        allocation=replace(found, chosen=np.arange(len(chosen)), **kept(found, "value", "band", "full")),
        **kept(decision, *per_candidate),
    )


class TrueReactions:
    """Answers decisions by the hidden truth. `relevance` of the case's candidates, shape (n,), must be set before each.

    Attributes:
        record: of everything answered, oldest first.
        reviews: in the order of the cases.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.relevance: NDArray[np.float64] = np.zeros(0)
        self.record: list[Settled] = []
        self.reviews: list[Review] = []

    def __call__(self, decision: Decision, utilisation: NDArray[np.float64]) -> Reaction:
        """See `rehearsal.Reactions`."""
        lawyers, sent = decision.chosen, micros(decision.ask.at)
        relevance = self.relevance[decision.allocation.chosen]
        case = as_numbers(np.frombuffer(decision.case.id.bytes, dtype="V16"))
        draws = paired(self._world.numbers[lawyers], case[0])
        delay = behaviour.answer_delay(draws, self._world.traits[lawyers, 2])
        silent = behaviour.is_silent(draws) | (delay >= OFFER_LIFETIME)
        interested = ~silent & behaviour.accepts(draws, relevance, utilisation)
        waited = np.where(silent, OFFER_LIFETIME, delay)
        # With nobody to choose from there is nothing to ponder.
        pondering = behaviour.pondering(case)[0] if interested.any() else 0
        chosen_at = sent + int(waited.max(initial=0) + pondering)
        outcome = np.where(interested, OUTCOMES.index("accepted"), OUTCOMES.index("declined"))
        outcome[silent | (~interested & (behaviour.decline_reason(draws, relevance) == "capacity"))] = _UNKNOWN
        winner = _UNKNOWN
        if interested.any() and not behaviour.walks_away(case)[0]:
            attraction = behaviour.attraction(draws, relevance, np.arange(1, len(lawyers) + 1))
            winner = int(np.argmax(np.where(interested, attraction, -np.inf)))
        contract, known_at, canceled = None, chosen_at, False
        if winner >= 0:
            contract, known_at, canceled = self._contracted(
                int(lawyers[winner]), draws[[winner]], relevance[[winner]], chosen_at, outcome, winner
            )
        answer_us = np.where(silent, np.nan, delay)
        sign_us = float(chosen_at - sent) if contract else float("nan")
        self.record.append(Settled(only_chosen(decision), utilisation, outcome, interested, known_at, answer_us, winner, sign_us, canceled))
        return Reaction(np.where(interested, chosen_at, sent + waited), contract)

    def _contracted(
        self, lawyer: int, draw: NDArray[np.uint64], relevance: NDArray[np.float64], at: int, outcome: NDArray[np.int64], winner: int
    ) -> tuple[Contract, int, bool]:
        """The contract, when its end is known (never without a review), and whether it is canceled; notes outcome and review."""
        length = int(behaviour.contract_length(draw)[0])
        if behaviour.is_canceled(draw)[0]:
            return Contract(lawyer, at, at + min(WINDOW, length)), at + length, True
        contract = Contract(lawyer, at, at + WINDOW)
        if not behaviour.is_reviewed(draw)[0]:
            return contract, _NEVER, False
        ended = behaviour.outcome(draw, relevance)
        outcome[winner] = OUTCOMES.index({"won": "won", "lost": "lost", "settled": "accepted"}[str(ended[0])])
        self.reviews.append(Review(at + length, lawyer, str(ended[0]), int(behaviour.rating(draw, relevance, ended)[0])))
        return contract, at + length, False


def match_log(record: list[Settled], as_of: int) -> pa.Table:
    """What is known by `as_of` (microseconds), as `match_log.read_matches` would read it."""
    import pyarrow as pa

    known = [one for one in record if one.known_at <= as_of]
    kept = [np.flatnonzero(one.outcome != _UNKNOWN) for one in known]
    sizes = [len(one) for one in kept]

    def repeated(values: list[object]) -> list[object]:
        return [value for value, size in zip(values, sizes, strict=True) for _ in range(size)]

    rows = [one.decision.allocation.chosen[places] for one, places in zip(known, kept, strict=True)]
    features = np.concatenate([one.decision.candidates.features[at] for one, at in zip(known, rows, strict=True)] or [_NO_FEATURES])
    moments: list[object] = [one.decision.ask.at for one in known]
    return pa.table(
        {
            "request": pa.array(repeated(list(range(len(known)))), pa.int64()),
            "case_id": pa.array(repeated([one.decision.case.id.bytes for one in known]), pa.binary()),
            "lawyer_id": pa.array(
                [one.decision.lawyers[at].tobytes() for one, row in zip(known, rows, strict=True) for at in row.tolist()], pa.binary()
            ),
            "moment": pa.array(repeated(moments), pa.timestamp("us", "UTC")),
            "seq": pa.array(np.zeros(sum(sizes), dtype=np.int64)),
            "position": pa.array(np.concatenate([*kept, np.zeros(0, dtype=np.intp)]) + 1, pa.int16()),
            "area": pa.array(repeated([one.decision.case.area for one in known]), pa.string()).dictionary_encode(),
            "outcome": pa.array(
                np.concatenate([*(one.outcome[places] for one, places in zip(known, kept, strict=True)), np.zeros(0, dtype=np.int64)]),
                pa.int16(),
            ),
            **{name: pa.array(features[:, at].astype(np.float32)) for at, name in enumerate(FEATURE_COLUMNS)},
        }
    )


def answers(record: list[Settled], as_of: datetime, model_version: str) -> Answers:
    """The offers of 3 to 33 days before `as_of`, as `responses.read_answers` would read them."""
    found = [one for one in record if as_of - timedelta(days=33) < one.decision.ask.at <= as_of - timedelta(days=3)]

    def joined(parts: list[NDArray[np.generic]]) -> NDArray[np.float64]:
        return np.concatenate([*parts, np.zeros(0)]).astype(np.float64)

    sizes = [len(one.outcome) for one in found]
    won = [np.arange(size) == one.winner for one, size in zip(found, sizes, strict=True)]
    broken = [one.canceled and one.known_at <= micros(as_of) for one in found]
    return Answers(
        case=np.repeat(np.arange(len(found)), sizes),
        position=joined([np.arange(1, size + 1) for size in sizes]).astype(np.int64),
        score=joined([one.decision.candidates.score[one.decision.allocation.chosen] for one in found]),
        comparable=np.repeat([one.decision.model_version == model_version for one in found], sizes).astype(bool),
        u_eff=joined([one.decision.u_eff[one.decision.allocation.chosen] for one in found]),
        accepted=joined([one.interested for one in found]).astype(bool),
        won=joined(list(won)).astype(bool),
        answer_us=joined([one.answer_us for one in found]),
        sign_us=joined([np.where(mine, one.sign_us, np.nan) for one, mine in zip(found, won, strict=True)]),
        canceled=joined([mine & ended for mine, ended in zip(won, broken, strict=True)]).astype(bool),
    )
