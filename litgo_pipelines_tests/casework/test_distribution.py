"""The distribution of a snapshot's month, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.casework import distribution as casework
from litgo_pipelines.casework.distribution import NoSnapshot, Report, Terms
from litgo_pipelines.casework.equity_run import as_of_partition, run_equity
from litgo_pipelines.equity.promises import Limits
from litgo_pipelines.settings import load_settings
from litgo_pipelines_tests.casework.conftest import AREA, NOON, Town

if TYPE_CHECKING:
    from sqlalchemy import Connection

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
TERMS = Terms(least_lawyers=2, newcomer_days=90)


def _night(town: Town, as_of: datetime = NOON) -> datetime:
    run_equity(town.engine, as_of, new_lawyer_offers=10)
    return as_of


@contextmanager
def _open(town: Town) -> Iterator[Connection]:
    with town.engine.begin() as connection:
        yield connection


def _read(town: Town, function: Any, *arguments: Any, **named: Any) -> Any:
    with _open(town) as connection:
        return function(connection, *arguments, **named)


def _report(town: Town, as_of: datetime = NOON, terms: Terms = TERMS) -> Report:
    found: Report = _read(town, casework.compute_report, as_of, terms)
    return found


def _stored(town: Town) -> list[datetime]:
    return [row.as_of for row in town.rows("SELECT as_of FROM litgo.equity_reports ORDER BY as_of")]


def test_a_small_month_has_the_figures_one_computes_by_hand(town: Town) -> None:
    """Two areas, four lawyers of capacity 10, six contracts and three offers."""
    civil, other, penal, idle = (*town.lawyers(2), *town.lawyers(2, primary_area="penal"))
    for lawyer, cases in ((civil, 3), (other, 2), (penal, 1)):
        for _ in range(cases):
            town.contract(lawyer)
    town.contract(idle, status="canceled")
    town.contract(penal, case=town.case(area="penal", status="contracted"), at=NOON - 40 * DAY)
    town.offer(civil)
    town.offer(civil, NOON - 10 * DAY, status="declined")
    town.offer(other)
    _night(town)
    found = _report(town).distribution
    assert (found.lawyers, found.cases, found.offers) == (4, 6, 3)
    assert found.gini_utilisation == pytest.approx(5 / 12)
    assert found.share_offered == 0.5
    assert found.mean_utilisation == pytest.approx(0.15)
    assert found.gap_area == pytest.approx(0.2)
    assert (found.gap_capacity, found.gap_new) == (None, None)


def test_only_active_lawyers_with_an_area_that_is_asked_for_count(town: Town) -> None:
    """Idle ones do; who is inactive, or practises what nobody asks for, does not."""
    idle = town.lawyer(specialties=["penal"], primary_area="ambiental")
    town.lawyer(primary_area="ambiental")
    town.lawyer(status="inactive")
    town.case(area="penal")
    _night(town)
    lawyers = _read(town, casework.read_lawyers, NOON, newcomer_days=90)
    assert lawyers.area.tolist() == ["ambiental"]
    assert [one.lawyer_id for one in _read(town, casework.read_worst_off, NOON)] == [idle]


def test_offers_of_exactly_the_last_thirty_days_count(town: Town) -> None:
    """One sent 30 days ago to the second is out; one at the moment itself is in, later ones are not."""
    lawyer = town.lawyer()
    for at in (NOON - 30 * DAY, NOON - 30 * DAY + SECOND, NOON, NOON + SECOND):
        town.offer(lawyer, at, status="expired")
    _night(town)
    assert _report(town).distribution.offers == 2


def test_newcomers_are_those_who_joined_lately(town: Town) -> None:
    """Within the newcomer days, whatever offers they received."""
    for at in (NOON - 400 * DAY, NOON - 90 * DAY, NOON - 90 * DAY + SECOND, NOON - 12 * DAY, NOON - timedelta(hours=1)):
        town.lawyer(created_at=at)
    town.case()
    _night(town)
    found = _read(town, casework.read_lawyers, NOON, newcomer_days=90)
    assert sorted(found.newcomer.tolist()) == [False, False, True, True, True]
    assert not _read(town, casework.read_lawyers, NOON, newcomer_days=0).newcomer.any()


def test_an_older_moment_says_what_it_would_have_said_then(town: Town) -> None:
    """Contracts, offers and lawyers of later are not seen in a day that is filled in."""
    early, late = town.lawyers(2)
    town.contract(early, NOON - 5 * DAY)
    town.offer(early, NOON - 5 * DAY, status="expired")
    town.execute("UPDATE litgo.cases SET created_at = :at", at=NOON - 5 * DAY)
    _night(town, NOON - 3 * DAY)
    then = _report(town, NOON - 3 * DAY)
    town.contract(late)
    town.offer(late)
    town.lawyer(created_at=NOON - DAY)
    _night(town)
    _night(town, NOON - 3 * DAY)
    assert _report(town, NOON - 3 * DAY) == then
    assert (then.distribution.lawyers, then.distribution.cases, then.distribution.share_offered) == (2, 1, 0.5)
    assert (_report(town).distribution.lawyers, _report(town).distribution.cases) == (3, 2)


def test_the_smallest_gap_is_over_the_contracts_of_those_who_count(town: Town) -> None:
    """Spellings of the same areas are one group; contracts of who has left are nobody's to share out."""
    town.lawyers(2, specialties=["penal", "família"], max_concurrent_cases=5)
    town.lawyer(specialties=["família", "penal", AREA], max_concurrent_cases=5)
    penal = town.lawyers(2, primary_area="penal", max_concurrent_cases=5)
    for lawyer, area in ((penal[0], "penal"), (penal[1], "penal"), (penal[1], AREA)):
        town.contract(lawyer, case=town.case(area=area, status="contracted"))
    for _ in range(4):
        town.contract(town.lawyer(status="inactive"), case=town.case(area="penal", status="contracted"))
    _night(town)
    found = _report(town).smallest
    # Three contracts, of which the civil lawyers may take all: 3 c / 15 = (3 - 3 c) / 10 at c = .6.
    assert found.gap == pytest.approx(0)
    assert (found.overload, found.unplaced) == (1, 0)
    town.execute("UPDATE litgo.lawyers SET specialties = '{}'")
    # Now the case of the civil lawyers is theirs alone, and so are the two of the others.
    assert _report(town).smallest.gap == pytest.approx(2 / 10 - 1 / 15)


