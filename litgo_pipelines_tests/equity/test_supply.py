"""The least gap between areas: found by hand where that is possible, and never beaten by an assignment that is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.equity.supply import Group, SmallestGap, smallest_gap

AREAS = ("civil", "família", "penal", "tributário")


def _group(area: str, *others: str, lawyers: int = 10, capacity: float = 100) -> Group:
    return Group(area, frozenset({area, *others}), lawyers, capacity)


def test_separate_areas_have_the_gap_that_demand_gives_them() -> None:
    """Nobody practises both: 50 % here and 20 % there leave nothing to choose."""
    found = smallest_gap({"civil": 50, "penal": 20}, [_group("civil"), _group("penal")], least_lawyers=2)
    assert found == SmallestGap(pytest.approx(0.3), 1.0, 0)


def test_who_practises_both_areas_evens_them_out() -> None:
    """Lawyers of the quiet area take half of the other's cases."""
    found = smallest_gap({"civil": 80}, [_group("civil"), _group("penal", "civil")], least_lawyers=2)
    assert found.gap == pytest.approx(0)


def test_capacity_bounds_what_can_be_evened_out() -> None:
    """The only lawyer of the quiet area who could help is full at 10 cases: a tenth of that area's mean, and no more."""
    helper = _group("penal", "civil", lawyers=1, capacity=10)
    found = smallest_gap({"civil": 70}, [_group("civil"), helper, _group("penal", lawyers=9, capacity=90)], least_lawyers=2)
    assert found.gap == pytest.approx(0.6 - 0.1)


def test_small_areas_are_not_compared_but_take_cases() -> None:
    """An area of three lawyers is idle, which is no gap, and its lawyers may help in another."""
    groups = [_group("civil"), _group("penal"), _group("família", "civil", lawyers=3, capacity=60)]
    found = smallest_gap({"civil": 80, "penal": 20}, groups, least_lawyers=10)
    assert found.gap == pytest.approx(0)
    assert smallest_gap({"civil": 80, "penal": 20}, groups[:2], least_lawyers=10).gap == pytest.approx(0.6)


def test_more_cases_than_room_are_said_and_still_compared() -> None:
    """Demand of one and a half months: the least load is 150 %, and the gap is the smallest under it."""
    found = smallest_gap({"civil": 150, "penal": 100}, [_group("civil"), _group("penal")], least_lawyers=2)
    assert found == SmallestGap(pytest.approx(0.5), pytest.approx(1.5), 0)


def test_cases_that_nobody_takes_are_counted_apart() -> None:
    """An area without lawyers is in no assignment."""
    found = smallest_gap({"civil": 50, "penal": 50, "espacial": 7}, [_group("civil"), _group("penal")], least_lawyers=2)
    assert found == SmallestGap(pytest.approx(0), 1.0, 7)


@pytest.mark.parametrize(
    ("cases", "groups", "expected"),
    [
        ({}, [], SmallestGap(None, 1.0, 0)),
        ({"civil": 5}, [], SmallestGap(None, 1.0, 5)),
        ({}, [_group("civil"), _group("penal")], SmallestGap(0.0, 1.0, 0)),
        ({"civil": 5}, [_group("civil")], SmallestGap(None, 1.0, 0)),
        ({"civil": 200}, [_group("civil")], SmallestGap(None, 2.0, 0)),
        ({"civil": 5}, [_group("civil"), _group("penal", lawyers=1)], SmallestGap(None, 1.0, 0)),
    ],
)
def test_with_nothing_to_compare_the_gap_is_unknown(cases: dict[str, int], groups: list[Group], expected: SmallestGap) -> None:
    """No lawyers, one area, or areas too small: None; two idle areas have a gap of 0."""
    assert smallest_gap(cases, groups, least_lawyers=2) == expected


@pytest.mark.parametrize("wrong", [_group("civil", lawyers=0), _group("civil", capacity=0)])
def test_a_group_of_nobody_is_refused(wrong: Group) -> None:
    """Without lawyers or capacity there is no mean."""
    with pytest.raises(ValueError, match="at least one lawyer"):
        smallest_gap({"civil": 1}, [wrong], least_lawyers=1)


