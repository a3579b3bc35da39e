"""The daily distribution report as an asset with its checks: executed on a real instance, with what the UI shows of it."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from sqlalchemy import text

from litgo_pipelines.casework import distribution as casework
from litgo_pipelines.casework.distribution import Overview, Terms
from litgo_pipelines.casework.equity_run import as_of_partition
from litgo_pipelines.casework.regions import misfits
from litgo_pipelines.marketplace.database import open_engine
from litgo_pipelines.orchestration.pictures import MOST_BYTES
from litgo_pipelines_tests.orchestration.conftest import NEWEST

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from litgo_pipelines_tests.orchestration.conftest import Location

JOB = "calculate_equity_metrics"
DISTRIBUTION = dg.AssetKey("offer_distribution")
OLDER = "2026-02-14"
"""A day while cases were offered by relevance alone."""
LOW = {"litgo_fairness_min_lawyers": 20, "litgo_fairness_min_cases": 20}
"""What a small marketplace can be judged by."""


@contextmanager
def _database(url: str, role: Any = "litgo_app") -> Iterator[Connection]:
    engine = open_engine(url, role=role)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def _moment(day: str) -> Any:
    return as_of_partition(date.fromisoformat(day))


def _overview(url: str, day: str, newcomer_days: int = 90) -> Overview:
    with _database(url) as connection:
        return casework.read_overview(connection, _moment(day), Terms(20, newcomer_days))


def _metadata(location: Location) -> dict[str, Any]:
    event = location.instance.get_latest_materialization_event(DISTRIBUTION)
    assert event is not None
    assert event.asset_materialization is not None
    return dict(event.asset_materialization.metadata)


def _checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {one.check_name: one for one in result.get_asset_check_evaluations() if one.asset_key == DISTRIBUTION}


def _values(check: dg.AssetCheckEvaluation) -> dict[str, Any]:
    return {name: value.value for name, value in check.metadata.items()}


def test_a_day_is_reported_as_the_database_has_it(location: Location, marketplace_url: str) -> None:
    """Figures with their week's changes as numbers, tables without names, pictures that fit the event log, and a trend that is kept."""
    location.database = marketplace_url
    assert location.execute(JOB, NEWEST, **LOW).success
    found, overview = _metadata(location), _overview(marketplace_url, NEWEST)
    for name, value in overview.report.distribution.figures().items():
        assert (found[name].value if name in found else None) == (None if value is None else pytest.approx(value))
        change = overview.changes[name]
        assert (found[f"{name}_change"].value if f"{name}_change" in found else None) == (None if change is None else pytest.approx(change))
    assert isinstance(found["gini_utilisation"], dg.FloatMetadataValue)
    assert found["gini_utilisation_change"].value != 0
    assert found["smallest_area_gap"].value == overview.report.smallest.gap
    _assert_tables(found, overview)
    with _database(marketplace_url) as connection:
        names = connection.execute(text("SELECT name FROM litgo.lawyers")).scalars().all()
        kept = connection.execute(text("SELECT as_of FROM litgo.equity_reports ORDER BY as_of")).scalars().all()
        nights = connection.execute(text("SELECT DISTINCT as_of FROM litgo.equity_snapshots ORDER BY as_of")).scalars().all()
    assert kept == nights[-30:]
    assert len(kept) == 30
    assert not any(name in str(found) for name in names)
    for name in ("lorenz_curve", "utilisation_histogram", "trend", "demand_and_supply"):
        picture = re.fullmatch(r"!\[.*\]\(data:image/png;base64,(.*)\)", found[name].value)
        assert picture is not None
        assert len(base64.b64decode(picture[1])) <= MOST_BYTES


def _assert_tables(found: dict[str, Any], overview: Overview) -> None:
    rows = {name: [record.data for record in found[name].records] for name in ("areas", "capacity_bands", "tenure", "worst_off", "misfits")}
    summary = {row.data["figure"]: row.data for row in found["summary"].records}
    assert summary["gini_utilisation"]["value"] == round(found["gini_utilisation"].value, 3)
    assert summary["gini_utilisation"]["limit"] == 0.3
    assert {summary[name]["verdict"] for name in ("gini_utilisation", "share_offered", "gap_area")} <= {"pass", "fail", "insufficient data"}
    assert summary["gini_offers"]["verdict"] is None
    assert [row["name"] for row in rows["areas"]] == [one.name for one in overview.report.distribution.areas]
    assert "previdenciário" in {row["name"] for row in rows["areas"]}
    assert sum(row["lawyers"] for row in rows["capacity_bands"]) == overview.report.distribution.lawyers
    assert {row["name"] for row in rows["tenure"]} <= {"newcomers", "established"}
    assert [row["lawyer_id"] for row in rows["worst_off"]] == [str(one.lawyer_id) for one in overview.worst_off]
    assert len(rows["worst_off"]) == 15
    assert [(row["area"], row["region"], row["misfit"]) for row in rows["misfits"]] == [
        (one.area, one.region, one.misfit) for one in misfits(overview.meetings)[:20]
    ]
    assert all(column.type in {"string", "int", "float"} for name in rows for column in found[name].schema.columns)


