"""Schedules: the nightly equity figures, gaps after downtime included, the weekly refit and digest, the end of old logs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from litgo_pipelines.casework.equity_run import RUN_AT, TIMEZONE
from litgo_pipelines.orchestration.assets.equity import DAYS, equity_metrics
from litgo_pipelines.orchestration.jobs import calculate_equity_metrics, expire_records, refit_equity_price, send_weekly_digest

MOST_GAPS = 62
"""Missing days that one tick asks for at most, the newest ones; older ones are for a backfill in the UI."""


@dataclass(frozen=True)
class WantedDay:
    """A partition to run and how often it was tried before."""

    day: str
    attempt: int

    @property
    def run_key(self) -> str:
        """A key is for ever: the attempt is part of it."""
        return f"{self.day}:{self.attempt}"


def plan(days: Sequence[str], materialized: frozenset[str], running: frozenset[str], attempts: Mapping[str, int]) -> list[WantedDay]:
    """Which days to run now, oldest first: the newest, and every gap since the first day that was ever computed.

    Args:
        days: all complete partitions, in order.
        materialized: those that are there.
        running: those that a run is on its way to.
        attempts: runs that ended without success, by day.
    """
    if not days:
        return []
    known = [index for index, day in enumerate(days) if day in materialized]
    first = known[0] if known else len(days) - 1
    wanted = [day for day in days[max(first, len(days) - MOST_GAPS) :] if day not in materialized and day not in running]
    return [WantedDay(day, attempts.get(day, 0)) for day in wanted]


@dg.schedule(
    job=calculate_equity_metrics,
    cron_schedule=f"{RUN_AT.minute} {RUN_AT.hour} * * *",
    execution_timezone=str(TIMEZONE),
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def nightly_equity(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Each night at 02:00 in São Paulo: the day that just ended, and the days that downtime left out."""
    days = DAYS.get_partition_keys(current_time=context.scheduled_execution_time)
    materialized = frozenset(context.instance.get_materialized_partitions(equity_metrics.key))
    missing = [day for day in days[-MOST_GAPS:] if day not in materialized]
    running, attempts = _runs_of(context.instance, missing)
    wanted = plan(days, materialized, running, attempts)
    if not wanted:
        yield dg.SkipReason("every day is computed or on its way")
    for one in wanted:
        yield dg.RunRequest(run_key=one.run_key, partition_key=one.day)


def _runs_of(instance: dg.DagsterInstance, days: Sequence[str]) -> tuple[frozenset[str], dict[str, int]]:
    """Days with a run under way, and the number of ended runs of each other day."""
    wanted = set(days)
    running: set[str] = set()
    ended: dict[str, int] = {}
    for run in instance.get_runs(filters=dg.RunsFilter(job_name=calculate_equity_metrics.name), limit=10 * MOST_GAPS):
        day = run.tags.get("dagster/partition")
        if day not in wanted:
            continue
        if run.is_finished:
            ended[day] = ended.get(day, 0) + 1
        else:
            running.add(day)
    return frozenset(running), ended


# An hour after the night's figures. A missed week is made up for once, which is all that a price in force needs.
weekly_price = dg.ScheduleDefinition(
    name="weekly_price",
    job=refit_equity_price,
    cron_schedule="0 3 * * 1",
    execution_timezone=str(TIMEZONE),
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Each Monday at 03:00 in São Paulo.",
)

nightly_expiry = dg.ScheduleDefinition(
    name="nightly_expiry",
    job=expire_records,
    cron_schedule="0 4 * * *",
    execution_timezone=str(TIMEZONE),
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Each night at 04:00 in São Paulo.",
)

# After the night's figures and the refit, when the week begins for people.
weekly_digest = dg.ScheduleDefinition(
    name="weekly_digest",
    job=send_weekly_digest,
    cron_schedule="0 8 * * 1",
    execution_timezone=str(TIMEZONE),
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Each Monday at 08:00 in São Paulo.",
)

SCHEDULES = [nightly_equity, weekly_price, nightly_expiry, weekly_digest]
