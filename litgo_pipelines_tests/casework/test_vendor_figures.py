"""What the collector shows of vendors."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine

from litgo_pipelines.casework.vendor_figures import VendorFigures
from litgo_pipelines.integrations.attempts import Attempt, Outcome
from litgo_pipelines.integrations.policies import CREDENTIALS, configured
from litgo_pipelines.marketplace import event_log
from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger
from litgo_pipelines.observability.metrics import SERVICES
from litgo_pipelines.settings import load_settings
from litgo_pipelines_tests.casework.conftest import NOON, Town
from litgo_pipelines_tests.observability.shown import shown

BARE = load_settings(litgo_breaker_failures=3, litgo_breaker_seconds=60)
FULL = BARE.model_copy(update={name: "given" for names in CREDENTIALS.values() for name in names})
MINUTE = timedelta(minutes=1)


def _shown(engine: Engine, at: datetime = NOON, settings: object = FULL) -> dict[str, float]:
    return shown(VendorFigures(engine, settings, lambda: at).read())  # type: ignore[arg-type]


def _work(town: Town, service: str, mode: str, at: datetime) -> None:
    """A piece of work, counted as the triggers and the reader of events count it."""
    town.execute(
        "INSERT INTO litgo.events (metric, labels, at)"
        " VALUES ('service_operations_total', jsonb_build_object('service', CAST(:service AS text), 'mode', CAST(:mode AS text)), :at)",
        **{"service": service, "mode": mode, "at": at},
    )
    event_log.advance(town.engine, {})


def test_of_a_new_marketplace_nothing_is_known_but_what_is_configured(engine: Engine) -> None:
    """No work was done, so nobody can say how."""
    found = _shown(engine, settings=BARE.model_copy(update={"sendgrid_api_key": "given", "onesignal_app_id": "half"}))
    expected = {f"vendor_configured{{{service}}}": float(service == "sendgrid") for service in SERVICES}
    assert found == expected | {f"breaker_open{{{service}}}": 0.0 for service in SERVICES}


def test_a_vendor_needs_all_its_settings() -> None:
    """Half of them is none."""
    assert configured(FULL) == set(SERVICES)
    for service, names in CREDENTIALS.items():
        for name in names:
            assert configured(FULL.model_copy(update={name: None})) == set(SERVICES) - {service}


@pytest.mark.parametrize(
    ("outcomes", "after", "expected"),
    [
        ("timeout timeout", 0.0, 0),
        ("timeout connect http_5xx", 0.0, 1),
        ("timeout connect http_5xx", 61.0, 1),
        ("timeout connect http_5xx", 90_000.0, 0),
        ("timeout connect http_5xx ok", 0.0, 0),
        ("timeout connect http_5xx breaker_open", 0.0, 1),
    ],
)
def test_the_breaker_is_open_from_failures_in_a_row_until_a_success(engine: Engine, outcomes: str, after: float, expected: int) -> None:
    """By the breaker's own rule: also while it lets one request at a time try; and failures of the day before count no more."""
    ledger = PostgresCallLedger(engine)
    outcome: Outcome
    for number, outcome in enumerate(outcomes.split()):  # type: ignore[assignment]
        ledger.record(Attempt("docusign", "send", outcome, 0 if outcome == "breaker_open" else 1, NOON + number * MINUTE / 60, 1.0))
    found = _shown(engine, NOON + timedelta(seconds=len(outcomes.split()) + after))
    assert found["breaker_open{docusign}"] == expected
    assert found["breaker_open{onesignal}"] == 0


def test_the_newest_work_of_the_hour_tells_whether_something_stands_in(town: Town) -> None:
    """Of each vendor its own, whatever was done more often."""
    _work(town, "openai", "fallback", NOON - 30 * MINUTE)
    _work(town, "openai", "primary", NOON - 20 * MINUTE)
    for minutes in (50, 40, 30):
        _work(town, "docusign", "primary", NOON - minutes * MINUTE)
    _work(town, "docusign", "fallback", NOON - 10 * MINUTE)
    _work(town, "onesignal", "fallback", NOON - 61 * MINUTE)
    found = _shown(town.engine)
    assert found["fallback_active{openai}"] == 0
    assert found["fallback_active{docusign}"] == 1
    assert "fallback_active{onesignal}" not in found
    assert "fallback_active{docusign}" not in _shown(town.engine, NOON + 51 * MINUTE)


def test_who_wants_no_vendor_is_not_in_fallback(town: Town) -> None:
    """Contracts signed by hand because nobody configured DocuSign are no trouble."""
    _work(town, "docusign", "fallback", NOON)
    assert not any(series.startswith("fallback_active") for series in _shown(town.engine, settings=BARE))
