"""What the collector shows of fairness."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from litgo_pipelines.casework.distribution import Report, Terms, compute_report, limits_of, write_report
from litgo_pipelines.casework.equity_run import run_equity
from litgo_pipelines.casework.fairness_figures import FairnessFigures, samples
from litgo_pipelines.casework.prices import set_price
from litgo_pipelines.settings import load_settings
from litgo_pipelines_tests.casework.conftest import NOON, Town
from litgo_pipelines_tests.observability.shown import shown

if TYPE_CHECKING:
    from datetime import datetime

DAY = timedelta(days=1)
SETTINGS = load_settings(litgo_fairness_min_lawyers=2, litgo_fairness_min_cases=2, litgo_equity_price=0.4)


def _report(town: Town, as_of: datetime = NOON, terms: Terms | None = None) -> Report:
    """The night's report, kept as the nightly asset keeps it."""
    run_equity(town.engine, as_of, new_lawyer_offers=10)
    with town.engine.begin() as connection:
        report = compute_report(connection, as_of, terms or Terms.of(SETTINGS))
        write_report(connection, report)
    return report


def _shown(town: Town, **changes: Any) -> dict[str, float]:
    return shown(FairnessFigures(town.engine, SETTINGS.model_copy(update=changes)).read())


def test_without_a_report_nothing_is_said_but_the_price(town: Town) -> None:
    """Not 0, which would be a perfect Gini; and a snapshot that nobody reported on is not computed on."""
    assert _shown(town) == {"equity_price": 0.4}
    town.contract(town.lawyer())
    run_equity(town.engine, NOON, new_lawyer_offers=10)
    assert _shown(town) == {"equity_price": 0.4}


def test_each_figure_is_that_of_the_newest_report(town: Town) -> None:
    """Two areas, four lawyers of capacity 10, six contracts and three offers, as one computes them by hand."""
    civil, other, penal, _ = (*town.lawyers(2), *town.lawyers(2, primary_area="penal"))
    for lawyer, cases in ((civil, 3), (other, 2), (penal, 1)):
        for _ in range(cases):
            town.contract(lawyer)
    town.contract(penal, case=town.case(area="penal", status="contracted"), at=NOON - 40 * DAY)
    town.offer(civil)
    town.offer(civil, NOON - 10 * DAY, status="declined")
    town.offer(other)
    _report(town, NOON - DAY)
    _report(town)
    found = _shown(town)
    assert found == {
        "fairness_gini": pytest.approx(5 / 12),
        "fairness_offered_ratio": 0.5,
        "fairness_gap_ratio{areas}": pytest.approx(0.2),
        "fairness_limit{gini}": 0.3,
        "fairness_limit{offered}": 0.8,
        "fairness_limit{gap}": 0.2,
        "fairness_kept{gini}": 0,
        "fairness_kept{offered}": 0,
        "fairness_kept{gap_areas}": 1,
        "fairness_report_timestamp_seconds": NOON.timestamp(),
        "equity_price": 0.4,
    }


def test_a_change_is_told_where_there_is_a_report_of_a_week_before(town: Town) -> None:
    """From .5 of the lawyers with an offer to all of them, and no Gini before there was a contract."""
    first, second = town.lawyers(2)
    town.case(created_at=NOON - 8 * DAY)
    town.offer(first, NOON - 8 * DAY, status="expired", case=town.case(created_at=NOON - 8 * DAY))
    _report(town, NOON - 7 * DAY)
    town.offer(second)
    town.contract(first)
    _report(town)
    found = _shown(town)
    assert found["fairness_offered_ratio_week_change"] == pytest.approx(0.5)
    assert "fairness_gini" in found
    assert "fairness_gini_week_change" not in found


def test_a_verdict_is_shown_only_where_there_is_one(town: Town) -> None:
    """With too few contracts the figure is there, and nobody says whether it is good."""
    town.contract(town.lawyer())
    town.lawyer()
    _report(town)
    found = _shown(town, litgo_fairness_min_cases=3)
    assert found["fairness_gini"] == 0.5
    assert not any(series.startswith("fairness_kept") for series in found)


def test_a_report_under_other_terms_is_not_shown(town: Town) -> None:
    """It says something else; the newest one under the settings' terms does, with the moment it speaks of."""
    town.contract(town.lawyer())
    _report(town, NOON - DAY)
    _report(town, NOON, Terms(least_lawyers=5, newcomer_days=90))
    assert _shown(town)["fairness_report_timestamp_seconds"] == (NOON - DAY).timestamp()


def test_a_report_that_is_corrected_is_shown_so(town: Town) -> None:
    """A night that is run again writes over its report."""
    town.contract(town.lawyer())
    report = _report(town)
    source = FairnessFigures(town.engine, SETTINGS)
    source.read()
    with town.engine.begin() as connection:
        write_report(connection, replace(report, distribution=replace(report.distribution, gini_utilisation=0.123)))
    assert shown(source.read())["fairness_gini"] == 0.123


def test_every_promise_and_gap_has_its_name(town: Town) -> None:
    """Whatever `equity.promises` judges is shown."""
    town.contract(town.lawyer())
    report = _report(town)
    full = replace(
        report.distribution, lawyers=99, cases=999, offers=999, gap_area=0.1, gap_capacity=0.3, gap_new=0.0, gini_utilisation=0.1
    )
    found = shown(samples(replace(report, distribution=full), None, limits_of(SETTINGS)))
    kept = {series: value for series, value in found.items() if series.startswith("fairness_kept")}
    assert kept == {
        "fairness_kept{gini}": 1,
        "fairness_kept{offered}": 0,
        "fairness_kept{gap_areas}": 1,
        "fairness_kept{gap_capacity}": 0,
        "fairness_kept{gap_newcomers}": 1,
    }
    assert found["fairness_gap_ratio{capacity}"] == 0.3
    assert found["fairness_gap_ratio{newcomers}"] == 0.0


def test_the_price_is_the_one_in_force(town: Town) -> None:
    """Once one is recorded, that one."""
    with town.engine.begin() as connection:
        set_price(connection, 0.9, actor="Ana", reason="test", evidence=None, run_id=None, at=NOON, default=0.4)
    assert _shown(town)["equity_price"] == 0.9
