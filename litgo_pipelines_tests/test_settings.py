"""What cannot be used is said in one line that names the variable."""

from __future__ import annotations

import pytest

from litgo_pipelines.settings import SettingsError, load_settings


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MIN_REVIEWS_FOR_RETRAIN", "abc"),
        ("LITGO_EQUITY_PRICE", "inf"),
        ("LITGO_NEW_LAWYER_BONUS", "nan"),
        ("LITGO_EXPLORATION", "2"),
        ("LITGO_HELD_OUT_SHARE", "0.8"),
        ("LITGO_LABELS", "{broken"),
        ("LITGO_LABELS", '{"x": 1}'),
        ("LITGO_SERVE_PORT", "0"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """Numbers out of bounds, words, broken JSON."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as told:
        load_settings()
    assert variable.lower() in str(told.value).lower()
    assert "\n" not in str(told.value)


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an orchestrator passes variables that nobody filled in."""
    monkeypatch.setenv("MIN_REVIEWS_FOR_RETRAIN", "")
    assert load_settings().min_reviews_for_retrain == 200
