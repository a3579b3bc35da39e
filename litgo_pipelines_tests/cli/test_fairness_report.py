"""`litgo fairness report`: the distribution of a month, in the terminal and for machines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from litgo_pipelines.casework.equity_run import run_equity
from litgo_pipelines.marketplace.database import open_engine
from litgo_pipelines_tests.casework.conftest import Town
from litgo_pipelines_tests.cli.conftest import Litgo

NIGHT = datetime(2026, 3, 10, 5, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def services(services: dict[str, str]) -> dict[str, str]:
    """The same, content with few lawyers and cases."""
    return services | {"LITGO_FAIRNESS_MIN_LAWYERS": "2", "LITGO_FAIRNESS_MIN_CASES": "3"}


@pytest.fixture
def town(database_url: str) -> Iterator[Town]:
    """A town whose facts a test writes."""
    engine = open_engine(database_url)
    yield Town(engine)
    engine.dispose()


def _live(town: Town) -> list[Any]:
    """Two nights a week apart: civil lawyers with three contracts, idle ones of family law, and a client far from all of them."""
    civil = town.lawyers(2, state="SP", name="Beatriz Araújo")
    idle = town.lawyers(2, state="SP", primary_area="família")
    run_equity(town.engine, NIGHT - 7 * DAY, new_lawyer_offers=10)
    paulista, far = (town.add("clients", state=state, created_at=NIGHT - DAY) for state in ("SP", "AC"))
    for client, area in ((paulista, "civil"), (far, "família")):
        case = town.case(client_id=client, area=area, created_at=NIGHT - DAY, status="contracted")
        town.offer(civil[0], NIGHT - DAY, status="interested", case=case)
    for lawyer in (civil[0], civil[0], civil[1]):
        town.contract(lawyer, NIGHT - DAY, case=town.case(client_id=paulista, created_at=NIGHT - DAY, status="contracted"))
    run_equity(town.engine, NIGHT, new_lawyer_offers=10)
    return idle


def test_the_report_tells_figures_verdicts_and_who_is_left_out(litgo: Litgo, services: dict[str, str], town: Town) -> None:
    """With limits and what changed in a week; lawyers by id, never by name."""
    idle = _live(town)
    done = litgo("fairness", "report", COLUMNS="120", **services)
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0] == "The 30 days up to 2026-03-10 02:00 (São Paulo)"
    assert lines[1] == "4 lawyers who practise an area with demand, 3 contracts, 2 offers"
    # Utilisations 0, 0, .1 and .2.
    assert "Gini of utilisation 0.583 0.300 fail -" in lines
    assert "lawyers with an offer 25.0 % 80.0 % insufficient data -" in lines
    assert "mean utilisation 7.5 % -" in lines
    assert "gap between primary areas 15.0 pts 20.0 pts pass -" in lines
    assert "gap newcomers - established - 20.0 pts insufficient data -" in lines
    assert "insufficient data: lawyers with an offer: 2 offers, at least 3 are needed" in lines
    assert "família 2 0.0 % -" in lines
    assert {f"{one} família SP 10 0 0 never" for one in idle} <= set(lines)
    assert "família, AC no lawyers 1 0.6 0.0 -" in lines
    assert "Beatriz" not in done.stdout


def test_as_json_it_is_complete_and_unrounded(litgo: Litgo, services: dict[str, str], town: Town) -> None:
    """One object on stdout; what is unknown is null; limits are the settings'."""
    _live(town)
    done = litgo("fairness", "report", "--json", **(services | {"LITGO_FAIRNESS_MAX_GAP": "0.1"}))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["as_of"] == NIGHT.isoformat()
    assert told["figures"]["gini_utilisation"] == pytest.approx(7 / 12)
    assert told["figures"]["gap_new"] is None
    # A week before nobody was eligible: there was no demand.
    assert (told["changes"]["lawyers"], told["changes"]["cases"], told["changes"]["mean_utilisation"]) == (4, 3, None)
    verdicts = {one["figure"]: (one["verdict"], one["limit"]) for one in told["verdicts"]}
    assert verdicts["gap_area"] == ("fail", 0.1)
    assert verdicts["gap_new"] == ("insufficient data", 0.1)
    assert told["smallest_area_gap"] == {"gap": 0.15, "overload": 1, "unplaced": 0}
    assert [one["name"] for one in told["areas"]] == ["civil", "família"]
    assert len(told["worst_off"]) == 4
    assert [(one["region"], one["misfit"]) for one in told["misfits"]] == [("AC", "no lawyers"), ("SP", "no cases")]


def test_an_earlier_moment_is_reported_as_of_its_own_snapshot(litgo: Litgo, services: dict[str, str], town: Town) -> None:
    """The newest up to then."""
    _live(town)
    done = litgo("fairness", "report", "--json", "--as-of", (NIGHT - DAY).isoformat(), **services)
    told = json.loads(done.stdout)
    assert told["as_of"] == (NIGHT - 7 * DAY).isoformat()
    assert told["figures"]["lawyers"] == 0
    assert litgo("fairness", "report", "--as-of", (NIGHT - DAY).isoformat(), **services).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [((), "run `litgo run calculate_equity_metrics`"), (("--as-of", "2999-01-01"), "lies in the future")],
)
def test_without_a_snapshot_one_line_says_what_to_run(
    arguments: tuple[str, ...], reason: str, litgo: Litgo, services: dict[str, str], town: Town
) -> None:
    """And nothing else is printed."""
    town.lawyer()
    done = litgo("fairness", "report", "--json", *arguments, **services)
    assert done.returncode == 2
    assert done.stdout == ""
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_verb_teaches_by_example(litgo: Litgo) -> None:
    """Its help holds a line that can be copied."""
    done = litgo("fairness", "report", "--help")
    assert done.returncode == 0
    assert "litgo fairness report --as-of" in done.stdout.partition("Example:")[2]
