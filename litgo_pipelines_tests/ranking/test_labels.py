"""Labels of outcomes."""

from __future__ import annotations

import numpy as np
import pytest

from litgo_pipelines.marketplace.match_log import OUTCOMES
from litgo_pipelines.ranking.labels import accepted, good, relevance

CODES = np.arange(len(OUTCOMES), dtype=np.int8)


def test_labels_follow_the_setting() -> None:
    """Each outcome gets the label that the mapping names, in whatever order the mapping lists them."""
    found = relevance(np.array([3, 0, 1, 2, 3]), {"won": 30, "accepted": 5, "lost": 1, "declined": 0})
    assert found.tolist() == [30, 1, 0, 5, 30]
    assert found.dtype == np.int32


def test_a_mapping_that_lacks_an_outcome_is_refused() -> None:
    """A missing label is an error, not a zero."""
    with pytest.raises(KeyError):
        relevance(CODES, {"won": 3, "accepted": 2, "lost": 0})


def test_losing_a_case_was_still_an_acceptance() -> None:
    """Accepted are accepted, won and lost; good are accepted and won."""
    assert dict(zip(OUTCOMES, accepted(CODES).tolist(), strict=True)) == {"lost": True, "declined": False, "accepted": True, "won": True}
    assert dict(zip(OUTCOMES, good(CODES).tolist(), strict=True)) == {"lost": False, "declined": False, "accepted": True, "won": True}