def test_a_report_is_kept_once_and_read_back_as_it_was(town: Town) -> None:
    """Written again it is the same row, untouched; under other terms it is another report and takes its place."""
    for lawyer in town.lawyers(3):
        town.contract(lawyer)
    _night(town)
    report = _report(town)
    for _ in range(2):
        _read(town, casework.write_report, report)
        place = town.rows("SELECT as_of, ctid::text FROM litgo.equity_reports")
    assert _read(town, casework.stored_reports, [NOON, NOON - DAY], TERMS) == {NOON: report}
    _read(town, casework.write_report, report)
    assert town.rows("SELECT as_of, ctid::text FROM litgo.equity_reports") == place
    other = Terms(least_lawyers=5, newcomer_days=90)
    assert _read(town, casework.stored_reports, [NOON], other) == {}
    _read(town, casework.write_report, _report(town, terms=other))
    assert len(_stored(town)) == 1
    assert _read(town, casework.stored_reports, [NOON], TERMS) == {}


def test_the_trend_computes_what_is_missing_and_reads_what_is_there(town: Town) -> None:
    """The last reports, oldest first: of snapshots made before there were reports, too; each is computed once."""
    town.contract(town.lawyer())
    moments = [_night(town, NOON - days * DAY) for days in (4, 3, 1, 0)]
    found = _read(town, casework.reports, NOON, TERMS, 3)
    assert [one.as_of for one in found] == _stored(town) == moments[1:]
    assert [one.distribution.cases for one in found] == [0, 0, 1]
    changed = replace(found[0], distribution=replace(found[0].distribution, lawyers=77))
    _read(town, casework.write_report, changed)
    again = _read(town, casework.reports, NOON, TERMS)
    assert [one.as_of for one in again] == moments
    assert again[1] == changed
    assert [one.as_of for one in _read(town, casework.reports, NOON - DAY, TERMS)] == moments[:3]


def test_reports_under_other_terms_are_made_anew(town: Town) -> None:
    """A trend in which some gaps count small groups and others do not would lie."""
    town.contract(town.lawyer())
    town.contract(town.lawyer(primary_area="penal"), case=town.case(area="penal", status="contracted"))
    _night(town)
    assert _read(town, casework.reports, NOON, TERMS)[0].distribution.gap_area is None
    assert _read(town, casework.reports, NOON, Terms(1, 90))[0].distribution.gap_area == 0
    assert _read(town, casework.report_of, NOON, TERMS).distribution.gap_area is None
    assert len(_stored(town)) == 1


@pytest.mark.parametrize(("days", "known"), [(6, False), (7, True), (8, False)])
def test_a_weeks_change_is_against_exactly_seven_days_before(days: int, known: bool, town: Town) -> None:
    """A day more or less is no week: then the change is not known."""
    lawyer = town.lawyer()
    town.contract(lawyer, NOON - 10 * DAY)
    town.execute("UPDATE litgo.cases SET created_at = :at", at=NOON - 10 * DAY)
    _night(town, NOON - days * DAY)
    town.contract(lawyer)
    _night(town)
    changes = _read(town, casework.week_change, _report(town))
    assert set(changes) == set(_report(town).distribution.figures())
    assert changes["cases"] == (1 if known else None)
    assert changes["mean_utilisation"] == (pytest.approx(0.1) if known else None)
    assert changes["gap_area"] is None
    assert _stored(town) == []


