"""`litgo fairness price` as a process: what it tells, what it writes, what it refuses."""

from __future__ import annotations

import getpass
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from litgo_pipelines.casework.prices import freeze, frozen, price_history, set_price
from litgo_pipelines.cli import main
from litgo_pipelines.cli.common import name_of
from litgo_pipelines.cli.simulate import simulate_until
from litgo_pipelines.marketplace.database import Services
from litgo_pipelines.settings import LitgoError, load_settings
from litgo_pipelines.simulation.engine import Plan
from litgo_pipelines_tests.cli.conftest import Litgo, refused, said

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.fixture
def price(litgo: Litgo, services: dict[str, str]) -> Litgo:
    """Call `litgo fairness price` on the test's database."""
    return lambda *arguments, **environment: litgo("fairness", "price", *arguments, **(services | environment))


def put(engine: Engine, value: float, **changes: Any) -> None:
    given: dict[str, Any] = {"actor": "ana", "reason": "because", "evidence": None, "run_id": None, "at": NOON, "default": 0.5}
    with engine.begin() as connection:
        set_price(connection, value, **(given | changes))


def test_a_price_that_is_set_is_in_force_under_the_users_name(price: Litgo, engine: Engine) -> None:
    """Set, it tells what it was before; shown, it tells since when and by whom."""
    told = said(price("set", "0.6", "--reason", "Gini above target", LITGO_EQUITY_PRICE="0.4"))
    assert "The price of load is 0.6" in told
    assert "Before it was 0.4" in told
    with engine.connect() as connection:
        (change,) = price_history(connection, 5)
    assert (change.price, change.previous, change.reason, change.actor) == (0.6, 0.4, "Gini above target", getpass.getuser())
    assert abs(datetime.now(UTC) - change.decided_at) < timedelta(minutes=2)
    shown = json.loads(said(price("show", "--json")))
    expected = {"id": change.id, "price": 0.6, "since": change.decided_at.astimezone(UTC).isoformat(), "actor": getpass.getuser()}
    assert shown == expected | {"frozen": None}


def test_a_freeze_is_shown_outlives_a_price_set_by_hand_and_is_lifted(price: Litgo, engine: Engine) -> None:
    """Who, why and since when; setting says that the refit stays away."""
    assert "frozen by rui" in said(price("freeze", "--reason", "experiment", "--by", "rui"))
    told = said(price("set", "0.7", "--reason", "by hand", "--by", "ana"))
    assert "set by ana" in told
    assert "may not move it: frozen by rui" in told
    assert "experiment" in said(price("show"))
    assert "frozen by rui" in said(price("unfreeze", "--reason", "over"))
    with engine.connect() as connection:
        assert frozen(connection) is None
    assert "was not frozen" in said(price("unfreeze", "--reason", "over"))


def test_for_machines_a_freeze_is_part_of_what_is_shown(price: Litgo, engine: Engine) -> None:
    """Without a recorded price its number, date and name are null; times are UTC."""
    with engine.begin() as connection:
        freeze(connection, "rui", "experiment", NOON)
    shown = json.loads(said(price("show", "--json", LITGO_EQUITY_PRICE="0.45")))
    held = {"actor": "rui", "reason": "experiment", "changed_at": "2026-03-10T12:00:00+00:00"}
    assert shown == {"id": None, "price": 0.45, "since": None, "actor": None, "frozen": held}


def test_history_lists_the_newest_first(price: Litgo, engine: Engine) -> None:
    """As many as asked for; for machines with evidence and run; what people wrote is no markup."""
    assert "LITGO_EQUITY_PRICE" in said(price("history"))
    put(engine, 0.6, reason="[bold]very[/bold] uneven")
    put(engine, 0.66, actor="equity_price", evidence={"target": 0.27}, run_id="r1", at=NOON + timedelta(days=7))
    told = said(price("history", COLUMNS="140"))
    assert [line.split()[0] for line in told.splitlines()] == ["number", "2", "1"]
    assert "[bold]very[/bold] uneven" in told
    (newest,) = json.loads(said(price("history", "--limit", "1", "--json")))["prices"]
    assert newest == {
        "id": 2,
        "price": 0.66,
        "previous": 0.6,
        "actor": "equity_price",
        "reason": "because",
        "evidence": {"target": 0.27},
        "dagster_run_id": "r1",
        "decided_at": "2026-03-17T12:00:00+00:00",
    }


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("set", "nan", "--reason", "x"), "from 0 to 10"),
        (("set", "--reason", "x", "--", "-1"), "from 0 to 10"),
        (("set", "0.5", "--reason", " "), "say why"),
        (("freeze", "--reason", "x", "--by", ""), "say who"),
    ],
)
def test_what_cannot_be_meant_is_one_line(price: Litgo, engine: Engine, arguments: tuple[str, ...], reason: str) -> None:
    """It says what to give instead; nothing is written."""
    assert reason in refused(price(*arguments))
    with engine.connect() as connection:
        assert price_history(connection, 1) == []
        assert frozen(connection) is None


def test_a_database_without_its_schema_is_refused(price: Litgo, empty_database_url: str) -> None:
    """With the command that mends it."""
    assert "litgo db upgrade" in refused(price("show", DATABASE_URL=empty_database_url))


def test_a_user_without_a_name_is_asked_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose user id nobody named."""

    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", nameless)
    with pytest.raises(LitgoError, match="--by"):
        name_of(None)
    assert name_of("ana") == "ana"


@pytest.mark.parametrize("verb", ["show", "set", "freeze", "unfreeze", "history"])
def test_every_verb_teaches_by_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A verb's help holds a line that can be copied."""
    with pytest.raises(SystemExit) as stopped:
        main(["fairness", "price", verb, "--help"])
    assert stopped.value.code == 0
    assert f"litgo fairness price {verb}" in capsys.readouterr().out.partition("Example:")[2]


def test_a_simulated_marketplace_lives_under_the_price_in_force(database_url: str, mlflow_uri: str, engine: Engine, tmp_path: Path) -> None:
    """Its requests tell price and row, as those of a real one do; the settings' price counts no more."""
    put(engine, 0.875)
    given = Services(database_url, "unused", mlflow_uri, None)
    settings = load_settings(litgo_home=tmp_path, litgo_equity_price=0.25)
    simulate_until(settings, given, Plan(20, 4, 5), NOON, lambda _: None)
    with engine.connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT DISTINCT r.equity_price, r.price_id FROM litgo.match_requests r, litgo.marketplace_origin o "
            "WHERE r.started_at >= o.rule_since + interval '1 day'"
        ).all()
    assert [tuple(row) for row in found] == [(0.875, 1)]
