"""Chance that follows from ids."""

from __future__ import annotations

import numpy as np

from litgo_pipelines.casework.draws import as_numbers, gumbel, uniform


def _ids(count: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.random.default_rng(4).integers(0, 2**64, count, dtype=np.uint64)


def test_draws_are_uniform_and_always_the_same() -> None:
    """A number in [0, 1) for each id and stream; no two streams or neighbouring ids resemble each other."""
    ids = _ids(20_000)
    first, second = uniform(ids, 0), uniform(ids, 1)
    assert np.array_equal(first, uniform(ids, 0))
    assert first.min() >= 0
    assert first.max() < 1
    assert np.histogram(first, bins=10, range=(0, 1))[0].min() > 1800
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    neighbours = uniform(np.arange(20_000, dtype=np.uint64), 0)
    assert abs(np.corrcoef(neighbours[1:], neighbours[:-1])[0, 1]) < 0.03


def test_ids_become_distinct_numbers() -> None:
    """Sixteen bytes fold into eight without collisions among many."""
    ids = np.frombuffer(np.random.default_rng(0).bytes(16 * 50_000), dtype="V16")
    assert len(np.unique(as_numbers(ids))) == 50_000


def test_the_greatest_of_log_weight_and_noise_is_a_draw_by_weight() -> None:
    """Of three with weights 1, 2 and 5 each wins as often as its weight says."""
    ids = _ids(30_000).reshape(-1, 3)
    noise = np.column_stack([gumbel(np.ascontiguousarray(ids[:, at]), 3) for at in range(3)])
    winners = np.argmax(np.log([1.0, 2.0, 5.0]) + noise, axis=1)
    np.testing.assert_allclose(np.bincount(winners) / len(winners), [0.125, 0.25, 0.625], atol=0.025)
