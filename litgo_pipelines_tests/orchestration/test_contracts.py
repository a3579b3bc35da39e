"""Signatures in Dagster: when a run is started, what it does, and what it shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.orchestration.jobs import PROCESS_CONTRACTS
from litgo_pipelines.orchestration.sensors.contracts import EVERY, Observed, plan
from litgo_pipelines.orchestration.sensors.due import Asked
from litgo_pipelines.simulation.vendors.server import Reply, Reset
from litgo_pipelines_tests.casework.signing import Desk, rsa_key, signing_desk  # noqa: F401 (fixtures)
from litgo_pipelines_tests.orchestration.conftest import Ticks

if TYPE_CHECKING:
    from litgo_pipelines_tests.orchestration.conftest import Location

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
SINCE = NOW - timedelta(minutes=3)


def asked(seconds: float, since: datetime = SINCE, repeats: int = 0) -> Asked:
    """A cursor after a run that was asked for some seconds ago."""
    at = NOW - timedelta(seconds=seconds)
    return Asked(about=since.isoformat(), reason="contracts are due", seen=1, at=at, count=3, repeats=repeats)


TABLE: dict[str, tuple[Asked, Observed, bool]] = {
    "nothing": (Asked(), Observed(), False),
    "nothing, a while after a run": (asked(600), Observed(), False),
    "the first one": (Asked(), Observed(1, SINCE), True),
    "another one, a minute later": (asked(60, NOW - timedelta(hours=1)), Observed(1, SINCE), True),
    "another one, right after": (asked(59, NOW - timedelta(hours=1)), Observed(1, SINCE), False),
    "the run left it due": (asked(60), Observed(1, SINCE), True),
    "runs left it due three times": (asked(239, repeats=2), Observed(9, SINCE), False),
    "runs have left it due for days": (asked(600, repeats=99), Observed(9, SINCE), True),
}


@pytest.mark.parametrize("what", TABLE)
def test_a_run_is_started_for_what_is_due(what: str) -> None:
    """Soon for what no run was asked for; a run that fails is not repeated each tick."""
    cursor, observed, start = TABLE[what]
    found = plan(cursor, observed, NOW)
    assert found.start == start, found.reason
    assert found.reason
    assert found.cursor.count == cursor.count + start


@given(st.lists(st.tuples(st.integers(1, 3600), st.integers(0, 3600)), max_size=40))
def test_runs_keep_their_distance(moments: list[tuple[int, int]]) -> None:
    """Whatever falls due and whenever one looks: never two runs within a minute."""
    cursor, now, started = Asked(), NOW, []
    for seconds, ago in moments:
        now += timedelta(seconds=seconds)
        found = plan(cursor, Observed(1, now - timedelta(seconds=ago)), now)
        cursor = found.cursor
        started += [now] if found.start else []
    assert all(later - earlier >= EVERY for earlier, later in pairwise(started))


@pytest.fixture
def place(location: Location, desk: Desk, database_url: str) -> Location:
    """A code location whose marketplace is the desk's, of today."""
    location.database = database_url
    desk.now = datetime.now(UTC) - timedelta(seconds=5)
    return location


def account(desk: Desk) -> dict[str, Any]:
    """The desk's account as overrides of a code location."""
    names = [name for name in type(desk.settings).model_fields if name.startswith("docusign_")]
    found = {name: getattr(desk.settings, name) for name in names}
    return found | {"docusign_private_key": found["docusign_private_key"].get_secret_value()}


def test_a_run_only_when_something_is_due(place: Location, desk: Desk) -> None:
    """Nothing without contracts; one for a request; none while its envelope is out, until it is to be looked at."""
    ticks = Ticks(place, "contracts_due", **account(desk))
    assert (ticks.tick(), ticks.told) == (None, "no contract is due")
    contract = desk.requested()
    request = ticks.tick()
    assert request is not None
    assert request.tags["litgo/reason"] == "1 contracts are due"
    assert ticks.tick() is None
    assert place.execute(PROCESS_CONTRACTS, **account(desk)).success
    ticks.pass_by(hours=2)
    assert (ticks.tick(), ticks.told) == (None, "no contract is due")
    desk.town.execute("UPDATE litgo.contracts SET due_at = :at WHERE id = :id", at=desk.now, id=contract)
    assert ticks.tick() is not None


def test_a_run_shows_what_became_of_the_contracts(place: Location, desk: Desk) -> None:
    """By outcome and method, with the reasons; what waits for people is counted."""
    desk.requested()
    desk.requested(email=False)
    done = place.execute(PROCESS_CONTRACTS, **account(desk))
    assert done.success
    (event,) = done.asset_materializations_for_node("contract_signatures")
    shown = {name: value.value for name, value in event.metadata.items()}
    assert (shown["became_sent"], shown["became_manual"], shown["contracts"]) == (1, 1, 2)
    assert shown["waiting_for_manual_signatures"] == 1
    assert "the client's e-mail address" in shown["troubles"]
    assert {(one.data["method"], one.data["contracts"]) for one in shown["waiting"].records} == {("docusign", 1), ("manual", 1)}
    (check,) = done.get_asset_check_evaluations()
    assert check.passed


def test_without_an_account_a_run_hands_all_to_people(place: Location, desk: Desk) -> None:
    """That is how the project works out of the box."""
    contract = desk.requested()
    assert place.execute(PROCESS_CONTRACTS).success
    assert desk.state(contract) == ("pending-signature", "manual")


def test_settings_that_name_no_account_fail_no_run(place: Location, desk: Desk) -> None:
    """A key that is nowhere: all is signed by hand, and the run says why."""
    contract = desk.requested()
    done = place.execute(PROCESS_CONTRACTS, **account(desk) | {"docusign_private_key": "/nonexistent"})
    assert done.success
    assert desk.state(contract) == ("pending-signature", "manual")
    assert "DOCUSIGN_PRIVATE_KEY is neither" in (desk.contract(contract).trouble or "")
    (event,) = done.asset_materializations_for_node("contract_signatures")
    assert event.metadata["docusign_cannot_be_used"].value == desk.contract(contract).trouble


def test_an_envelope_that_is_lost_is_warned_of(place: Location, desk: Desk) -> None:
    """Three looks within an hour, none of which found it."""
    contract = desk.requested()
    desk.process()
    desk.stand_in.envelopes.clear()
    began = desk.now
    for minutes in (-90, -50, 0):
        desk.now = began + timedelta(minutes=minutes)
        desk.town.execute("UPDATE litgo.contracts SET due_at = :at WHERE id = :id", at=desk.now, id=contract)
        if minutes:
            desk.process()
    done = place.execute(PROCESS_CONTRACTS, **account(desk))
    (check,) = done.get_asset_check_evaluations()
    assert not check.passed
    assert check.description == "DocuSign has lost the envelope of 1: litgo contract list --unsigned"


def test_a_contract_without_a_place_to_sign_is_warned_of(place: Location, desk: Desk) -> None:
    """After an hour in which nobody could tell where it is; the run itself succeeds."""
    desk.now -= timedelta(hours=2)
    desk.requested()
    desk.stand_in.lose["send"] = [Reset()]
    desk.stand_in.refuse["read"] = Reply(400)
    done = place.execute(PROCESS_CONTRACTS, **account(desk))
    assert done.success
    (check,) = done.get_asset_check_evaluations()
    assert not check.passed
    assert "litgo contract list --status requested" in (check.description or "")
