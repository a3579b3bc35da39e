"""`litgo experiment start`, `status`, `stop` and `approve`: what they tell, what they write, what they refuse."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from litgo_pipelines.rollout import decisions, experiments, freezes, states
from litgo_pipelines.rollout.experiments import Experiment
from litgo_pipelines.rollout.outcomes import MarketGini
from litgo_pipelines.rollout.trials import read_experiment
from litgo_pipelines.settings import get_settings
from litgo_pipelines_tests.cli.conftest import Litgo, refused, said
from litgo_pipelines_tests.rollout.conftest import House, _shelf_file, house, shelf_uri  # noqa: F401 (fixtures)
from litgo_pipelines_tests.rollout.facts import Unit, no, write, yes
from litgo_pipelines_tests.serving.conftest import register

DAY = timedelta(days=1)


@pytest.fixture
def verb(database_url: str, shelf_uri: str, verbs: Callable[..., Litgo]) -> Litgo:  # noqa: F811 (a fixture)
    """Call `litgo experiment` on the test's marketplace and registry."""
    return verbs("experiment", DATABASE_URL=database_url, MLFLOW_TRACKING_URI=shelf_uri, COLUMNS="140", LITGO_RAMP="[50]")


@pytest.fixture
def market(house: House) -> House:  # noqa: F811 (a fixture)
    """A marketplace of today in which version 1 answers."""
    house.clock.at = datetime.now(UTC) - 3 * DAY
    house.promote("1", None)
    return house


def running(market: House) -> Experiment | None:
    with market.engine.connect() as connection:
        return experiments.running(connection)


def freeze(market: House) -> None:
    with market.engine.begin() as connection:
        freezes.freeze(connection, actor="rui", reason="audit", at=market.clock())


def traffic(market: House) -> None:
    """Two weeks of a hundred clients a day, of whom four in ten accept and three in ten sign."""
    now = datetime.now(UTC)
    units = [
        Unit(now - 9 * DAY - timedelta(minutes=n), offers=(yes() if n % 10 < 4 else no(),), signed=DAY if n % 10 < 3 else None)
        for n in range(1400)
    ]
    write(market.engine, units)


def test_a_person_starts_a_trial_and_is_told_what_to_expect(verb: Litgo, market: House) -> None:
    """Against the champion, on the ramp's share, in spite of a freeze and under the user's name; with lifts and days at today's traffic."""
    traffic(market)
    freeze(market)
    told = said(verb("start", "2", "--reason", "let us see"))
    assert "Running: version 2 against 1" in told
    assert "ramp 50% of the clients" in told
    assert "clients a day of late; a hundred of them have shown" in told
    (accepted,) = [line.split() for line in told.splitlines() if line.startswith("accepted")]
    assert (accepted[1], len(accepted), accepted[2][0]) == ("0.400", 6, "+")
    (contract,) = [line.split() for line in told.splitlines() if line.startswith("contract")]
    assert contract[1] == "0.300"
    found = running(market)
    assert found is not None
    assert (found.challenger, found.champion, found.mode, found.actor, found.reason) == ("2", "1", "ab", getpass.getuser(), "let us see")


def test_for_machines_a_start_is_json_alone(verb: Litgo, market: House) -> None:
    """The experiment, why it began, and what is expected, as far as anything is known."""
    found = json.loads(said(verb("start", "2", "--reason", "r", "--by", "ana", "--mode", "interleaving", "--json")))
    assert found["reasons"] == ["version 2 against 1"]
    assert (found["experiment"]["status"], found["experiment"]["mode"], found["experiment"]["actor"]) == ("running", "interleaving", "ana")
    assert found["experiment"]["started_at"].endswith("+00:00")
    assert found["expected"] == {"daily_clients": 0.0, "share": 0.5, "max_days": 28.0, "metrics": [], "days_to_minimum": None}


def test_while_nothing_is_known_nothing_is_promised(verb: Litgo, market: House) -> None:
    """No traffic, no figures: said in words."""
    told = said(verb("start", "2", "--reason", "r"))
    assert "0.0 clients a day of late; a hundred of them have shown what the candidate is like never." in told
    assert "Too little is known" in told


def test_while_one_runs_the_next_one_waits_in_line(verb: Litgo, market: House) -> None:
    """It says for which, and what waited before is replaced."""
    said(verb("start", "2", "--reason", "r"))
    first = running(market)
    assert first is not None
    assert f"experiment {first.id} runs: one at a time" in said(verb("start", "3", "--reason", "r"))
    with market.engine.connect() as connection:
        waits = experiments.waiting(connection)
    assert waits is not None
    assert waits.challenger == "3"


