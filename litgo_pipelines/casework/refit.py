"""The price of load, replayed and refitted: what each price would have brought about in the last 30 days, and which to put in force.

How a replay goes is `price_replay`'s, which price is the right one `equity.pricing`'s, writing it down `prices`'.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from litgo_pipelines.casework.distribution import Terms, report_of, snapshot_moments
from litgo_pipelines.casework.price_replay import Past, Replayed, replay
from litgo_pipelines.casework.prices import (
    MOST_PRICE,
    PriceInForce,
    frozen,
    offer_rule,
    price_at,
    price_in_force,
    price_to_move_from,
    set_price,
    take_turn,
)
from litgo_pipelines.casework.responses import ResponseModel, TooLittleRecorded, fit_responses, read_answers
from litgo_pipelines.equity.allocation import OfferRule
from litgo_pipelines.equity.distribution import Distribution
from litgo_pipelines.equity.pricing import PRICES, TradeOff, choose, reachable
from litgo_pipelines.ranking.ranker import Ranker
from litgo_pipelines.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

ACTOR = "equity_price"
# An hour less than seven days: this week's run may start a little sooner after its tick than last week's did.
_WEEK = timedelta(days=7) - timedelta(hours=1)
_SAME = 1e-9

Progress = Callable[[int, int], None]
Verdict = Literal["moved", "kept", "rehearsed", "frozen", "superseded", "implausible", "insufficient data"]

MOST_DOUBT = 0.1
"""A replay at the price in force whose Gini lies further than this from the observed one does not describe the marketplace."""


@dataclass(frozen=True)
class LastMonth:
    """The 30 days before `as_of`, ready to be replayed under any price.

    Attributes:
        model: how lawyers and clients answered.
        rule: in force at `as_of`, without exploration: every price meets the same chance.
        top_n: offers that a case had, by the record.
        observed: what the newest snapshot shows; None where there is none.
    """

    as_of: datetime
    past: Past
    model: ResponseModel
    rule: OfferRule
    top_n: int
    observed: Distribution | None
    settings: Settings

    @classmethod
    def read(cls, connection: Connection, as_of: datetime, ranker: Ranker, settings: Settings) -> LastMonth:
        """Read what a replay needs.

        Raises:
            TooLittleRecorded: nothing, or too little, was offered in the 30 days.
        """
        answers = read_answers(connection, as_of, ranker.version)
        model = fit_responses(answers)
        past = Past.read(connection, as_of)
        if not past.cases:
            raise TooLittleRecorded("no case was offered for the first time within 30 days")
        price = price_at(connection, as_of, settings.litgo_equity_price)
        rule = replace(offer_rule(connection, settings), price=price, price_id=None, exploration=0.0)
        return cls(as_of, past, model, rule, _offers_a_case(answers.case), observed(connection, as_of, settings), settings)

    def under(self, prices: Sequence[float], ranker: Ranker, on_progress: Progress = lambda _done, _of: None) -> list[Replayed]:
        """Replay under each price, in the order of `prices`."""
        return replay(
            self.past,
            ranker,
            [replace(self.rule, price=price) for price in prices],
            self.model,
            top_n=self.top_n,
            new_lawyer_offers=self.settings.litgo_new_lawyer_offers,
            newcomer_days=self.settings.litgo_newcomer_days,
            least_lawyers=self.settings.litgo_fairness_min_lawyers,
            on_progress=on_progress,
        )


def observed(connection: Connection, as_of: datetime, settings: Settings) -> Distribution | None:
    """The distribution that the newest snapshot up to `as_of` shows; None where there is none within the 30 days."""
    moments = snapshot_moments(connection, as_of)
    if not moments or moments[0] <= as_of - timedelta(days=30):
        return None
    return report_of(connection, moments[0], Terms.of(settings)).distribution


def _offers_a_case(case: np.ndarray[tuple[int], np.dtype[np.int64]]) -> int:
    return int(np.median(np.unique(case, return_counts=True)[1]))


@dataclass(frozen=True)
class Refit:
    """What a refit found and did.

    Attributes:
        before, after: the price in force.
        base: what it may move from by a share a week: the price in force a week ago, or what a person has set since.
        curve: by price, ascending; empty where too little is recorded.
        cases, share: how many were replayed, and of which share of the marketplace.
        observed_gini: of the newest snapshot, beside which the curve is to be read.
        price_id: of the row that was written; None where nothing was.
    """

    verdict: Verdict
    reason: str
    before: float
    after: float
    base: float
    curve: tuple[TradeOff, ...] = ()
    cases: int = 0
    share: float = 1.0
    observed_gini: float | None = None
    price_id: int | None = None

    def evidence(self) -> dict[str, Any]:
        """What the price was chosen from, as JSON holds it."""
        return {"base": self.base, "cases": self.cases, "share": self.share, "curve": [asdict(one) for one in self.curve]}


def refit_price(
    engine: Engine,
    ranker: Ranker,
    settings: Settings,
    as_of: datetime,
    *,
    run_id: str | None,
    rehearse: bool = False,
    on_progress: Progress = lambda _done, _of: None,
) -> Refit:
    """Replay the 30 days before `as_of`, and put in force the smallest price within reach that keeps what is promised.

    Within a week the price moves by `LITGO_EQUITY_MAX_MOVE` at most, however often this runs. A frozen price is replayed and left
    alone; one that somebody sets meanwhile stays as they set it. Too little data is a verdict, and moves nothing; so is
    a replay at the price in force that comes nowhere near what was observed.

    Args:
        rehearse: put nothing in force, whatever is found.
    """
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        now = price_in_force(connection, settings.litgo_equity_price)
        base = price_to_move_from(connection, as_of - _WEEK, as_of, settings.litgo_equity_price, refit=ACTOR)
        try:
            month = LastMonth.read(connection, as_of, ranker, settings)
        except TooLittleRecorded as missing:
            return Refit("insufficient data", str(missing), now.price, now.price, base)
    before = month.rule.price
    allowed = reachable(base, settings.litgo_equity_max_move, MOST_PRICE)
    curve = tuple(one.trade_off for one in month.under(sorted({*PRICES, *allowed, before}), ranker, on_progress))
    seen = None if month.observed is None else month.observed.gini_utilisation
    found = Refit("kept", "", before, before, base, curve, len(month.past.cases), month.past.share, seen)
    if any(one.gini_utilisation is None for one in curve):
        return replace(found, verdict="insufficient data", reason="no replayed case became a contract: there is no inequality to compare")
    choice = choose(curve, allowed, target_gini=settings.litgo_equity_target_gini, most_gap=settings.litgo_fairness_max_gap)
    doubt = _doubt(before, curve, seen)
    if doubt:
        return replace(found, verdict="implausible", reason=f"{doubt}; nothing was put in force: {choice.price:g} would have been chosen")
    if rehearse:
        return replace(found, verdict="rehearsed", reason=f"as of {as_of:%Y-%m-%d %H:%M} UTC, nothing was put in force: {choice.reason}")
    return _put_in_force(engine, replace(found, after=choice.price, reason=choice.reason), now, settings, as_of, run_id)


def _doubt(price: float, curve: Sequence[TradeOff], seen: float | None) -> str:
    """Why the replay cannot be believed, if so: at the price in force it must come near what was observed."""
    (replayed,) = (one.gini_utilisation for one in curve if one.price == price)
    if seen is None or replayed is None or abs(replayed - seen) <= MOST_DOUBT:
        return ""
    return f"a replay at the price in force gives a Gini of {replayed:.3f}, but {seen:.3f} was observed"


def _put_in_force(engine: Engine, found: Refit, read: PriceInForce, settings: Settings, as_of: datetime, run_id: str | None) -> Refit:
    with engine.begin() as connection:
        take_turn(connection)
        now, held = price_in_force(connection, settings.litgo_equity_price), frozen(connection)
        if now.id != read.id:
            reason = f"{now.actor} set {now.price:g} while this was replayed; {found.after:g} would have been chosen"
            return replace(found, verdict="superseded", reason=reason, after=now.price)
        if held is not None:
            reason = f"frozen by {held.actor} ({held.reason}); {found.after:g} would have been chosen: {found.reason}"
            return replace(found, verdict="frozen", reason=reason, after=now.price)
        if abs(found.after - now.price) < _SAME:
            return found
        written = set_price(
            connection,
            found.after,
            actor=ACTOR,
            reason=found.reason,
            evidence=found.evidence(),
            run_id=run_id,
            at=as_of,
            default=settings.litgo_equity_price,
        )
        return replace(found, verdict="moved", price_id=written.id)
