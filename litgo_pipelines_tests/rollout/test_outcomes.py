"""Tallies of an experiment against marketplaces of a few rows, whose answers are reckoned by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text

from litgo_pipelines.rollout import experiments, outcomes
from litgo_pipelines.rollout.experiment_rules import Ruling
from litgo_pipelines.rollout.experiments import Experiment, Terms
from litgo_pipelines.rollout.outcomes import MarketGini
from litgo_pipelines.rollout.readout import Arms, ExperimentEvidence, Guardrail, Stratum, Tally, judge_experiment
from litgo_pipelines_tests.rollout.facts import Offer, Unit, no, write, yes

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LATER = NOON + 30 * DAY


def running(engine: Engine, mode: Literal["ab", "interleaving"] = "ab", steps: tuple[float, ...] = (0.1, 0.5), step: int = 0) -> Experiment:
    with engine.begin() as connection:
        given: dict[str, Any] = {"actor": "gate", "at": NOON}
        terms = Terms(mode, steps, 28.0, "keep")
        queued = experiments.queue(connection, "2", "1", terms, reason="it passed", evidence={}, **given)
        go = Ruling(verdict="start", reasons=["go"], evidence={})
        found = experiments.start(connection, queued, go, "1", **given)
        for _ in range(step):
            experiments.ramp(connection, found, Ruling(verdict="ramp", reasons=["go"], evidence={}), **given)
            found = experiments.find(connection, found.id)
        return found


def control(at: datetime = NOON, *offers: Offer, **changes: Any) -> Unit:
    return Unit(at, "control", offers or (Offer(),), **changes)


def treatment(at: datetime = NOON, *offers: Offer, **changes: Any) -> Unit:
    return Unit(at, "treatment", offers or (Offer(),), **({"version": "2"} | changes))


def read(engine: Engine, experiment: Experiment, as_of: datetime = LATER) -> list[Stratum]:
    with engine.connect() as connection:
        return outcomes.strata(connection, experiment, as_of)


def ripe(engine: Engine, experiment: Experiment, as_of: datetime) -> int:
    with engine.connect() as connection:
        return outcomes.ripe(connection, experiment, as_of)


def test_shares_of_accepted_offers_are_tallied_by_side(engine: Engine) -> None:
    """A share a client: late answers, declines and silence are none; a choice of somebody else does not take an acceptance back."""
    found = running(engine)
    write(
        engine,
        [
            control(NOON, yes(), no(), no(), Offer("expired")),
            control(NOON, yes(23.9), Offer("closed", 2.0)),
            control(NOON, Offer("interested", 24.1), Offer("closed")),
            treatment(NOON, no("capacity"), yes(24.0)),
        ],
        found.id,
    )
    (stratum,) = read(engine, found)
    # 1/4, 2/2 and 0/2 in control; 1/2 in treatment.
    assert stratum.metrics["accepted"] == Arms(
        control=Tally(units=3, conversions=2, total=1.25, squares=1.0625), treatment=Tally(units=1, conversions=1, total=0.5, squares=0.25)
    )
    assert stratum.exposed == (3, 1)


def test_an_outcome_that_has_not_ripened_is_unknown_and_not_missing(engine: Engine) -> None:
    """Answers count a day after the request and signatures a week after it, not before; who was exposed does at once."""
    found = running(engine)
    write(engine, [control(NOON, yes(), signed=DAY), control(NOON + 2 * HOUR, no(), signed=DAY), control(NOON + DAY)], found.id)
    for passed, accepted, signed, exposed in (
        (timedelta(minutes=5), 0, 0, 1),
        (DAY - HOUR, 0, 0, 2),
        (DAY + HOUR, 1, 0, 3),
        (DAY + 3 * HOUR, 2, 0, 3),
        (7 * DAY + HOUR, 3, 1, 3),
        (9 * DAY, 3, 3, 3),
    ):
        (stratum,) = read(engine, found, NOON + passed)
        tallied = [stratum.metrics.get(one, Arms()).control.units for one in ("accepted", "contract")]
        assert (*tallied, stratum.exposed[0]) == (accepted, signed, exposed), passed
        assert ripe(engine, found, NOON + passed) == accepted + signed, passed
    assert stratum.metrics["accepted"].control.conversions == 1
    assert stratum.metrics["contract"].control.conversions == 2


def test_a_clients_second_request_does_not_count(engine: Engine) -> None:
    """A client is one unit, with the outcome of the request that it was exposed by."""
    found, client = running(engine), uuid4()
    first, again = control(NOON, no(), client=client), control(NOON + HOUR, yes(), client=client, signed=DAY, rating=5, exposed=False)
    write(engine, [first, again], found.id)
    (stratum,) = read(engine, found)
    assert stratum.exposed == (1, 0)
    assert stratum.metrics["accepted"].control == Tally(units=1)
    assert stratum.metrics["contract"].control == Tally(units=1)
    assert "rating" not in stratum.metrics


def test_who_was_held_back_is_on_no_side(engine: Engine) -> None:
    """Not in the shares, not in the outcomes, and not after having been let in either: the first request counts."""
    found, client = running(engine, step=1), uuid4()
    held = Unit(NOON, "held back", (yes(),), signed=DAY, rating=5, client=client)
    write(engine, [held, treatment(NOON + DAY, yes(), client=client, exposed=False), control(NOON, no(), step=1)], found.id)
    first, second = read(engine, found)
    assert (first.exposed, first.metrics) == ((0, 0), {})
    assert second.exposed == (1, 0)
    assert {name: arms.treatment for name, arms in second.metrics.items()} == {"accepted": Tally(), "contract": Tally()}


def test_a_contract_counts_once_and_only_when_both_have_signed_within_a_week(engine: Engine) -> None:
    """A second contract of the same case, after a cancelled one, is no second unit; one side's signature is none."""
    found = running(engine)
    units = [treatment(signed=timedelta(days=6)), treatment(signed=7 * DAY), treatment(signed=7 * DAY + HOUR), treatment(), control()]
    write(engine, units, found.id)
    half = treatment(NOON + HOUR, signed=DAY)
    write(engine, [half], found.id)
    with engine.begin() as connection:
        connection.execute(text("UPDATE litgo.contracts SET signed_lawyer = NULL WHERE created_at = :at"), {"at": half.at + DAY})
        connection.execute(
            text(
                "WITH one AS (UPDATE litgo.contracts SET status = 'canceled' WHERE created_at = :at RETURNING *) "
                "INSERT INTO litgo.contracts (id, case_id, lawyer_id, client_id, status, signed_client, signed_lawyer, created_at) "
                "SELECT gen_random_uuid(), case_id, lawyer_id, client_id, 'active', signed_client, signed_lawyer, created_at FROM one"
            ),
            {"at": NOON + 6 * DAY},
        )
    (stratum,) = read(engine, found)
    assert stratum.metrics["contract"] == Arms(control=Tally(units=1), treatment=Tally(units=5, conversions=2))


