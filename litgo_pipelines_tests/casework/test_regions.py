"""Demand and supply by area and region, on PostgreSQL."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from litgo_pipelines.casework.equity_run import run_equity
from litgo_pipelines.casework.regions import UNKNOWN, Meeting, misfits, read_meetings
from litgo_pipelines_tests.casework.conftest import NOON, Town

DAY = timedelta(days=1)


def _client(town: Town, state: str | None) -> UUID:
    return town.add("clients", state=state, created_at=NOON)


def _meetings(town: Town) -> dict[tuple[str, str], Meeting]:
    run_equity(town.engine, NOON, new_lawyer_offers=10)
    with town.engine.connect() as connection:
        found = read_meetings(connection, NOON)
    assert found == sorted(found, key=lambda one: (one.area, one.region))
    return {(one.area, one.region): one for one in found}


def test_demand_is_the_clients_and_supply_the_lawyers(town: Town) -> None:
    """Cases by the client's state, times the share of all cases that became contracts; capacity by the lawyer's."""
    paulista, carioca = _client(town, "SP"), _client(town, "RJ")
    lawyer = town.lawyer(state="SP", max_concurrent_cases=4)
    for client in (paulista, paulista, paulista, carioca):
        case = town.case(client_id=client)
    town.contract(lawyer, case=case)
    found = _meetings(town)
    assert found == {("civil", "RJ"): Meeting("civil", "RJ", 1, 0.25, 0.0), ("civil", "SP"): Meeting("civil", "SP", 3, 0.75, 4.0)}
    assert (found["civil", "RJ"].ratio, found["civil", "RJ"].misfit) == (None, "no lawyers")
    assert (found["civil", "SP"].ratio, found["civil", "SP"].misfit) == (0.1875, None)


def test_only_cases_of_the_thirty_days_and_contracts_up_to_then_count(town: Town) -> None:
    """A cancelled contract is none, and neither is a later one."""
    client = _client(town, "SP")
    lawyer = town.lawyer(state="SP")
    town.case(client_id=client, created_at=NOON - 30 * DAY)
    town.case(client_id=client, created_at=NOON + DAY)
    cases = [town.case(client_id=client, created_at=NOON - DAY) for _ in range(4)]
    town.contract(lawyer, case=cases[0], at=NOON - DAY)
    town.contract(lawyer, case=cases[1], status="canceled")
    town.contract(lawyer, case=cases[2], at=NOON + DAY)
    assert _meetings(town)["civil", "SP"] == Meeting("civil", "SP", 4, 1.0, 10.0)


def test_capacity_is_shared_over_the_areas_that_are_asked_for(town: Town) -> None:
    """Equally, the primary one among them, however often it is named; what nobody asks for takes nothing away."""
    town.lawyer(state="SP", specialties=["penal", "civil", "ambiental"])
    town.lawyer(state="SP", primary_area="penal")
    town.lawyer(state="SP", status="inactive")
    for area in ("civil", "penal"):
        town.case(area=area)
    found = _meetings(town)
    assert {place: one.capacity for place, one in found.items() if one.capacity} == {("civil", "SP"): 5.0, ("penal", "SP"): 15.0}


def test_lawyers_of_areas_that_nobody_asks_for_are_without_demand(town: Town) -> None:
    """Their capacity is shared over all they practise, so that they are seen."""
    town.lawyer(state="SP", primary_area="ambiental", specialties=["marítimo"])
    town.case()
    found = _meetings(town)
    assert {(one.area, one.capacity, one.misfit) for one in found.values() if one.region == "SP"} == {
        ("ambiental", 5.0, "no cases"),
        ("marítimo", 5.0, "no cases"),
    }


def test_an_unknown_state_is_a_region_of_its_own(town: Town) -> None:
    """Clients and lawyers without one are not lost."""
    town.case(client_id=_client(town, None))
    town.lawyer()
    assert _meetings(town)["civil", UNKNOWN] == Meeting("civil", UNKNOWN, 1, 0.0, 10.0)


def test_before_the_first_contract_demand_is_seen_all_the_same(town: Town) -> None:
    """None is expected yet, but somebody asks: this is not supply without demand."""
    town.case(client_id=_client(town, "SP"))
    town.lawyer(state="SP")
    assert _meetings(town)["civil", "SP"].misfit is None


def test_an_empty_marketplace_has_no_meetings(town: Town) -> None:
    """And no misfits."""
    assert _meetings(town) == {}
    assert misfits([]) == []


def _meeting(region: str, cases: int, contracts: float, capacity: float) -> Meeting:
    return Meeting("civil", region, cases, contracts, capacity)


def test_the_worst_misfits_come_first() -> None:
    """Clients without lawyers, then too few lawyers by how few, then lawyers without clients by how many; what fits is left out."""
    found = [
        _meeting("fits", 9, 5.0, 5.0),
        _meeting("idle", 0, 0.0, 4.0),
        _meeting("idler", 0, 0.0, 40.0),
        _meeting("tight", 90, 60.0, 50.0),
        _meeting("tightest", 3, 2.0, 1.0),
        _meeting("alone", 2, 1.0, 0.0),
        _meeting("forsaken", 20, 10.0, 0.0),
    ]
    order: list[Any] = [(one.region, one.misfit) for one in misfits(found)]
    assert order == [
        ("forsaken", "no lawyers"),
        ("alone", "no lawyers"),
        ("tightest", "too few lawyers"),
        ("tight", "too few lawyers"),
        ("idler", "no cases"),
        ("idle", "no cases"),
    ]


@pytest.mark.parametrize("reverse", [False, True])
def test_equal_misfits_have_one_order(reverse: bool) -> None:
    """By area and region, so that a table does not jump from night to night."""
    found = [_meeting(name, 0, 0.0, 5.0) for name in ("BA", "RJ", "SP")]
    assert [one.region for one in misfits(found[::-1] if reverse else found)] == ["BA", "RJ", "SP"]