def test_the_limits_are_settings(location: Location, marketplace_url: str) -> None:
    """The same day passes or fails by them; a verdict is a warning, with figure and limit, and the run succeeds either way."""
    location.database = marketplace_url
    loose = location.execute(JOB, NEWEST, litgo_fairness_max_gini=0.99, litgo_fairness_min_offered=0.01, litgo_fairness_max_gap=0.99, **LOW)
    strict = location.execute(JOB, NEWEST, litgo_fairness_max_gini=0.01, litgo_fairness_min_offered=0.99, **LOW)
    assert loose.success
    assert strict.success
    figures = _overview(marketplace_url, NEWEST).report.distribution
    assert [_values(_checks(loose)[name])["verdict"] for name in ("gini_within_limit", "most_lawyers_offered")] == ["pass", "pass"]
    assert _checks(loose)["gini_within_limit"].passed
    unequal, offered = _checks(strict)["gini_within_limit"], _checks(strict)["most_lawyers_offered"]
    assert (unequal.passed, unequal.severity, unequal.blocking) == (False, dg.AssetCheckSeverity.WARN, False)
    assert _values(unequal) == {"verdict": "fail", "limit": 0.01, "figure": pytest.approx(figures.gini_utilisation)}
    assert (unequal.description or "").startswith("fail: Gini of utilisation is ")
    assert (_values(offered)["limit"], _values(offered)["figure"]) == (0.99, pytest.approx(figures.share_offered))
    assert offered.passed is ((figures.share_offered or 0) > 0.99)


def test_the_gaps_are_judged_each_by_itself(location: Location, marketplace_url: str) -> None:
    """Areas, capacity bands and newcomers have a verdict each, and one that cannot be judged says so. What was possible is said."""
    location.database = marketplace_url
    result = location.execute(JOB, NEWEST, litgo_fairness_max_gap=0.02, litgo_newcomer_days=31, **LOW)
    checks, overview = _checks(result), _overview(marketplace_url, NEWEST, newcomer_days=31)
    figures = overview.report.distribution
    area, capacity, newcomers = (checks[f"{one}_gap_within_limit"] for one in ("area", "capacity", "newcomer"))
    assert not area.passed
    assert _values(area) == {
        "verdict": "fail",
        "limit": 0.02,
        "figure": pytest.approx(figures.gap_area),
        "smallest_possible": overview.report.smallest.gap,
    }
    assert "the smallest possible is" in (area.description or "")
    assert _values(capacity)["verdict"] == ("fail" if (figures.gap_capacity or 0) > 0.02 else "pass")
    assert _values(capacity)["figure"] == pytest.approx(figures.gap_capacity)
    assert figures.gap_new is None
    assert not newcomers.passed
    assert _values(newcomers) == {"verdict": "insufficient data", "limit": 0.02}
    assert "no two groups of at least 20 lawyers" in (newcomers.description or "")


def test_too_little_to_judge_does_not_pass(location: Location, marketplace_url: str) -> None:
    """It says so, in the verdict and in words; the run succeeds."""
    location.database = marketplace_url
    result = location.execute(JOB, NEWEST, litgo_fairness_min_lawyers=1000)
    assert result.success
    for check in _checks(result).values():
        assert not check.passed
        assert check.severity is dg.AssetCheckSeverity.WARN
        assert _values(check)["verdict"] == "insufficient data"
        assert "at least 1,000 are needed" in (check.description or "")


def test_a_day_that_is_filled_in_is_reported_and_judged_as_of_its_own_moment(location: Location, marketplace_url: str) -> None:
    """An older partition, run after the newest: its report, its week before, and its verdicts are those of that day."""
    location.database = marketplace_url
    newest = _checks(location.execute(JOB, NEWEST, **LOW))
    older = _checks(location.execute(JOB, OLDER, **LOW))
    then, today = (_overview(marketplace_url, day).report.distribution for day in (OLDER, NEWEST))
    assert then.gini_utilisation != today.gini_utilisation
    assert _values(older["gini_within_limit"])["figure"] == pytest.approx(then.gini_utilisation)
    assert _values(newest["gini_within_limit"])["figure"] == pytest.approx(today.gini_utilisation)
    assert _metadata(location)["as_of"].value == pytest.approx(_moment(OLDER).timestamp())
    assert _metadata(location)["lawyers"].value == then.lawyers
    assert location.instance.get_materialized_partitions(DISTRIBUTION) == {NEWEST, OLDER}