@given(st.dates(date(2015, 1, 10), date(2035, 1, 1)))
def test_a_week_before_is_seven_partitions_before(day: date) -> None:
    """Across changes of the clock as well, of which São Paulo had some."""
    assert casework.week_before(as_of_partition(day)) == as_of_partition(day - timedelta(days=7))


def test_the_worst_off_have_fewest_offers_for_their_capacity(town: Town) -> None:
    """Two offers are less for who can take twenty than one for who can take five; among equals who waited longest comes first."""
    large = town.lawyer(tipo_atuacao="escritorio_grande", state="SP")
    small = town.lawyer(max_concurrent_cases=5)
    never = town.lawyer(created_at=NOON - 10 * DAY)
    long_ago, lately = town.lawyers(2)
    town.offer(long_ago, NOON - 40 * DAY, status="expired")
    town.offer(lately, NOON - 31 * DAY, status="expired")
    for days in (1, 2):
        town.offer(large, NOON - days * DAY, status="expired")
    town.offer(small, NOON - 3 * DAY, status="expired")
    town.contract(large)
    _night(town)
    found = _read(town, casework.read_worst_off, NOON)
    assert [one.lawyer_id for one in found] == [long_ago, lately, never, large, small]
    assert [one.days_waiting for one in found] == [40, 31, None, 1, 3]
    assert [(one.capacity, one.cases, one.offers, one.state) for one in found[3:]] == [(20, 1, 2, "SP"), (5, 0, 1, None)]
    assert len(_read(town, casework.read_worst_off, NOON, 2)) == 2


def test_an_overview_holds_all_that_is_shown_and_names_nobody(town: Town) -> None:
    """Lawyers, report, changes, who is worst off, demand and supply; ids only, and nothing is written."""
    lawyer = town.lawyer(name="Beatriz Araújo")
    town.contract(lawyer)
    _night(town)
    found = _read(town, casework.read_overview, NOON, TERMS)
    assert found.report == _report(town)
    assert found.lawyers.cases.tolist() == [1]
    assert [one.lawyer_id for one in found.worst_off] == [lawyer]
    assert [(one.area, one.cases) for one in found.meetings] == [(AREA, 1)]
    assert "Beatriz" not in repr(found)
    assert _stored(town) == []


def test_without_a_snapshot_there_is_nothing_to_report(town: Town) -> None:
    """One line says what to run; an empty marketplace has an empty report instead."""
    assert _report(town).distribution.lawyers == 0
    town.contract(town.lawyer())
    with pytest.raises(NoSnapshot, match="materialise equity_metrics"):
        _report(town)
    with pytest.raises(NoSnapshot, match="litgo run calculate_equity_metrics"):
        _read(town, casework.newest_snapshot, NOON)
    assert _report(town, NOON - 500 * DAY).distribution.lawyers == 0
    assert _read(town, casework.reports, NOON, TERMS) == []


def test_the_newest_snapshot_is_that_of_the_moment_asked_for(town: Town) -> None:
    """Later ones are not seen."""
    town.lawyer()
    moments = [_night(town, NOON - days * DAY) for days in (2, 1, 0)]
    assert _read(town, casework.newest_snapshot, NOON) == NOON
    assert _read(town, casework.newest_snapshot, NOON - SECOND) == moments[1]
    assert _read(town, casework.snapshot_moments, NOON, 2) == moments[1:]
    with pytest.raises(NoSnapshot):
        _read(town, casework.newest_snapshot, datetime(2020, 1, 1, tzinfo=UTC))


def test_a_lawyer_whose_row_is_gone_is_established(town: Town) -> None:
    """A snapshot outlives its lawyers: when they joined is not known, so they count as there for long."""
    lawyer = town.lawyer(created_at=NOON - 10 * DAY)
    town.case()
    _night(town)
    town.execute("DELETE FROM litgo.lawyers WHERE id = :id", id=lawyer)
    found = _read(town, casework.read_overview, NOON, TERMS)
    assert found.lawyers.newcomer.tolist() == [False]
    assert found.worst_off[0].lawyer_id == UUID(str(lawyer))


def test_terms_and_limits_are_settings() -> None:
    """Each from its own variable."""
    settings = load_settings(
        litgo_fairness_max_gini=0.11,
        litgo_fairness_min_offered=0.22,
        litgo_fairness_max_gap=0.33,
        litgo_fairness_min_lawyers=44,
        litgo_fairness_min_cases=55,
        litgo_newcomer_days=66,
    )
    assert casework.limits_of(settings) == Limits(0.11, 0.22, 0.33, 44, 55)
    assert Terms.of(settings) == Terms(44, 66)
