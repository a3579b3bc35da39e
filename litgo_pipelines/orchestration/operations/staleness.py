"""Assets that their freshness policy says are stale: told once for each stale period, and when one is fresh again.

A policy is for what is made by the clock. Assets that a sensor asks for only when something is due (messages, contracts, vectors, models)
are never stale by time alone, and have none.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import dagster as dg

from litgo_pipelines.casework.equity_run import TIMEZONE
from litgo_pipelines.orchestration.instance_reading import last_moment
from litgo_pipelines.orchestration.operations.messages import Links, Message, stamp, told_at

NIGHTLY: Final = dg.FreshnessPolicy.cron(deadline_cron="0 6 * * *", lower_bound_delta=timedelta(hours=4), timezone=str(TIMEZONE))
"""Made between 02:00 and 06:00 in São Paulo."""
WEEKLY: Final = dg.FreshnessPolicy.cron(deadline_cron="0 6 * * 1", lower_bound_delta=timedelta(hours=3), timezone=str(TIMEZONE))
"""Made on Monday between 03:00 and 06:00 in São Paulo."""


def plan(
    stale: Mapping[str, datetime], failed: Mapping[str, datetime], fresh: frozenset[str], links: Links
) -> tuple[dict[str, datetime], list[Message]]:
    """A message for an asset that became stale, and one when it is fresh.

    Args:
        stale: those that people were told of, with since when.
        failed: those that are stale, with since when.
        fresh: those that are known to be fresh.
    """
    begun = [_stale(name, since, links) for name, since in sorted(failed.items()) if stale.get(name) != since]
    ended = [_fresh(name, since, links) for name, since in sorted(stale.items()) if name in fresh]
    kept = {name: since for name, since in stale.items() if name not in fresh}
    return kept | dict(failed), [*begun, *ended]


def _stale(name: str, since: datetime, links: Links) -> Message:
    lines = [
        f"The asset {name} should have been made by {told_at(since)} and was not. What relies on it goes on with older figures.",
        f"The asset, when it was made last and what failed: {links.asset(name)}",
    ]
    return Message(f"stale:{name}:{stamp(since)}", f"Asset {name} is stale", "\n".join(lines), {"asset": name})


def _fresh(name: str, since: datetime, links: Links) -> Message:
    told = f"The asset {name}, which was stale since {told_at(since)}, has been made.\n{links.asset(name)}"
    return Message(f"fresh:{name}:{stamp(since)}", f"Asset {name} is fresh again", told, {"asset": name})


def look(
    stale: Mapping[str, datetime], instance: dg.DagsterInstance, policies: Mapping[dg.AssetKey, dg.FreshnessPolicy], links: Links
) -> tuple[dict[str, datetime], list[Message]]:
    """What is to be told of the assets with a policy, as Dagster's daemon judged them last."""
    from dagster._core.definitions.freshness import FreshnessState

    found = instance.get_freshness_state_records(sorted(policies)) if policies else {}
    failed = {
        key.to_user_string(): _deadline(policies[key], one.updated_at)
        for key, one in found.items()
        if one.freshness_state is FreshnessState.FAIL
    }
    fresh = frozenset(
        key.to_user_string() for key, one in found.items() if one.freshness_state in (FreshnessState.PASS, FreshnessState.WARN)
    )
    return plan(stale, failed, fresh, links)


def _deadline(policy: dg.FreshnessPolicy, noticed_at: datetime) -> datetime:
    """By when an asset should have been made that the daemon found to be stale at a moment; that moment where there is no fixed one."""
    from dagster._core.definitions.freshness import CronFreshnessPolicy

    return last_moment(policy.deadline_cron, policy.timezone, noticed_at) if isinstance(policy, CronFreshnessPolicy) else noticed_at