def test_a_day_run_again_reports_what_is_there_now(location: Location, marketplace_url: str) -> None:
    """The report of the day is made from the facts each time, and stands once in the table."""
    location.database = marketplace_url
    location.execute(JOB, NEWEST)
    before = _metadata(location)["offers"].value
    with _database(marketplace_url) as connection:
        connection.execute(
            text(
                "UPDATE litgo.offers SET sent_at = :at, expires_at = expires_at + interval '60 days' "
                "WHERE id = (SELECT id FROM litgo.offers WHERE sent_at < :old ORDER BY id LIMIT 1)"
            ),
            {"at": _moment("2026-03-01"), "old": _moment("2026-02-01")},
        )
    location.execute(JOB, NEWEST)
    assert _metadata(location)["offers"].value == before + 1
    with _database(marketplace_url) as connection:
        kept = connection.execute(
            text("SELECT figures -> 'distribution' -> 'offers' FROM litgo.equity_reports WHERE as_of = :as_of"), {"as_of": _moment(NEWEST)}
        ).scalar_one()
    assert kept == before + 1


def test_corrupt_data_is_not_reported(location: Location, marketplace_url: str) -> None:
    """A person under two rows blocks: the run fails before the report, and says how many."""
    location.database = marketplace_url
    with _database(marketplace_url) as connection:
        connection.execute(
            text(
                "UPDATE litgo.lawyers SET oab_number = lower(other.oab_number) || '-' "
                "FROM (SELECT oab_number FROM litgo.lawyers ORDER BY id LIMIT 1) other "
                "WHERE id = (SELECT id FROM litgo.lawyers ORDER BY id DESC LIMIT 1)"
            )
        )
    result = location.execute(JOB, NEWEST)
    assert not result.success
    (check,) = result.get_asset_check_evaluations()
    assert (check.check_name, check.passed, check.severity) == ("snapshot_is_complete", False, dg.AssetCheckSeverity.ERROR)
    assert check.metadata["lawyers_twice"].value == 1
    assert location.instance.get_latest_materialization_event(DISTRIBUTION) is None
    with _database(marketplace_url) as connection:
        assert not connection.execute(text("SELECT EXISTS (SELECT FROM litgo.equity_reports)")).scalar_one()


def test_an_empty_marketplace_is_reported_as_such(location: Location, database_url: str) -> None:
    """Counts of 0, no figure where nothing is known, no picture of nothing, and no check that passes."""
    location.database = database_url
    result = location.execute(JOB, NEWEST)
    assert result.success
    found = _metadata(location)
    assert (found["lawyers"].value, found["cases"].value, found["offers"].value) == (0, 0, 0)
    assert not {"gini_utilisation", "gap_area", "smallest_area_gap", "lawyers_change", "lorenz_curve", "trend"} & set(found)
    assert found["worst_off"].records == []
    assert {_values(check)["verdict"] for check in _checks(result).values()} == {"insufficient data"}
    assert not any(check.passed for check in _checks(result).values())


def _alone(location: Location, selection: dg.AssetSelection, partition: str | None) -> dg.ExecuteInProcessResult:
    job = dg.define_asset_job("alone", selection=selection)
    definitions = dg.Definitions.merge(location.definitions(**LOW), dg.Definitions(jobs=[job]))
    return definitions.resolve_job_def("alone").execute_in_process(
        instance=location.instance, partition_key=partition, raise_on_error=False
    )


def test_a_report_without_a_snapshot_says_what_to_do(location: Location, marketplace_url: str) -> None:
    """Asked for by itself, of a day that was not computed: it fails at once, without waiting for another try."""
    location.database = marketplace_url
    result = _alone(location, dg.AssetSelection.assets(DISTRIBUTION).without_checks(), "2026-03-10")
    (failure,) = [event for event in result.all_events if event.event_type is dg.DagsterEventType.STEP_FAILURE]
    assert not result.success
    assert "materialise equity_metrics" in str(failure.step_failure_data)
    assert not [event for event in result.all_events if event.event_type is dg.DagsterEventType.STEP_UP_FOR_RETRY]


def test_a_check_started_by_itself_judges_the_newest_snapshot(location: Location, marketplace_url: str) -> None:
    """Also where no report was kept."""
    location.database = marketplace_url
    result = _alone(location, dg.AssetSelection.checks_for_assets(DISTRIBUTION), None)
    assert result.success
    value = _overview(marketplace_url, NEWEST).report.distribution.gini_utilisation
    assert _values(_checks(result)["gini_within_limit"])["figure"] == pytest.approx(value)
