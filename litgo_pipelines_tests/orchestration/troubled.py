"""A code location whose sensor and check do as a test says. What Dagster's daemons make of it is real."""

from datetime import timedelta

import dagster as dg

MOOD = {"sensor": "well", "verdict": "pass", "severity": "WARN"}
"""What happens with the next tick or run."""


class Moody(RuntimeError):
    """What the sensor raises."""


@dg.sensor(minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def moody() -> dg.SkipReason:
    if MOOD["sensor"] != "well":
        raise Moody("Maria da Silva foi demitida")
    return dg.SkipReason("nothing is due")


@dg.asset(freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(minutes=60)))
def figures() -> None:
    """Made every hour."""


@dg.asset_check(asset=figures)
def figures_are_right() -> dg.AssetCheckResult:
    severity = dg.AssetCheckSeverity[MOOD["severity"]]
    metadata = {"verdict": MOOD["verdict"]}
    return dg.AssetCheckResult(passed=MOOD["verdict"] == "pass", severity=severity, description="7 of 9", metadata=metadata)


make_figures = dg.define_asset_job("make_figures", [figures])

defs = dg.Definitions(assets=[figures], asset_checks=[figures_are_right], jobs=[make_figures], sensors=[moody])
