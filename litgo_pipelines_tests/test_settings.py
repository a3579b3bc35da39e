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
        ("AB_TESTING_ENABLED", "perhaps"),
        ("DEFAULT_TRAFFIC_PERCENTAGE", "0"),
        ("DEFAULT_TRAFFIC_PERCENTAGE", "51"),
        ("LITGO_RAMP", "[5, 1]"),
        ("LITGO_RAMP", "[1, 1]"),
        ("LITGO_RAMP", "[0, 5]"),
        ("LITGO_RAMP", "[1, 51]"),
        ("LITGO_RAMP", '[1, "five"]'),
        ("LITGO_RAMP", "10"),
        ("LITGO_RAMP", "[1, 5"),
        ("LITGO_RAMP_HOURS", "-1"),
        ("LITGO_EXPERIMENT_MODE", "abc"),
        ("LITGO_EXPERIMENT_MAX_DAYS", "0"),
        ("LITGO_EXPERIMENT_AT_THE_END", "promote"),
        ("LITGO_READOUT_MINUTES", "0"),
        ("LITGO_PROMOTION", "always"),
        ("QUALITY_THRESHOLD", "1"),
        ("DEGRADATION_WINDOW", "0"),
        ("LITGO_REFERENCE_DECISIONS", "99"),
        ("LITGO_PROVEN_HOURS", "-1"),
        ("LITGO_COOLDOWN_HOURS", "-1"),
        ("LITGO_INTEREST_DAYS", "0.9"),
        *(
            (f"{vendor}_{what}", value)
            for vendor in ("OPENAI", "DOCUSIGN", "ONESIGNAL", "SENDGRID")
            for what in ("TIMEOUT", "DEADLINE")
            for value in ("-1", "0", "soon")
        ),
        ("OPENAI_TIMEOUT", "inf"),
        ("FALLBACK_ENABLED", "maybe"),
        ("LITGO_BREAKER_FAILURES", "0"),
        ("LITGO_BREAKER_SECONDS", "-60"),
        ("LITGO_OPS_EMAILS", "foo, bar"),
        ("LITGO_OPS_EMAILS", "ops@example.com; ana@example.com"),
        ("LITGO_OPS_EMAILS", "ops@example.com, Ana Silva <ana@example.com>"),
        ("LITGO_OPS_EMAILS", "ops@example.com, @example.com"),
        ("SENDGRID_FROM", "x"),
        ("SENDGRID_FROM", "litgo@"),
        ("SENDGRID_FROM", "lit go@example.com"),
        ("SENDGRID_FROM", "litgo@@example.com"),
        ("SENDGRID_FROM", "litgo@example.com\n"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """Numbers out of bounds, words, broken JSON."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as told:
        load_settings()
    assert variable.lower() in str(told.value).lower()
    assert "\n" not in str(told.value)


def test_addresses_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several, or nobody."""
    monkeypatch.setenv("SENDGRID_FROM", "avisos+litgo@exemplo.adv.br")
    monkeypatch.setenv("LITGO_OPS_EMAILS", " ops@example.com,joão@exemplo.com ,")
    found = load_settings()
    assert (found.sendgrid_from, found.litgo_ops_emails) == ("avisos+litgo@exemplo.adv.br", ["ops@example.com", "joão@exemplo.com"])
    monkeypatch.setenv("LITGO_OPS_EMAILS", "")
    assert load_settings().litgo_ops_emails == []


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an orchestrator passes variables that nobody filled in."""
    monkeypatch.setenv("MIN_REVIEWS_FOR_RETRAIN", "")
    assert load_settings().min_reviews_for_retrain == 200


@pytest.mark.parametrize(
    ("percentage", "ramp"),
    [
        ("10", (0.01, 0.05, 0.1)),
        ("50", (0.01, 0.05, 0.5)),
        ("5.5", (0.01, 0.05, 0.055)),
        ("5", (0.01, 0.05)),
        ("3", (0.01, 0.03)),
        ("1", (0.01,)),
        ("0.5", (0.005,)),
    ],
)
def test_the_ramp_ends_with_the_default_percentage(monkeypatch: pytest.MonkeyPatch, percentage: str, ramp: tuple[float, ...]) -> None:
    """By way of 1 and 5 percent as far as they lie below it, so that it always ascends."""
    monkeypatch.setenv("DEFAULT_TRAFFIC_PERCENTAGE", percentage)
    assert load_settings().ramp == pytest.approx(ramp)


def test_a_ramp_of_ones_own_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says more than the default percentage; an empty one says nothing."""
    monkeypatch.setenv("LITGO_RAMP", "[1, 5, 10, 25, 50]")
    assert load_settings().ramp == pytest.approx((0.01, 0.05, 0.1, 0.25, 0.5))
    monkeypatch.setenv("LITGO_RAMP", "[]")
    assert load_settings().ramp == pytest.approx((0.01, 0.05, 0.1))
