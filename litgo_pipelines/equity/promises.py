"""What is promised of the distribution, and whether a month kept it. Pure.

The figures are defined in `equity.distribution`, the limits are settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from litgo_pipelines.equity.distribution import Distribution
    from litgo_pipelines.equity.supply import SmallestGap

Verdict = Literal["pass", "fail", "insufficient data"]

GAPS = {"gap_area": "primary areas", "gap_capacity": "capacity bands", "gap_new": "newcomers and established lawyers"}
"""The gaps by name, and between whom they are."""

# A gap this near to the smallest possible one leaves an offer rule nothing to do.
_NEAR = 0.01


@dataclass(frozen=True)
class Limits:
    """What a month must keep.

    Attributes:
        max_gini: the Gini of utilisation must stay below.
        min_offered: the share of lawyers with an offer must lie above.
        max_gap: no gap may lie above, in mean utilisation.
        least_lawyers: with fewer there is no verdict; groups with fewer are not compared.
        least_cases: with fewer contracts there is no verdict, for the share of lawyers with an offer: with fewer offers.
    """

    max_gini: float
    min_offered: float
    max_gap: float
    least_lawyers: int
    least_cases: int


@dataclass(frozen=True)
class Judgement:
    """A figure by its name in `Distribution`, its limit, and what is to be said of it."""

    figure: str
    value: float | None
    limit: float
    verdict: Verdict
    reason: str


def judge_gini(found: Distribution, limits: Limits) -> Judgement:
    """Whether utilisation is spread evenly enough."""
    value, limit = found.gini_utilisation, limits.max_gini
    few = _too_few(found.lawyers, limits.least_lawyers, "lawyers") or _too_few(found.cases, limits.least_cases, "contracts")
    if few or value is None:
        return Judgement("gini_utilisation", value, limit, "insufficient data", f"Gini of utilisation: {few or 'nothing to share'}")
    reason = f"Gini of utilisation is {value:.3f} (must stay below {limit:.3f})"
    return Judgement("gini_utilisation", value, limit, "pass" if value < limit else "fail", reason)


def judge_offered(found: Distribution, limits: Limits) -> Judgement:
    """Whether enough lawyers are offered anything at all."""
    value, limit = found.share_offered, limits.min_offered
    few = _too_few(found.lawyers, limits.least_lawyers, "lawyers") or _too_few(found.offers, limits.least_cases, "offers")
    if few or value is None:
        return Judgement("share_offered", value, limit, "insufficient data", f"lawyers with an offer: {few or 'no lawyers'}")
    reason = f"{100 * value:.1f} % of the lawyers received an offer (must be more than {100 * limit:.1f} %)"
    return Judgement("share_offered", value, limit, "pass" if value > limit else "fail", reason)


def judge_gaps(found: Distribution, limits: Limits, smallest: SmallestGap) -> list[Judgement]:
    """Whether no group of lawyers is used much less than another: one judgement for each of `GAPS`, in their order.

    Args:
        smallest: the least gap between areas that was possible; said where the gap between areas fails.
    """
    few = _too_few(found.lawyers, limits.least_lawyers, "lawyers") or _too_few(found.cases, limits.least_cases, "contracts")
    return [_judge_gap(name, getattr(found, name), limits, few, smallest) for name in GAPS]


def judge(found: Distribution, limits: Limits, smallest: SmallestGap) -> list[Judgement]:
    """All that is promised."""
    return [judge_gini(found, limits), judge_offered(found, limits), *judge_gaps(found, limits, smallest)]


def _judge_gap(name: str, value: float | None, limits: Limits, few: str, smallest: SmallestGap) -> Judgement:
    between = f"gap between {GAPS[name]}"
    if few or value is None:
        lack = few or f"no two groups of at least {limits.least_lawyers} lawyers"
        return Judgement(name, value, limits.max_gap, "insufficient data", f"{between}: {lack}")
    reason = f"{between} is {100 * value:.1f} points (may be at most {100 * limits.max_gap:.1f})"
    if value <= limits.max_gap:
        return Judgement(name, value, limits.max_gap, "pass", reason)
    if name == "gap_area":
        reason += f"; {_possible(value, limits.max_gap, smallest)}"
    return Judgement(name, value, limits.max_gap, "fail", reason)


def _possible(value: float, limit: float, smallest: SmallestGap) -> str:
    """What an offer rule could have done about the gap between areas."""
    if smallest.gap is None:
        return "the smallest possible is not known"
    told = f"the smallest possible is {100 * smallest.gap:.1f} points"
    if smallest.overload > 1:
        told += f", with lawyers at {100 * smallest.overload:.0f} % of their capacity"
    if smallest.gap >= value - _NEAR:
        return f"{told}: it could not have been smaller, for the lawyers' areas do not match demand"
    return f"{told}: no assignment could have kept the limit" if smallest.gap > limit else told


def _too_few(count: int, least: int, what: str) -> str:
    return f"{count:,} {what}, at least {least:,} are needed" if count < least else ""
