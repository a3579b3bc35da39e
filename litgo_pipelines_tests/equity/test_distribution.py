"""What a month's distribution looks like: figures computed by hand, and rules that hold for all lawyers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.equity.distribution import Distribution, Lawyers, distribution


def _lawyers(cases: list[int], /, **changes: Any) -> Lawyers:
    """Lawyers of capacity 10 in one area who have been there for long and received an offer each."""
    count = len(cases)
    given_ = {
        "cases": cases,
        "capacity": [10] * count,
        "offers": [1] * count,
        "area": ["civil"] * count,
        "newcomer": [False] * count,
    }
    kinds = {"area": np.str_, "newcomer": np.bool_}
    return Lawyers(**{name: np.array(value, dtype=kinds.get(name, np.int64)) for name, value in (given_ | changes).items()})


def _means(found: Distribution, groups: str) -> dict[str, float]:
    return {one.name: one.mean_utilisation for one in getattr(found, groups)}


def test_a_small_month_has_the_figures_one_computes_by_hand() -> None:
    """Utilisations 0, .1, .2 and .3: Gini 5/12, mean .15, and a spread in percentage points."""
    found = distribution(_lawyers([0, 1, 2, 3], offers=[0, 0, 4, 4]), least_lawyers=1)
    assert (found.lawyers, found.cases, found.offers) == (4, 6, 8)
    assert found.gini_utilisation == pytest.approx(5 / 12)
    assert found.gini_offers == pytest.approx(0.5)
    assert found.share_offered == 0.5
    assert found.mean_utilisation == pytest.approx(0.15)
    assert found.max_minus_min == pytest.approx(30)
    # Linear between the order statistics: P95 = 28.5 %, P5 = 1.5 %.
    assert found.p95_minus_p5 == pytest.approx(27)


def test_who_can_take_more_may_have_more() -> None:
    """Cases and offers in the proportion of capacity are equality; bare counts would be a Gini of a quarter."""
    found = distribution(_lawyers([1, 3], capacity=[5, 15], offers=[4, 12]), least_lawyers=1)
    assert (found.gini_utilisation, found.gini_offers) == (pytest.approx(0), pytest.approx(0))


def test_areas_are_compared_by_the_mean_over_their_lawyers() -> None:
    """Not by their cases over their capacity: a large office does not outweigh a small one."""
    found = distribution(
        _lawyers([2, 20, 5, 5], capacity=[4, 20, 10, 10], area=["penal", "penal", "família", "família"]),
        least_lawyers=2,
    )
    assert _means(found, "areas") == {"família": pytest.approx(0.5), "penal": pytest.approx(0.75)}
    assert found.gap_area == pytest.approx(0.25)
    assert [one.gini for one in found.areas] == [pytest.approx(0), pytest.approx(1 / 6)]


def test_groups_of_too_few_lawyers_are_shown_and_not_compared() -> None:
    """A gap is over groups of enough lawyers; with fewer than two of them there is none, which is not 0."""
    area = ["civil", "civil", "penal", "penal", "família"]
    lawyers = _lawyers([1, 1, 3, 3, 9], area=area)
    two = distribution(lawyers, least_lawyers=2)
    assert two.gap_area == pytest.approx(0.2)
    assert len(two.areas) == 3
    assert distribution(lawyers, least_lawyers=1).gap_area == pytest.approx(0.8)
    assert distribution(lawyers, least_lawyers=3).gap_area is None


def test_capacity_bands_are_those_of_the_snapshot() -> None:
    """1-10, 11-15, 16-20 and 21-30, each with its bounds; empty ones are left out."""
    capacity = [1, 10, 11, 15, 16, 20, 21, 30]
    found = distribution(_lawyers([1, 10, 0, 0, 4, 5, 21, 0], capacity=capacity), least_lawyers=2)
    assert [(one.name, one.lawyers) for one in found.bands] == [("1-10", 2), ("11-15", 2), ("16-20", 2), ("21-30", 2)]
    assert _means(found, "bands") == {"1-10": 1, "11-15": 0, "16-20": 0.25, "21-30": 0.5}
    assert found.gap_capacity == 1
    assert [one.name for one in distribution(_lawyers([1], capacity=[30]), least_lawyers=1).bands] == ["21-30"]


def test_newcomers_are_compared_with_those_who_have_been_there() -> None:
    """By the same utilisation; who joined lately is told apart, whatever came their way."""
    found = distribution(_lawyers([6, 4, 2, 3], newcomer=[False, False, True, True]), least_lawyers=2)
    assert _means(found, "tenure") == {"established": pytest.approx(0.5), "newcomers": pytest.approx(0.25)}
    assert found.gap_new == pytest.approx(0.25)
    assert distribution(_lawyers([6, 4], newcomer=[True, True]), least_lawyers=1).gap_new is None


def test_without_lawyers_nothing_is_known() -> None:
    """Counts are 0, every figure is None, and there are no groups."""
    found = distribution(_lawyers([]), least_lawyers=1)
    figures = found.figures()
    assert (figures.pop("lawyers"), figures.pop("cases"), figures.pop("offers")) == (0, 0, 0)
    assert set(figures.values()) == {None}
    assert (found.areas, found.bands, found.tenure) == ((), (), ())


def test_where_nothing_was_shared_out_there_is_no_inequality_to_tell() -> None:
    """No case and no offer: no Gini, while a mean of 0 and a share of 0 are facts."""
    found = distribution(_lawyers([0, 0], offers=[0, 0]), least_lawyers=2)
    assert (found.gini_utilisation, found.gini_offers, found.areas[0].gini) == (None, None, None)
    assert (found.mean_utilisation, found.share_offered, found.p95_minus_p5) == (0, 0, 0)


@pytest.mark.parametrize(
    "wrong",
    [{"cases": [-1]}, {"capacity": [0]}, {"offers": [-1]}, {"area": ["civil", "penal"]}],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    """Negative counts, no capacity, or arrays of different lengths."""
    with pytest.raises(ValueError, match="must"):
        _lawyers([1], **wrong)


def test_changes_are_known_where_both_figures_are() -> None:
    """Today's less that of before; None without a before, or where one of both is unknown."""
    before = distribution(_lawyers([0, 1]), least_lawyers=1)
    today = distribution(_lawyers([1, 1, 1]), least_lawyers=1)
    changes = today.change_since(before)
    assert (changes["lawyers"], changes["cases"]) == (1, 2)
    assert changes["mean_utilisation"] == pytest.approx(0.05)
    assert changes["gap_area"] is None
    assert set(today.change_since(None).values()) == {None}
    assert set(today.change_since(None)) == set(today.figures())


