"""What the collector shows of fairness: the newest report that was kept, what is promised of it, and the price of load.

Nothing is computed over lawyers here: reports are made by night, see `distribution`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from litgo_pipelines.casework.distribution import Report, Terms, limits_of, newest_stored, stored_reports, week_before
from litgo_pipelines.casework.prices import price_in_force
from litgo_pipelines.equity.promises import Limits, judge
from litgo_pipelines.observability.sources import Sample
from litgo_pipelines.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

_FIGURES: Final = {"gini_utilisation": "fairness_gini", "share_offered": "fairness_offered_ratio"}
_BETWEEN: Final = {"gap_area": "areas", "gap_capacity": "capacity", "gap_new": "newcomers"}
_PROMISES: Final = {"gini_utilisation": "gini", "share_offered": "offered"} | {name: f"gap_{who}" for name, who in _BETWEEN.items()}


@dataclass
class FairnessFigures:
    """How evenly the cases are spread, as the newest report under the settings' terms has it.

    Args:
        engine: on the marketplace's database.
    """

    engine: Engine
    settings: Settings
    name: str = field(default="fairness", init=False)

    def read(self) -> list[Sample]:
        """Each figure that is known; without a report the price alone."""
        terms = Terms.of(self.settings)
        with self.engine.connect() as connection:
            price = price_in_force(connection, self.settings.litgo_equity_price).price
            report = newest_stored(connection, terms)
            before = None
            if report is not None:
                then = week_before(report.as_of)
                before = stored_reports(connection, [then], terms).get(then)
        told = [] if report is None else list(samples(report, before, limits_of(self.settings)))
        return [*told, Sample("equity_price", price)]


def samples(report: Report, before: Report | None, limits: Limits) -> Iterator[Sample]:
    """What a report says. What is unknown is left out, and so is a verdict of `insufficient data`.

    Args:
        before: the report of a week earlier.
    """
    found = report.distribution
    figures = found.figures()
    changes = found.change_since(None if before is None else before.distribution)
    for figure, metric in _FIGURES.items():
        yield from _known(metric, figures[figure])
        yield from _known(f"{metric}_week_change", changes[figure])
    for figure, groups in _BETWEEN.items():
        yield from _known("fairness_gap_ratio", figures[figure], between=groups)
        yield from _known("fairness_gap_week_change", changes[figure], between=groups)
    for promise, limit in (("gini", limits.max_gini), ("offered", limits.min_offered), ("gap", limits.max_gap)):
        yield Sample("fairness_limit", limit, {"promise": promise})
    for one in judge(found, limits, report.smallest):
        if one.verdict != "insufficient data":
            yield Sample("fairness_kept", float(one.verdict == "pass"), {"promise": _PROMISES[one.figure]})
    yield Sample("fairness_report_timestamp_seconds", report.as_of.timestamp())


def _known(metric: str, value: float | None, **labels: str) -> Iterator[Sample]:
    if value is not None:
        yield Sample(metric, value, labels)
