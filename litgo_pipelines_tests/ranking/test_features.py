"""The eight features of a lawyer for a case."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from litgo_pipelines.marketplace.tables import FEATURES
from litgo_pipelines.ranking.features import distance_km, feature_matrix

A, S, T, G, Q, U, R, C = range(8)
ORDINARY: dict[str, Any] = {
    "area_match": 1.0,
    "similarity": 0.5,
    "won": 3,
    "lost": 1,
    "distance_km": 10.0,
    "radius_km": 40.0,
    "qualification": 0.7,
    "response_h": 6.0,
    "urgency_h": 24.0,
    "rating": 4.0,
    "soft_skill": 0.2,
}
UNKNOWN_TO = {"similarity": S, "distance_km": G, "qualification": Q, "response_h": U, "rating": R, "soft_skill": C}


def features(**changes: Any) -> NDArray[np.float32]:
    return feature_matrix(**{name: np.atleast_1d(value) for name, value in (ORDINARY | changes).items()})


def test_an_ordinary_pair_has_the_features_one_computes_by_hand() -> None:
    """A, S, T, G, Q, U, R, C in the one order of the tables, as 4-byte floats."""
    found = features()
    assert found.shape == (1, len(FEATURES))
    assert found.dtype == np.float32
    assert found[0].tolist() == pytest.approx([1.0, 0.5, 4 / 6, 0.75, 0.7, 0.75, 0.75, 0.2])


@pytest.mark.parametrize(("name", "column"), UNKNOWN_TO.items())
def test_what_is_unknown_stays_unknown(name: str, column: int) -> None:
    """One missing value is NaN in its own feature, which is not 0, and leaves the others alone."""
    found, known = features(**{name: math.nan})[0], features()[0]
    assert math.isnan(found[column])
    assert np.delete(found, column).tolist() == np.delete(known, column).tolist()


def test_success_is_smoothed_so_that_one_case_proves_little() -> None:
    """Without a record T is a half; one victory makes two thirds of it, a hundred nearly 1."""
    found = features(won=[0, 1, 100, 0], lost=[0, 0, 0, 100])[:, T]
    assert found.tolist() == pytest.approx([1 / 2, 2 / 3, 101 / 102, 1 / 102])


def test_distance_counts_down_to_the_radius() -> None:
    """G is 1 beside the client, 0 at the radius and beyond."""
    assert features(distance_km=[0, 20, 40, 400])[:, G].tolist() == pytest.approx([1, 0.5, 0, 0])


def test_an_answer_that_comes_too_late_is_worth_nothing() -> None:
    """U is 1 for an answer at once and 0 where the lawyer needs all the time there is, or more."""
    assert features(response_h=[0, 12, 24, 72])[:, U].tolist() == pytest.approx([1, 0.5, 0, 0])


_ANY = st.one_of(st.just(math.nan), st.floats(-1e6, 1e6))


@given(st.fixed_dictionaries({name: _ANY for name in ORDINARY if name not in {"won", "lost", "radius_km", "urgency_h"}}))
def test_every_feature_lies_between_nought_and_one_or_is_unknown(values: dict[str, float]) -> None:
    """Whatever the inputs are."""
    found = features(**values)
    assert np.all(np.isnan(found) | ((found >= 0) & (found <= 1)))


@given(st.lists(st.tuples(st.floats(0, 500), st.floats(1, 5)), min_size=1, max_size=20))
def test_many_pairs_at_once_have_the_features_of_each_alone(pairs: list[tuple[float, float]]) -> None:
    """Vectorised is the same as one by one."""
    together = features(distance_km=[one for one, _ in pairs], rating=[two for _, two in pairs], **_wide(len(pairs)))
    alone = [features(distance_km=one, rating=two)[0] for one, two in pairs]
    np.testing.assert_array_equal(together, np.array(alone))


def _wide(count: int) -> dict[str, Any]:
    return {name: np.full(count, value) for name, value in ORDINARY.items() if name not in {"distance_km", "rating"}}


@pytest.mark.parametrize(
    ("start", "end", "kilometres"),
    [
        ((-23.5505, -46.6333), (-22.9068, -43.1729), 360.7),
        ((-23.5505, -46.6333), (-23.5505, -46.6333), 0.0),
        ((0.0, 179.5), (0.0, -179.5), 111.2),
        ((90.0, 0.0), (-90.0, 0.0), 20015.1),
    ],
)
def test_distances_are_along_the_globe(start: tuple[float, float], end: tuple[float, float], kilometres: float) -> None:
    """São Paulo to Rio, standing still, across the date line, from pole to pole."""
    assert float(distance_km(*start, *end)) == pytest.approx(kilometres, rel=2e-3, abs=1e-6)
    assert float(distance_km(*end, *start)) == pytest.approx(kilometres, rel=2e-3, abs=1e-6)


def test_an_unknown_place_is_at_no_distance() -> None:
    """NaN in, NaN out, without touching the others."""
    found = distance_km([math.nan, -23.0], [-46.0, -46.0], -23.0, -46.0)
    assert math.isnan(found[0])
    assert found[1] == 0
