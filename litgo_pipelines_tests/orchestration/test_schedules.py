"""The schedules, evaluated on a real instance: every missing day is asked for once, and again after a failure; a week brings one refit."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.casework.equity_run import TIMEZONE
from litgo_pipelines.definitions import defs
from litgo_pipelines.orchestration.assets.equity import DAYS, FIRST_DAY
from litgo_pipelines.orchestration.jobs import CALCULATE_EQUITY_METRICS, REFIT_EQUITY_PRICE
from litgo_pipelines.orchestration.schedules import MOST_GAPS, WantedDay, nightly_equity, plan

if TYPE_CHECKING:
    from litgo_pipelines_tests.orchestration.conftest import Location

NIGHT = datetime(2026, 3, 10, 2, tzinfo=TIMEZONE)
LABELS = [f"2026-01-{day:02}" for day in range(1, 31)]


def _days(first: int, last: int) -> list[str]:
    return [f"2026-03-{day:02}" for day in range(first, last + 1)]


def _evaluated(instance: dg.DagsterInstance, at: datetime = NIGHT) -> Any:
    repository = defs.get_repository_def()
    with dg.build_schedule_context(instance=instance, scheduled_execution_time=at, repository_def=repository) as context:
        return nightly_equity.evaluate_tick(context)


def _tick(instance: dg.DagsterInstance, at: datetime = NIGHT) -> list[tuple[str | None, str | None]]:
    """Run keys and partitions that a tick asks for."""
    found = _evaluated(instance, at)
    assert bool(found.run_requests) != bool(found.skip_message)
    return [(one.run_key, one.partition_key) for one in found.run_requests or []]


def _materialise(instance: dg.DagsterInstance, *days: str) -> None:
    for day in days:
        instance.report_runless_asset_event(dg.AssetMaterialization("equity_metrics", partition=day))


def _run(instance: dg.DagsterInstance, day: str, status: dg.DagsterRunStatus) -> None:
    from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
    from dagster._core.test_utils import create_run_for_test
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    location = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="litgo_pipelines.definitions"))
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), CALCULATE_EQUITY_METRICS)
    create_run_for_test(instance, CALCULATE_EQUITY_METRICS, status=status, tags={"dagster/partition": day}, remote_job_origin=origin)


def test_the_first_night_asks_for_the_day_that_just_ended(dagster_instance: dg.DagsterInstance) -> None:
    """A new installation does not compute the past of before it was there."""
    assert _tick(dagster_instance) == [("2026-03-09:0", "2026-03-09")]


def test_after_downtime_every_missing_day_is_asked_for(location: Location, database_url: str) -> None:
    """Three nights without Dagster: the next tick asks for those three days and the newest; once computed there is nothing to do."""
    location.database = database_url
    assert location.execute(CALCULATE_EQUITY_METRICS, "2026-03-05").success
    asked = _tick(location.instance)
    assert asked == [(f"{day}:0", day) for day in _days(6, 9)]
    for _, day in asked:
        assert location.execute(CALCULATE_EQUITY_METRICS, day).success
    assert _tick(location.instance) == []


def test_a_day_that_failed_is_asked_for_again_under_another_key(dagster_instance: dg.DagsterInstance) -> None:
    """A run key is for ever, so it carries the attempt; a cancelled run counts as one too."""
    _materialise(dagster_instance, "2026-03-06")
    _run(dagster_instance, "2026-03-07", dg.DagsterRunStatus.FAILURE)
    _run(dagster_instance, "2026-03-07", dg.DagsterRunStatus.FAILURE)
    _run(dagster_instance, "2026-03-08", dg.DagsterRunStatus.CANCELED)
    assert [key for key, _ in _tick(dagster_instance)] == ["2026-03-07:2", "2026-03-08:1", "2026-03-09:0"]


@pytest.mark.parametrize("status", ["QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"])
def test_a_day_under_way_is_not_asked_for_twice(status: str, dagster_instance: dg.DagsterInstance) -> None:
    """Whatever stage its run is at."""
    _materialise(dagster_instance, "2026-03-07")
    _run(dagster_instance, "2026-03-08", dg.DagsterRunStatus[status])
    assert [day for _, day in _tick(dagster_instance)] == ["2026-03-09"]


def test_a_gap_in_the_middle_is_filled(dagster_instance: dg.DagsterInstance) -> None:
    """Days that were computed out of turn do not hide those that were not."""
    _materialise(dagster_instance, "2026-03-04", "2026-03-06", "2026-03-08")
    assert [day for _, day in _tick(dagster_instance)] == ["2026-03-05", "2026-03-07", "2026-03-09"]


def test_nothing_due_is_said(dagster_instance: dg.DagsterInstance) -> None:
    """A tick without work tells why."""
    _materialise(dagster_instance, "2026-03-09")
    assert _evaluated(dagster_instance).skip_message == "every day is computed or on its way"


def test_the_days_end_at_two_in_the_morning_in_sao_paulo() -> None:
    """A minute before 02:00 the day is not complete, at 02:00 it is; no clock change moves that."""
    for night in (NIGHT, datetime(2026, 11, 1, 2, tzinfo=TIMEZONE)):
        yesterday = (night - timedelta(days=1)).date().isoformat()
        assert DAYS.get_partition_keys(current_time=night)[-1] == yesterday
        assert DAYS.get_partition_keys(current_time=night - timedelta(minutes=1))[-1] < yesterday
    assert DAYS.get_partition_keys(current_time=NIGHT)[0] == FIRST_DAY


_SETS = st.sets(st.sampled_from(LABELS)).map(frozenset)


@given(_SETS, _SETS, st.dictionaries(st.sampled_from(LABELS), st.integers(1, 5)))
def test_every_gap_is_wanted_exactly_once(there: frozenset[str], running: frozenset[str], attempts: dict[str, int]) -> None:
    """Oldest first, from the first day that was ever computed to the newest, without those there or under way."""
    wanted = plan(LABELS, there, running, attempts)
    first = min(there, default=LABELS[-1])
    assert [one.day for one in wanted] == [day for day in LABELS if day >= first and day not in there | running]
    assert all(one.attempt == attempts.get(one.day, 0) for one in wanted)


def test_a_very_long_downtime_is_not_asked_for_at_once() -> None:
    """The newest days come first of all; older ones are for a backfill."""
    days = [f"day {number:04}" for number in range(500)]
    wanted = plan(days, frozenset({days[0]}), frozenset(), {})
    assert [one.day for one in wanted] == days[-MOST_GAPS:]


def test_without_a_complete_day_there_is_nothing_to_run() -> None:
    """Before the first partition ends."""
    assert plan([], frozenset(), frozenset(), {}) == []


def test_a_run_key_names_day_and_attempt() -> None:
    """So that each attempt is a new key."""
    assert WantedDay("2026-03-09", 2).run_key == "2026-03-09:2"


def test_each_monday_after_the_nights_figures_the_price_is_refitted(dagster_instance: dg.DagsterInstance) -> None:
    """Once a week at 03:00 in São Paulo; the tick asks for one run, of the facts as they are when it starts."""
    from dagster._utils.schedules import schedule_execution_time_iterator

    repository = defs.get_repository_def()
    schedule = repository.get_schedule_def("weekly_price")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    cron, zone = schedule.cron_schedule, schedule.execution_timezone
    assert isinstance(cron, str)
    ticks = schedule_execution_time_iterator(NIGHT.timestamp(), cron, zone)
    found = [next(ticks).astimezone(TIMEZONE) for _ in range(3)]
    assert found == [datetime(2026, 3, day, 3, tzinfo=TIMEZONE) for day in (16, 23, 30)]
    with dg.build_schedule_context(instance=dagster_instance, scheduled_execution_time=found[0], repository_def=repository) as context:
        (asked,) = schedule.evaluate_tick(context).run_requests or []
    assert schedule.job_name == REFIT_EQUITY_PRICE
    assert (asked.run_config, asked.partition_key) == ({}, None)
    job = repository.get_job(REFIT_EQUITY_PRICE)
    assert job.tags["litgo/exclusive"] == REFIT_EQUITY_PRICE
