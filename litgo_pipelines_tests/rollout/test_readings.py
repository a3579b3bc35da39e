"""What is shown of the looks at an experiment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from litgo_pipelines.rollout import experiments
from litgo_pipelines.rollout.experiment_pictures import interval_picture
from litgo_pipelines.rollout.experiments import Terms
from litgo_pipelines.rollout.readings import MOST_SHOWN, PastReading, past_readings

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def look(
    hours: float, lift: float | None = 0.1, low: float | None = -0.2, high: float | None = 0.4, metric: str = "accepted"
) -> PastReading:
    figure = {"metric": metric, "lift": lift, "low": low, "high": high}
    return PastReading(NOON + timedelta(hours=hours), {"verdict": "go on", "figures": [figure]})


def experiment(engine: Engine, version: str = "2") -> UUID:
    with engine.begin() as connection:
        terms = Terms("ab", (0.1,), 28.0, "keep")
        return experiments.queue(connection, version, "1", terms, actor="a", reason="r", at=NOON, evidence={}).id


def keep(engine: Engine, of: UUID, count: int) -> None:
    rows = [{"id": of, "at": NOON + timedelta(hours=n), "figures": f'{{"number": {n}}}'} for n in range(count)]
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO litgo.experiment_readouts VALUES (:id, :at, CAST(:figures AS jsonb))"), rows)


def numbers(engine: Engine, of: UUID) -> list[int]:
    with engine.connect() as connection:
        found = past_readings(connection, of)
    assert [one.read_at for one in found] == [NOON + timedelta(hours=one.figures["number"]) for one in found]
    return [one.figures["number"] for one in found]


def test_a_few_looks_are_all_there_oldest_first(engine: Engine) -> None:
    """Those of another experiment are not; none is none."""
    first = experiment(engine)
    other = experiment(engine, "3")
    assert numbers(engine, first) == []
    keep(engine, first, MOST_SHOWN)
    keep(engine, other, 3)
    assert numbers(engine, first) == list(range(MOST_SHOWN))
    assert numbers(engine, other) == [0, 1, 2]


def test_many_looks_are_thinned_out_but_for_the_newest(engine: Engine) -> None:
    """As many of the newest as fit, and every so manyeth of those before, from the beginning on."""
    of = experiment(engine)
    keep(engine, of, 1000)
    found = numbers(engine, of)
    assert found[-MOST_SHOWN:] == list(range(1000 - MOST_SHOWN, 1000))
    assert found[:-MOST_SHOWN] == list(range(4, 1000 - MOST_SHOWN, 5))


@pytest.mark.parametrize(
    "past",
    [[], [look(0, lift=None)], [look(0, low=None), look(1, high=None)], [look(0, metric="rating")], [PastReading(NOON, {"figures": []})]],
)
def test_without_an_interval_there_is_no_picture(past: list[PastReading]) -> None:
    """Rather none than empty axes."""
    assert interval_picture(past) is None


def test_a_picture_shows_each_metric_that_decides(engine: Engine) -> None:
    """One look is enough; extreme intervals, which would hide all others, are cut off, and it stays small."""
    past = [
        PastReading(one.read_at, {"figures": [*one.figures["figures"], *other.figures["figures"]]})
        for one, other in ((look(n, 0.1 / (n + 1), -3.0, 900.0), look(n, 0.2, 0.1, 0.3, "contract")) for n in range(40))
    ]
    for shown in (past[:1], past):
        picture = interval_picture(shown)
        assert picture is not None
        assert picture.startswith(b"\x89PNG")
        assert len(picture) < 50 * 1024


def test_a_metric_that_is_known_later_begins_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its points stand at the days of their own looks, in percent of lift, inside the axes."""
    from matplotlib.axes import Axes

    drawn: list[tuple[str, list[float], list[float]]] = []
    plot = Axes.plot

    def noting(axes: Axes, at: Any, values: Any, **options: Any) -> Any:
        drawn.append((options["label"], list(at), list(values)))
        return plot(axes, at, values, **options)

    monkeypatch.setattr(Axes, "plot", noting)
    interval_picture([look(0), look(24, lift=0.2), look(48, lift=9.0, metric="contract")])
    assert drawn == [("accepted", [0.0, 1.0], [0.1, 0.2]), ("contract", [2.0], [2.0])]