def test_what_cannot_be_tried_is_refused_before_anything_is_written(verb: Litgo, market: House, tmp_path: Path) -> None:
    """Unknown, champion already, spoilt, blocked, or without a reason; who waits keeps its place."""
    spoilt = register(market.registry, tmp_path / "spoilt", spoilt=True)
    with market.engine.begin() as connection:
        states.block(connection, "3", "stopped for harm", market.clock(), market.clock())
    said(verb("start", "2", "--reason", "r"))
    waits = register(market.registry, tmp_path / "waits")
    said(verb("start", waits, "--reason", "next"))
    before = market.everything()
    assert "on trial already" in refused(verb("start", "2", "--reason", "again"))
    assert "litgo model list" in refused(verb("start", "99", "--reason", "r"))
    assert "litgo model list" in refused(verb("start", "latest", "--reason", "r"))
    assert "champion already" in refused(verb("start", "1", "--reason", "r"))
    assert "blocked" in refused(verb("start", "3", "--reason", "r"))
    assert refused(verb("start", spoilt, "--reason", "r"))
    assert "a decision needs a reason" in refused(verb("start", waits, "--reason", " "))
    assert "somebody who takes it" in refused(verb("start", waits, "--reason", "r", "--by", ""))
    assert market.everything() == before


def test_a_stop_ends_the_one_that_runs_and_then_the_one_in_line(verb: Litgo, market: House) -> None:
    """Without blocking anybody; the reason is the conclusion, and a third stop has nothing to do."""
    said(verb("start", "2", "--reason", "r"))
    said(verb("start", "3", "--reason", "r"))
    assert "a decision needs a reason" in refused(verb("stop", "--reason", ""))
    assert "Stopped: version 2 against 1" in said(verb("stop", "--reason", "wrong labels", "--by", "ana"))
    assert "Taken out of the line: version 3 against 1" in said(verb("stop", "--reason", "too"))
    assert "nothing to stop" in refused(verb("stop", "--reason", "x"))
    rows = market.rows("SELECT challenger, verdict, conclusion FROM litgo.experiments ORDER BY challenger")
    assert [tuple(row) for row in rows] == [("2", "stopped", "wrong labels"), ("3", "stopped", "too")]
    assert {"2", "3"}.isdisjoint(market.states())


def test_the_one_in_line_is_taken_out_while_another_goes_on(verb: Litgo, market: House) -> None:
    """With `--waiting` alone; where none waits it says so and stops nothing. Machines are told the experiment as it ended."""
    said(verb("start", "2", "--reason", "r"))
    assert "litgo experiment status" in refused(verb("stop", "--waiting", "--reason", "x"))
    said(verb("start", "3", "--reason", "r"))
    found = json.loads(said(verb("stop", "--waiting", "--reason", "wrong labels", "--by", "ana", "--json")))
    assert (found["challenger"], found["status"], found["verdict"], found["conclusion"]) == ("3", "ended", "stopped", "wrong labels")
    left = running(market)
    assert left is not None
    assert left.challenger == "2"
    said(verb("start", "3", "--reason", "r"))
    assert "Taken out of the line: version 3" in said(verb("stop", "--waiting", "--reason", "x"))


@pytest.mark.parametrize(
    ("results", "told"), [(["fail"], "fail"), (["pass", "insufficient data"], "insufficient data"), (["fail", "pass"], None)]
)
def test_what_the_gate_did_not_pass_is_started_and_that_is_said(verb: Litgo, market: House, results: list[str], told: str | None) -> None:
    """Its newest word counts, with its reasons and on stderr, so that JSON stays JSON; what it said of other versions does not."""
    with market.engine.begin() as connection:
        for result, version in [*((one, "2") for one in results), ("fail", "3")]:
            decisions.record(
                connection, "gate", actor="gate", reason=f"NDCG@5 .81 ({result})", at=market.clock(), result=result, to_version=version
            )
    done = verb("start", "2", "--reason", "all the same", "--json")
    assert (done.returncode, json.loads(done.stdout)["experiment"]["status"]) == (0, "running")
    if told is None:
        assert done.stderr == ""
    else:
        assert done.stderr.startswith(f"The gate said {told} of version 2 (decision ")
        assert done.stderr.endswith(f"): NDCG@5 .81 ({told}).\n")


