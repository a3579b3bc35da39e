"""Whether a month kept what is promised: pass, fail, or insufficient data, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from litgo_pipelines.equity.distribution import Distribution
from litgo_pipelines.equity.promises import GAPS, Limits, Verdict, judge, judge_gaps, judge_gini, judge_offered
from litgo_pipelines.equity.supply import SmallestGap

LIMITS = Limits(max_gini=0.3, min_offered=0.8, max_gap=0.2, least_lawyers=30, least_cases=100)
EVEN = SmallestGap(0.0, 1.0, 0)
GOOD = Distribution(
    lawyers=30,
    cases=100,
    offers=100,
    gini_utilisation=0.2,
    gini_offers=0.4,
    share_offered=0.9,
    mean_utilisation=0.5,
    p95_minus_p5=50.0,
    max_minus_min=90.0,
    gap_area=0.1,
    gap_capacity=0.1,
    gap_new=0.1,
    areas=(),
    bands=(),
    tenure=(),
)


@pytest.mark.parametrize(("gini", "verdict"), [(0.2999, "pass"), (0.3, "fail"), (0.31, "fail"), (None, "insufficient data")])
def test_the_gini_must_stay_below_its_limit(gini: float | None, verdict: Verdict) -> None:
    """At the limit it fails."""
    assert judge_gini(replace(GOOD, gini_utilisation=gini), LIMITS).verdict == verdict


@pytest.mark.parametrize(("share", "verdict"), [(0.8001, "pass"), (0.8, "fail"), (0.0, "fail"), (None, "insufficient data")])
def test_the_share_with_an_offer_must_exceed_its_limit(share: float | None, verdict: Verdict) -> None:
    """At the limit it fails."""
    assert judge_offered(replace(GOOD, share_offered=share), LIMITS).verdict == verdict


@pytest.mark.parametrize("name", GAPS)
@pytest.mark.parametrize(("gap", "verdict"), [(0.2, "pass"), (0.2001, "fail"), (None, "insufficient data")])
def test_each_gap_may_reach_its_limit(name: str, gap: float | None, verdict: Verdict) -> None:
    """At the limit it passes; the other gaps have their own verdicts."""
    found = {one.figure: one.verdict for one in judge_gaps(replace(GOOD, **{name: gap}), LIMITS, EVEN)}
    assert list(found) == list(GAPS)
    assert found.pop(name) == verdict
    assert set(found.values()) == {"pass"}


@pytest.mark.parametrize(
    ("lack", "without"),
    [
        ({"lawyers": 29}, {"gini_utilisation", "share_offered", *GAPS}),
        ({"cases": 99}, {"gini_utilisation", *GAPS}),
        ({"offers": 99}, {"share_offered"}),
    ],
)
def test_too_little_to_judge_is_no_verdict(lack: dict[str, int], without: set[str]) -> None:
    """However good or bad the figures; the reason says what is lacking and how much is needed."""
    bad = replace(GOOD, gini_utilisation=0.9, share_offered=0.1, gap_area=0.9, gap_capacity=0.9, gap_new=0.9)
    for found in (GOOD, bad):
        judged = judge(replace(found, **lack), LIMITS, EVEN)  # type: ignore[arg-type]
        assert {one.figure for one in judged if one.verdict == "insufficient data"} == without
        assert {one.verdict for one in judged if one.figure not in without} <= {"pass" if found is GOOD else "fail"}
        reasons = " ".join(one.reason for one in judged if one.figure in without)
        assert f"{next(iter(lack.values()))} {next(iter(lack)).replace('cases', 'contracts')}, at least" in reasons


def test_the_limits_decide() -> None:
    """The same month passes under one limit and fails under another, and both are shown."""
    strict = replace(LIMITS, max_gini=0.1, min_offered=0.95, max_gap=0.05)
    assert {one.verdict for one in judge(GOOD, LIMITS, EVEN)} == {"pass"}
    judged = judge(GOOD, strict, EVEN)
    assert {one.verdict for one in judged} == {"fail"}
    assert [(one.value, one.limit) for one in judged] == [(0.2, 0.1), (0.9, 0.95), (0.1, 0.05), (0.1, 0.05), (0.1, 0.05)]


@pytest.mark.parametrize(
    ("smallest", "said"),
    [
        (SmallestGap(0.02, 1.0, 0), "the smallest possible is 2.0 points"),
        (SmallestGap(0.25, 1.0, 0), "the smallest possible is 25.0 points: no assignment could have kept the limit"),
        (SmallestGap(0.295, 1.0, 0), "the smallest possible is 29.5 points: it could not have been smaller"),
        (SmallestGap(0.02, 1.3, 0), "with lawyers at 130 % of their capacity"),
        (SmallestGap(None, 1.0, 0), "not known"),
    ],
)
def test_a_gap_between_areas_that_fails_says_what_was_possible(smallest: SmallestGap, said: str) -> None:
    """So that nobody blames the offer rule for where the lawyers are; the other gaps do not say it."""
    judged = judge_gaps(replace(GOOD, gap_area=0.3, gap_capacity=0.3), LIMITS, smallest)
    assert said in judged[0].reason
    assert not any("possible" in one.reason for one in judged[1:])