def test_ratings_are_of_those_who_rated(engine: Engine) -> None:
    """Who has not rated is not among them, and a rating counts from the moment it was given."""
    found = running(engine)
    units = [control(signed=DAY, rating=5), control(signed=DAY, rating=2), control(signed=DAY), treatment(signed=3 * DAY, rating=4)]
    write(engine, units, found.id)
    (stratum,) = read(engine, found)
    assert stratum.metrics["rating"] == Arms(
        control=Tally(units=2, total=7.0, squares=29.0), treatment=Tally(units=1, total=4.0, squares=16.0)
    )
    (earlier,) = read(engine, found, NOON + 3 * DAY)
    assert earlier.metrics["rating"] == Arms(control=Tally(units=2, total=7.0, squares=29.0))


def test_each_step_is_a_stratum_with_the_share_it_was_designed_with(engine: Engine) -> None:
    """Who came at a step stays with it; a step without anybody is there, empty."""
    found = running(engine, steps=(0.1, 0.2, 0.5), step=2)
    write(engine, [control(NOON, yes()), treatment(NOON, no()), control(NOON, no(), step=2), treatment(NOON, yes(), step=2)], found.id)
    strata = read(engine, found)
    assert [one.step for one in strata] == [0, 1, 2]
    assert [one.exposed for one in strata] == [(1, 1), (0, 0), (1, 1)]
    # Control is there whole, half of all clients; treatment at a tenth, a fifth, and half of all.
    assert [one.share for one in strata] == pytest.approx([0.1 / 0.6, 0.2 / 0.7, 0.5])
    accepted = [one.metrics.get("accepted", Arms()) for one in strata]
    assert [(one.control.conversions, one.treatment.conversions) for one in accepted] == [(1, 0), (0, 0), (0, 1)]