def test_small_steps_of_the_ramp_are_told_as_they_are(verb: Litgo, market: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """One in two hundred is not nobody."""
    monkeypatch.setenv("LITGO_RAMP", "[0.5, 10]")
    get_settings.cache_clear()
    assert "ramp 0.5%, 10% of the clients" in said(verb("start", "2", "--reason", "r"))
    assert "on 0.5% of the clients" in said(verb("status"))


def clients(market: House, accepted: tuple[float, float]) -> None:
    """Three hundred clients on each side of the experiment that runs, two days ago, of whom these shares see an offer accepted."""
    found = running(market)
    assert found is not None
    at = datetime.now(UTC) - 2 * DAY
    units = [
        Unit(at, variant, (yes() if n < 300 * share else no(),), version=version)
        for variant, version, share in (("control", "1", accepted[0]), ("treatment", "2", accepted[1]))
        for n in range(300)
    ]
    write(market.engine, units, found.id)


def test_a_winner_is_approved_by_name_and_promoted_with_the_next_reading(
    verb: Litgo, market: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing waits before; the reading that follows the approval moves the alias."""
    monkeypatch.setenv("LITGO_PROMOTION", "approve")
    get_settings.cache_clear()
    assert "litgo experiment status" in refused(verb("approve", "--by", "ana", "--reason", "checked"))
    said(verb("start", "2", "--reason", "r"))
    assert "no experiment waits" in refused(verb("approve", "--by", "ana", "--reason", "checked"))
    clients(market, (0.2, 0.8))

    def read() -> Any:
        return read_experiment(market.engine, market.registry, get_settings(), gini=MarketGini(), clock=lambda: datetime.now(UTC))

    read()
    assert "it won and waits for approval" in said(verb("status"))
    assert verb("approve", "--reason", "checked").returncode == 2
    assert "somebody who takes it" in refused(verb("approve", "--by", " ", "--reason", "checked"))
    assert market.registry.champion() == "1"
    assert "ana approved version 2" in said(verb("approve", "--by", "ana", "--reason", "checked"))
    again = json.loads(said(verb("approve", "--by", "ana", "--reason", "checked", "--json")))
    assert (again["challenger"], again["status"], again["approved_by"]) == ("2", "approval", "ana")
    read()
    assert market.registry.champion() == "2"
    with market.engine.connect() as connection:
        newest = decisions.history(connection, 20)
    assert [(one.actor, one.result) for one in newest if one.action == "approval"] == [("ana", "approved")] * 2


def test_without_any_experiment_status_says_how_to_begin_one(verb: Litgo, market: House) -> None:
    """For machines everything is null; neither is an error."""
    assert "litgo experiment start VERSION" in said(verb("status"))
    assert json.loads(said(verb("status", "--json"))) == {"experiment": None, "result": None, "waiting": None}


def test_status_judges_as_of_now_and_changes_nothing(verb: Litgo, market: House) -> None:
    """Figures by side with their interval, the sample ratio, guardrails and the verdict; who waits; no row is written, nobody promoted."""
    said(verb("start", "2", "--reason", "r"))
    said(verb("start", "3", "--reason", "r"))
    clients(market, (0.2, 0.8))
    before = market.everything()
    told = said(verb("status"))
    assert "version 2 against 1, ab, running since" in told
    assert "on 50% of the clients" in told
    (accepted,) = [line.split() for line in told.splitlines() if line.startswith("accepted")]
    assert accepted[1:7] == ["0.200", "0.800", "300", "/", "300", "+300.0%"]
    assert accepted[-1] == "<.001"
    assert "Treatment's share of the clients: 50.000%, 50.000% by design." in told
    assert "guardrail Gini of the whole market: unknown" in told
    assert "Verdict by now: promote." in told
    assert "In line: version 3" in told
    found = json.loads(said(verb("status", "--json")))
    assert (found["experiment"]["challenger"], found["waiting"]["challenger"]) == ("2", "3")
    assert (found["result"]["verdict"], found["result"]["evidence"]["strata"][0]["exposed"]) == ("promote", [300, 300])
    assert market.everything() == before
    assert market.registry.champion() == "1"
    assert market.rows("SELECT FROM litgo.experiment_readouts") == []


def test_an_experiment_that_ended_is_shown_as_it_stood_then(verb: Litgo, market: House) -> None:
    """What ripened afterwards is none of it."""
    found = market.experiment("2", "1")
    clients(market, (0.5, 0.5))
    with market.engine.begin() as connection:
        at = datetime.now(UTC) - 1.5 * DAY
        experiments.end(connection, found.id, verdict="stopped", conclusion="enough", actor="ana", at=at)
    shown = json.loads(said(verb("status", "--json")))
    (stratum,) = shown["result"]["evidence"]["strata"]
    assert (stratum["exposed"], stratum["metrics"]) == ([300, 300], {})
    assert "stopped (enough)" in said(verb("status"))


def test_one_that_only_waits_is_shown_as_waiting(verb: Litgo, market: House) -> None:
    """There is nothing to judge yet."""
    with market.engine.begin() as connection:
        terms = experiments.Terms("ab", (0.1,), 28.0, "keep")
        experiments.queue(connection, "2", "1", terms, actor="gate", reason="passed", at=market.clock(), evidence={})
    told = said(verb("status"))
    assert "in line since" in told
    assert "Verdict" not in told
    assert told.count("version 2") == 1


@pytest.mark.parametrize("name", ["start", "stop", "approve", "status"])
def test_every_verb_teaches_by_example(verb: Litgo, name: str) -> None:
    """A verb's help holds a line that can be copied."""
    assert f"litgo experiment {name}" in said(verb(name, "--help")).partition("Example:")[2]