@st.composite
def _with_room(draw: Any) -> tuple[int, int, int, int]:
    """Cases that one area alone takes, cases that both may take, and the capacities of both, which suffice."""
    first, second = draw(st.integers(1, 100)), draw(st.integers(1, 200))
    own = draw(st.integers(0, first))
    return own, draw(st.integers(0, first + second - own)), first, second


@given(_with_room())
def test_two_areas_have_the_gap_of_the_best_split(drawn: tuple[int, int, int, int]) -> None:
    """Civil lawyers may take penal cases, penal lawyers only those: the best of all splits is known in closed form."""
    own, shared, first, second = drawn
    most, least = min(shared, first - own), max(0, shared - second)
    even = (shared / second - own / first) / (1 / first + 1 / second)
    split = min(max(even, least), most)
    expected = abs((own + split) / first - (shared - split) / second)
    groups = [_group("civil", "penal", lawyers=3, capacity=first), _group("penal", lawyers=5, capacity=second)]
    found = smallest_gap({"civil": own, "penal": shared}, groups, least_lawyers=2)
    assert found.overload == 1
    assert found.gap == pytest.approx(expected, abs=1e-6)


@st.composite
def _assigned(draw: Any) -> tuple[list[Group], list[dict[str, int]]]:
    """Groups with room for what an assignment gives them, and that assignment: contracts by area for each group."""
    groups, loads = [], []
    for _ in range(draw(st.integers(2, 7))):
        practised = draw(st.sets(st.sampled_from(AREAS), min_size=1))
        load = {area: draw(st.integers(0, 30)) for area in sorted(practised)}
        capacity = max(1, sum(load.values()) + draw(st.integers(0, 40)))
        groups.append(Group(draw(st.sampled_from(sorted(practised))), frozenset(practised), draw(st.integers(1, 20)), capacity))
        loads.append(load)
    return groups, loads


def _gap(groups: list[Group], loads: list[dict[str, int]], least: int) -> float | None:
    """The gap that an assignment makes, from the definition."""
    means = []
    for area in {group.area for group in groups}:
        members = [(group, sum(load.values())) for group, load in zip(groups, loads, strict=True) if group.area == area]
        people = sum(group.lawyers for group, _ in members)
        if people >= least:
            means.append(sum(group.lawyers * load / group.capacity for group, load in members) / people)
    return max(means) - min(means) if len(means) > 1 else None


@given(_assigned(), st.integers(1, 10))
def test_no_assignment_that_is_possible_beats_the_smallest_gap(assigned: tuple[list[Group], list[dict[str, int]]], least: int) -> None:
    """Whatever the groups: an assignment within everybody's areas and capacity has at least this gap."""
    groups, loads = assigned
    demand = {area: sum(load.get(area, 0) for load in loads) for area in AREAS}
    found, theirs = smallest_gap(demand, groups, least_lawyers=least), _gap(groups, loads, least)
    assert (found.overload, found.unplaced) == (1.0, 0)
    assert (found.gap is None) == (theirs is None)
    if found.gap is not None and theirs is not None:
        assert 0 <= found.gap <= theirs + 1e-6


@given(_assigned(), st.data())
def test_learning_an_area_never_widens_the_smallest_gap(assigned: tuple[list[Group], list[dict[str, int]]], data: st.DataObject) -> None:
    """What was possible before stays possible."""
    groups, loads = assigned
    demand = {area: sum(load.get(area, 0) for load in loads) for area in AREAS}
    one = data.draw(st.integers(0, len(groups) - 1))
    learned = groups.copy()
    learned[one] = replace(groups[one], practised=frozenset(AREAS))
    before, after = (smallest_gap(demand, all_groups, least_lawyers=1).gap for all_groups in (groups, learned))
    assert (before is None) == (after is None)
    assert before is None or after is None or after <= before + 1e-6