_TOWNS = st.integers(1, 40).flatmap(
    lambda count: st.builds(
        Lawyers,
        *(
            st.lists(values, min_size=count, max_size=count).map(lambda found, kind=kind: np.array(found, dtype=kind))
            for values, kind in (
                (st.integers(0, 40), np.int64),
                (st.integers(1, 30), np.int64),
                (st.integers(0, 200), np.int64),
                (st.sampled_from(["civil", "família", "previdenciário", "tributário"]), np.str_),
                (st.booleans(), np.bool_),
            )
        ),
    )
)


@given(_TOWNS, st.integers(1, 5))
def test_a_distribution_survives_json(lawyers: Lawyers, least: int) -> None:
    """To the last bit, groups and unknown figures included."""
    found = distribution(lawyers, least_lawyers=least)
    assert Distribution.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


@given(_TOWNS, st.integers(1, 5), st.randoms(use_true_random=False))
def test_figures_know_no_order_and_fit_together(lawyers: Lawyers, least: int, random: Any) -> None:
    """Shuffled lawyers give the same; every lawyer is in one area and one band; no gap is larger than the whole spread."""
    found = distribution(lawyers, least_lawyers=least)
    order = list(range(found.lawyers))
    random.shuffle(order)
    shuffled = distribution(Lawyers(*(getattr(lawyers, name)[order] for name in lawyers.__dataclass_fields__)), least_lawyers=least)
    assert shuffled.figures() == {name: None if value is None else pytest.approx(value) for name, value in found.figures().items()}
    assert sum(one.lawyers for one in found.areas) == sum(one.lawyers for one in found.bands) == found.lawyers
    assert found.mean_utilisation == pytest.approx(sum(one.lawyers * one.mean_utilisation for one in found.areas) / found.lawyers)
    for gap in (found.gap_area, found.gap_capacity, found.gap_new):
        assert gap is None or -1e-9 <= 100 * gap <= (found.max_minus_min or 0) + 1e-6


@given(_TOWNS)
def test_a_stricter_bound_on_groups_never_widens_a_gap(lawyers: Lawyers) -> None:
    """Fewer groups are compared, so a gap shrinks or is not known."""
    loose, strict = distribution(lawyers, least_lawyers=1), distribution(lawyers, least_lawyers=4)
    assert strict == replace(loose, gap_area=strict.gap_area, gap_capacity=strict.gap_capacity, gap_new=strict.gap_new)
    for name in ("gap_area", "gap_capacity", "gap_new"):
        narrow, wide = getattr(strict, name), getattr(loose, name)
        assert narrow is None or narrow <= wide + 1e-12