def test_interleaved_wins_are_the_clients_who_accepted_more_from_one_team(engine: Engine) -> None:
    """Each client has one vote; a tie, and a client nobody accepted, are votes for neither; both arms have all clients."""
    found = running(engine, "interleaving")

    def shown(*offers: tuple[str, Offer]) -> Unit:
        return Unit(NOON, "interleaved", [replace(offer, team=team) for team, offer in offers])

    write(
        engine,
        [
            shown(("champion", yes()), ("challenger", no())),
            shown(("challenger", yes()), ("champion", yes()), ("challenger", Offer("closed", 3.0))),
            shown(("challenger", yes()), ("champion", Offer("interested", 30.0))),
            shown(("challenger", yes()), ("champion", yes())),
            shown(("challenger", no()), ("champion", Offer())),
            shown(("challenger", yes())),
            Unit(NOON, "held back", (yes(),)),
            Unit(LATER - HOUR, "interleaved", (yes(team="challenger"),)),
        ],
        found.id,
    )
    (stratum,) = read(engine, found)
    wins = Arms(control=Tally(units=6, conversions=1), treatment=Tally(units=6, conversions=3))
    assert stratum == Stratum(step=0, share=0.5, exposed=(7, 7), metrics={"preference": wins})


@pytest.mark.parametrize("mode", ["ab", "interleaving"])
def test_an_experiment_without_a_client_has_empty_strata(engine: Engine, mode: Literal["ab", "interleaving"]) -> None:
    """Nothing is divided by nobody: it can be judged, and is insufficient data."""
    found = running(engine, mode, step=1)
    strata = read(engine, found)
    assert [(one.exposed, one.metrics) for one in strata] == [((0, 0), {})] * 2
    assert ripe(engine, found, LATER) == 0
    with engine.connect() as connection:
        guards = outcomes.guardrails(connection, found, LATER, gini=MarketGini(), most_gini=0.3)
        assert (outcomes.daily_clients(connection, LATER), outcomes.base_rates(connection, LATER)) == (0.0, None)
    evidence = ExperimentEvidence(
        mode=mode, champion="1", challenger="2", days=1.0, max_days=28.0, strata=tuple(strata), guardrails=tuple(guards)
    )
    result = judge_experiment(evidence)
    assert result.verdict == "insufficient data"
    assert {one.state for one in result.guardrails} == {"unknown"}


def test_another_experiments_clients_are_not_counted(engine: Engine) -> None:
    """Neither as exposed, nor by what became of them, nor in the guardrails."""
    old = running(engine)
    write(engine, [control(NOON, yes(), signed=DAY)] * 120, old.id)
    with engine.begin() as connection:
        experiments.end(connection, old.id, verdict="stopped", conclusion="x", actor="ana", at=NOON)
    found = running(engine)
    assert [(one.exposed, one.metrics) for one in read(engine, found)] == [((0, 0), {})]
    with engine.connect() as connection:
        assert outcomes.guardrails(connection, found, LATER, gini=MarketGini(), most_gini=0.3)[0].control is None


def guardrails(engine: Engine, found: Experiment, **given: Any) -> dict[str, Guardrail]:
    with engine.connect() as connection:
        return {
            one.name: one
            for one in outcomes.guardrails(connection, found, LATER, **({"gini": MarketGini(now=0.2), "most_gini": 0.3} | given))
        }


def test_guardrails_are_unknown_below_a_hundred_requests_of_a_side(engine: Engine) -> None:
    """Failed requests are none of them; with the hundredth, each side tells its own. In fallback is whatever is not the usual space."""
    found = running(engine)
    slow = [treatment(NOON, duration_ms=40.0, **({"space": "local"} if n < 5 else {})) for n in range(99)]
    write(engine, [control(NOON, duration_ms=30.0)] * 100 + slow + [treatment(NOON, status="error", duration_ms=9000.0)] * 20, found.id)
    before = guardrails(engine, found)
    assert before["latency p95 (ms)"] == Guardrail(name="latency p95 (ms)", control=30.0, treatment=None, most_ratio=1.5)
    assert before["answers in fallback"] == Guardrail(name="answers in fallback", control=0.0, treatment=None, limit=0.1)
    write(engine, [treatment(NOON, duration_ms=40.0)], found.id)
    after = guardrails(engine, found)
    assert after["latency p95 (ms)"].treatment == 40.0
    assert after["answers in fallback"].treatment == pytest.approx(0.05)


