"""Pictures in the UI: small enough for the event log."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import numpy as np
import pytest

from litgo_pipelines.casework.distribution import Report, Terms
from litgo_pipelines.casework.regions import Meeting
from litgo_pipelines.equity.distribution import Lawyers, distribution
from litgo_pipelines.equity.promises import Limits
from litgo_pipelines.equity.supply import SmallestGap
from litgo_pipelines.orchestration.pictures import MOST_BYTES, inline_png, lorenz_png, meetings_png, trend_png, utilisation_png

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("count", [1, 50, 5000])
def test_a_lorenz_curve_is_a_small_png(count: int) -> None:
    """Whatever the number of lawyers, it stays below what the event log can bear."""
    png = lorenz_png(np.random.default_rng(0).random(count))
    assert png.startswith(PNG)
    assert len(png) <= MOST_BYTES


def test_another_distribution_is_another_picture() -> None:
    """The curve shows what it is given; the same gives the same."""
    even, uneven = np.ones(50), np.r_[np.zeros(49), 1.0]
    assert lorenz_png(even) == lorenz_png(even)
    assert lorenz_png(even) != lorenz_png(uneven)


def test_nobody_holding_anything_can_be_drawn() -> None:
    """A first night without a case is no error."""
    assert lorenz_png(np.zeros(5)).startswith(PNG)


@pytest.mark.parametrize("used", [np.zeros(1), np.ones(3), np.random.default_rng(0).gamma(2, 0.4, 100_000), np.array([0.1, 30.0])])
def test_a_histogram_is_a_small_png_for_everybody(used: np.ndarray) -> None:
    """One idle lawyer, all alike, a hundred thousand, or one with thirty times a month's work."""
    assert utilisation_png(used).startswith(PNG)
    assert len(utilisation_png(used)) <= MOST_BYTES
    assert utilisation_png(used) != utilisation_png(np.full(7, 0.5))


LIMITS = Limits(0.3, 0.8, 0.2, 2, 2)


def _reports(count: int, cases: int = 3) -> list[Report]:
    one = np.ones(4, dtype=np.int64)
    town = Lawyers(cases * np.arange(4), 10 * one, one, np.array(["família", "civil"] * 2), one == 0)
    found = distribution(town, least_lawyers=2)
    moments = [datetime(2026, 3, 1, 5, tzinfo=UTC) + timedelta(days=day) for day in range(count)]
    return [Report(moment, Terms(2, 90), found, SmallestGap(0.0, 1.0, 0)) for moment in moments]


@pytest.mark.parametrize("count", [1, 2, 7, 30])
def test_a_trend_is_a_small_png_however_short(count: int) -> None:
    """From the first report on; figures that are not known leave holes."""
    png = trend_png(_reports(count), LIMITS)
    assert png.startswith(PNG)
    assert len(png) <= MOST_BYTES


def test_a_trend_shows_figures_limits_and_what_is_not_known() -> None:
    """Each of them changes the picture; nothing known at all can be drawn."""
    reports = _reports(5)
    nothing = distribution(Lawyers(*(np.array([], dtype=kind) for kind in (int, int, int, str, bool))), least_lawyers=2)
    shown = {
        trend_png(reports, LIMITS),
        trend_png(_reports(5, cases=0), LIMITS),
        trend_png(reports, replace(LIMITS, max_gap=0.5)),
        trend_png([*reports[:2], replace(reports[2], distribution=nothing), *reports[3:]], LIMITS),
        trend_png([replace(report, distribution=nothing) for report in reports], LIMITS),
    }
    assert len(shown) == 5


def test_demand_and_supply_are_a_small_png_whatever_their_number() -> None:
    """One place, and more areas with long names and states than a picture has room for; the largest are shown."""
    many = [
        Meeting(f"direito previdenciário especial número {area}", f"{state:02}", (area * state) % 7, area * state % 7 * 0.7, area % 5 * 2.0)
        for area, state in product(range(60), range(30))
    ]
    png = meetings_png(many)
    assert len(png) <= MOST_BYTES
    assert meetings_png(many[:1]).startswith(PNG)


@pytest.mark.parametrize("change", [{"contracts": 9.0}, {"capacity": 0.0}, {"cases": 0, "contracts": 0.0}, {"area": "família"}])
def test_another_meeting_is_another_picture(change: dict[str, object]) -> None:
    """Too few lawyers, none, no cases, or an area with an accent."""
    one = Meeting("civil", "SP", 3, 2.0, 4.0)
    other = replace(one, **change)  # type: ignore[arg-type]
    assert meetings_png([one]) != meetings_png([other])


def test_a_picture_is_shown_inline() -> None:
    """As markdown with the bytes in it."""
    found = inline_png(PNG, "a curve")
    assert found.value == f"![a curve](data:image/png;base64,{base64.b64encode(PNG).decode()})"


def test_a_large_picture_does_not_get_into_the_event_log() -> None:
    """It is refused with what to do instead."""
    inline_png(b"x" * MOST_BYTES, "fits")
    with pytest.raises(ValueError, match="log it as an artifact"):
        inline_png(b"x" * (MOST_BYTES + 1), "too large")