def test_what_nobody_can_feel_is_not_too_slow(engine: Engine) -> None:
    """Three milliseconds instead of one is thrice as slow, and no harm; the slowest twentieth counts, not the mean."""
    found = running(engine)
    write(engine, [control(NOON, duration_ms=1.0)] * 100 + [treatment(NOON, duration_ms=3.0)] * 100, found.id)
    one = guardrails(engine, found)["latency p95 (ms)"]
    assert (one.control, one.treatment) == (20.0, 20.0)
    write(engine, [treatment(NOON, duration_ms=500.0)] * 10, found.id)
    assert guardrails(engine, found)["latency p95 (ms)"].treatment == 500.0


@pytest.mark.parametrize(
    ("before", "gini", "limit", "state"),
    [
        (None, None, 0.3, "unknown"),
        (0.2, 0.29, 0.3, "holds"),
        (0.2, 0.31, 0.3, "broken"),
        (0.35, 0.355, 0.36, "holds"),
        (0.35, 0.37, 0.36, "broken"),
    ],
)
def test_the_gini_is_that_of_the_whole_market(engine: Engine, before: float | None, gini: float | None, limit: float, state: str) -> None:
    """No side has one for itself; unknown is neither good nor bad, and what was uneven before may stay as it was."""
    found = running(engine)
    guard = guardrails(engine, found, gini=MarketGini(before, gini))["Gini of the whole market"]
    assert (guard.control, guard.treatment, guard.limit) == (None, gini, pytest.approx(limit))
    result = judge_experiment(ExperimentEvidence(mode="ab", champion="1", challenger="2", days=1, max_days=28, guardrails=(guard,)))
    assert result.guardrails[0].state == state


def test_clients_a_day_are_those_of_the_last_four_weeks(engine: Engine) -> None:
    """Each once, however often they asked; failed requests and older ones are left out; a young marketplace by its age."""
    client: UUID = uuid4()
    recent = [Unit(LATER - n * DAY) for n in range(14)]
    write(engine, [*recent, Unit(LATER - DAY, client=client), Unit(LATER - 2 * DAY, client=client, status="ok")])
    write(engine, [Unit(LATER - 29 * DAY), Unit(LATER - DAY, status="error"), Unit(LATER + HOUR)])
    with engine.connect() as connection:
        assert outcomes.daily_clients(connection, LATER) == pytest.approx(15 / 13)
    write(engine, [Unit(LATER - 27.9 * DAY)])
    with engine.connect() as connection:
        assert outcomes.daily_clients(connection, LATER) == pytest.approx(16 / 27.9)


def test_without_requests_there_are_no_clients_a_day(engine: Engine) -> None:
    """Nought, and nothing is divided by it."""
    with engine.connect() as connection:
        assert outcomes.daily_clients(connection, LATER) == 0.0


def test_base_rates_are_reckoned_as_the_tallies_are(engine: Engine) -> None:
    """An offer that was closed without an answer was not accepted; below thirty nothing is known; unripe ones are left out."""
    at = LATER - 10 * DAY
    units = [Unit(at, offers=(yes(), Offer("closed")), signed=DAY)] * 15 + [Unit(at, offers=(no(), Offer()))] * 14
    write(engine, units)
    unripe = [Unit(LATER - HOUR, offers=(yes(),))] * 40
    write(engine, unripe)
    with engine.connect() as connection:
        assert outcomes.base_rates(connection, LATER) is None
    write(engine, [Unit(at, offers=(no(), Offer()), signed=8 * DAY)])
    with engine.connect() as connection:
        found = outcomes.base_rates(connection, LATER)
    assert found is not None
    # Fifteen of thirty with half of their offers accepted, the others with none.
    assert found == pytest.approx((0.25, 0.25 * (30 / 29) ** 0.5, 0.5))
