"""A marketplace that lives: repeatable, resumable, within the rules, and only where it belongs."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import ProgrammingError

from litgo_pipelines.casework.equity_run import as_of_partition, latest_partition
from litgo_pipelines.casework.market import Market, read_market
from litgo_pipelines.equity.inequality import gini
from litgo_pipelines.marketplace.database import APP_ROLE, open_engine
from litgo_pipelines.simulation import engine as engine_module
from litgo_pipelines.simulation.engine import TOP_N, AlreadyLived, NotSimulated, Progress, simulate, stretches
from litgo_pipelines_tests.simulation.conftest import AS_OF, DAYS, LAWYERS, as_simulator, conduct, count, digests, live, plan

START = AS_OF - timedelta(days=DAYS)
DAY = timedelta(days=1)


class _Stop(Exception):
    """The power fails."""


def _stop_after(days: float) -> Any:
    def stop(progress: Progress) -> None:
        if progress.days_done > days:
            raise _Stop

    return stop


def test_a_seed_makes_the_same_rows_in_every_database(simulated_url: str, database_url: str) -> None:
    """All tables of two marketplaces with the same seed and time are equal, to the last column."""
    live(database_url)
    assert digests(database_url) == digests(simulated_url)


def test_another_seed_makes_another_marketplace(simulated_url: str, database_url: str) -> None:
    """Nothing is shared but the rules."""
    live(database_url, seed=4, days=5.0)
    assert count(database_url, "SELECT count(*) FROM litgo.cases") > 0
    assert digests(database_url)["lawyers"] != digests(simulated_url)["lawyers"]


def test_an_interrupted_simulation_goes_on_as_if_nothing_had_happened(simulated_url: str, database_url: str) -> None:
    """Each day is one transaction: stopped twice between days and taken up again, it ends in the same state."""
    for days in (3, 11):
        with pytest.raises(_Stop):
            live(database_url, on_progress=_stop_after(days))
    live(database_url)
    assert digests(database_url) == digests(simulated_url)


def test_a_day_that_breaks_off_leaves_nothing(simulated_url: str, database_url: str) -> None:
    """A failure in the middle of a day takes that day back whole; afterwards it is lived again, to the same end."""
    engine = as_simulator(database_url)
    nights: list[str] = []

    def fail(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if "UPDATE litgo.marketplace_origin" in statement:
            nights.append(statement)
            if len(nights) == 6:
                raise _Stop

    event.listen(engine, "before_cursor_execute", fail)
    with pytest.raises(_Stop):
        simulate(engine, plan(), conduct(), AS_OF)
    engine.dispose()
    until = count(database_url, "SELECT simulated_until FROM litgo.marketplace_origin")
    assert until == count(database_url, "SELECT max(as_of) FROM litgo.equity_snapshots")
    assert count(database_url, "SELECT max(created_at) FROM litgo.cases") < until
    live(database_url)
    assert digests(database_url) == digests(simulated_url)


def test_a_second_run_lives_only_the_time_that_passed(simulated_url: str) -> None:
    """It keeps its own lawyers and seed whatever is asked, does nothing for no time, and does not run back."""
    before = count(simulated_url, "SELECT max(created_at) FROM litgo.cases")
    progress = live(simulated_url, AS_OF + 2 * DAY, lawyers=5, seed=99, days=400.0)
    assert progress.days == pytest.approx(2)
    assert progress.lawyers == LAWYERS
    assert progress.cases > 0
    assert count(simulated_url, f"SELECT count(*) FROM litgo.cases WHERE created_at > '{AS_OF.isoformat()}'") == progress.cases
    assert before < AS_OF
    after = digests(simulated_url)
    again = live(simulated_url, AS_OF + 2 * DAY)
    assert (again.days, again.cases) == (0, 0)
    assert digests(simulated_url) == after
    with pytest.raises(AlreadyLived, match="lies before"):
        live(simulated_url, AS_OF)
    assert digests(simulated_url) == after


def test_living_in_two_goes_that_meet_at_night_is_living_in_one(simulated_url: str, database_url: str) -> None:
    """Where the first go ends at 02:00 in São Paulo, the end is the same."""
    night = as_of_partition(latest_partition(AS_OF - 5 * DAY))
    engine = as_simulator(database_url)
    with engine.begin() as connection:
        engine_module._found(connection, plan(), AS_OF)
    engine.dispose()
    live(database_url, night)
    live(database_url)
    assert digests(database_url) == digests(simulated_url)


def test_days_are_cut_at_the_nightly_figures() -> None:
    """Every stretch but the last ends at 02:00 in São Paulo; together they are the whole time; less than a minute is none."""
    cuts = list(stretches(START, AS_OF))
    assert cuts[0][0] == START
    assert cuts[-1][1] == AS_OF
    assert all(end == begin for (_, end), (begin, _) in itertools.pairwise(cuts))
    assert all(end == as_of_partition(latest_partition(end)) for _, end in cuts[:-1])
    assert list(stretches(AS_OF, AS_OF + timedelta(seconds=59))) == list(stretches(AS_OF, START)) == []


def test_each_night_has_a_snapshot(simulated_url: str) -> None:
    """The figures of every 02:00 that was lived through, and of no other moment."""
    engine = as_simulator(simulated_url)
    with engine.connect() as connection:
        found = set(connection.execute(text("SELECT DISTINCT as_of FROM litgo.equity_snapshots")).scalars())
    engine.dispose()
    assert found == {end for _, end in stretches(START, AS_OF)} - {AS_OF}


def test_what_is_true_is_hidden_from_the_product(simulated_url: str) -> None:
    """The application's role may read every table but the one with the truth."""
    engine = open_engine(simulated_url, APP_ROLE)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM litgo.cases")).scalar_one() > 100
        with pytest.raises(ProgrammingError, match="permission denied"):
            connection.execute(text("SELECT * FROM litgo.simulation_truth"))
    engine.dispose()
    assert count(simulated_url, "SELECT count(*) FROM litgo.simulation_truth WHERE entity_type = 'lawyer'") == LAWYERS


FOREIGN = {
    "lawyers": "INSERT INTO litgo.lawyers (id, name, primary_area) VALUES (gen_random_uuid(), 'Real', 'civil')",
    "clients": "INSERT INTO litgo.clients (id) VALUES (gen_random_uuid())",
    "match_history": "INSERT INTO litgo.match_history (event, case_id, lawyer_id, label) "
    "VALUES ('match', gen_random_uuid(), gen_random_uuid(), 'won')",
}


@pytest.mark.parametrize("table", FOREIGN)
def test_a_database_with_rows_of_others_is_refused(table: str, database_url: str) -> None:
    """Nothing is written where the simulator did not begin."""
    engine = as_simulator(database_url)
    with engine.begin() as connection:
        connection.execute(text(FOREIGN[table]))
    engine.dispose()
    before = digests(database_url)
    with pytest.raises(NotSimulated, match=table):
        live(database_url)
    assert digests(database_url) == before


@pytest.mark.parametrize("table", ["lawyers", "match_history"])
def test_a_simulated_marketplace_that_real_people_joined_does_not_live_on(table: str, simulated_url: str) -> None:
    """Real lawyers and imported history are never driven by made-up fate."""
    engine = as_simulator(simulated_url)
    with engine.begin() as connection:
        connection.execute(text(FOREIGN[table]))
    engine.dispose()
    with pytest.raises(NotSimulated, match=table):
        live(simulated_url, AS_OF + DAY)


@pytest.mark.parametrize(
    "nonsense", [{"lawyers": 0}, {"days": 0.0}, {"days": -1.0}, {"utilisation": 0.0}, {"utilisation": 2.0}, {"before": 1.1}]
)
def test_a_plan_that_makes_no_sense_is_refused(nonsense: dict[str, Any], database_url: str) -> None:
    """Before anything is written."""
    with pytest.raises(ValueError, match="marketplace needs"):
        live(database_url, **nonsense)
    assert count(database_url, "SELECT count(*) FROM litgo.lawyers") == 0


def test_the_marketplace_keeps_its_own_rules(simulated_url: str) -> None:
    """Capacities of 1..30, up to TOP_N different lawyers a case, contracts by lawyers who were interested, reviews of closed contracts."""
    nothing_wrong = {
        "a capacity out of range": "SELECT count(*) FROM litgo.lawyers WHERE capacidade_mensal NOT BETWEEN 1 AND 30",
        "too many offers": f"SELECT count(*) FROM (SELECT FROM litgo.offers GROUP BY case_id HAVING count(*) > {TOP_N}) x",
        "an offer without a match": "SELECT count(*) FROM litgo.offers WHERE match_id IS NULL",
        "a contract without an interested lawyer": "SELECT count(*) FROM litgo.contracts c WHERE NOT EXISTS (SELECT FROM litgo.offers o "
        "WHERE o.case_id = c.case_id AND o.lawyer_id = c.lawyer_id AND o.status = 'closed' AND o.responded_at <= c.created_at)",
        "a pending offer that ran out": "SELECT count(*) FROM litgo.offers "
        f"WHERE status = 'pending' AND expires_at <= '{AS_OF.isoformat()}'",
        "a review of an open contract": "SELECT count(*) FROM litgo.reviews r JOIN litgo.contracts c ON c.id = r.contract_id "
        "WHERE c.status <> 'closed' OR r.created_at <= c.created_at",
        "a fact of tomorrow": f"SELECT (SELECT count(*) FROM litgo.cases WHERE created_at > '{AS_OF.isoformat()}') "
        f"+ (SELECT count(*) FROM litgo.contracts WHERE created_at > '{AS_OF.isoformat()}') "
        f"+ (SELECT count(*) FROM litgo.reviews WHERE created_at > '{AS_OF.isoformat()}')",
        "an offer to somebody who had not joined": "SELECT count(*) FROM litgo.offers o JOIN litgo.lawyers l ON l.id = o.lawyer_id "
        "WHERE o.sent_at < l.available_from",
    }
    assert {what: count(simulated_url, query) for what, query in nothing_wrong.items()} == dict.fromkeys(nothing_wrong, 0)
    for table in ("offers", "contracts", "reviews"):
        assert count(simulated_url, f"SELECT count(*) FROM litgo.{table}") > 50
    assert count(simulated_url, "SELECT count(DISTINCT status) FROM litgo.offers") == 5


def test_demand_fills_about_the_share_of_capacity_that_was_planned(simulated_url: str) -> None:
    """Cases times the contracts that each brings about are the planned utilisation of everybody's capacity."""
    capacity = count(simulated_url, "SELECT sum(capacidade_mensal) FROM litgo.lawyers")
    cases = count(simulated_url, "SELECT count(*) FROM litgo.cases")
    assert cases * 0.85 / (capacity * DAYS / 30) == pytest.approx(0.6, rel=0.15)


def test_lawyers_with_full_hands_decline_for_lack_of_them(database_url: str, simulated_url: str) -> None:
    """Where demand exceeds what everybody can take, more declines name capacity than where there is room."""
    live(database_url, lawyers=30, utilisation=1.9)
    share = "SELECT count(*) FILTER (WHERE decline_reason = 'capacity')::float / count(*) FROM litgo.offers WHERE status = 'declined'"
    assert count(database_url, share) > count(simulated_url, share) + 0.02


def test_clients_choose_first_positions_more_often(simulated_url: str) -> None:
    """Of interested lawyers those shown first get more contracts than those shown last: there is a position bias to unlearn."""
    chosen = (
        "SELECT count(c.id)::float / count(*) FROM litgo.offers o JOIN litgo.case_matches m ON m.id = o.match_id "
        "LEFT JOIN litgo.contracts c ON c.case_id = o.case_id AND c.lawyer_id = o.lawyer_id WHERE o.status = 'closed' AND m.position {}"
    )
    first, last = (count(simulated_url, chosen.format(where)) for where in ("<= 3", ">= 6"))
    assert first > 1.2 * last


def _ginis(url: str) -> dict[str, float]:
    """Inequality of offers and of contracts over capacity among those who were there all the time."""
    engine = as_simulator(url)
    found = {}
    with engine.connect() as connection:
        for table in ("offers", "contracts"):
            counted = (
                f"SELECT count(x.id)::float / l.capacidade_mensal FROM litgo.lawyers l LEFT JOIN litgo.{table} x ON x.lawyer_id = l.id "
                "WHERE l.available_from IS NULL GROUP BY l.id"
            )
            found[table] = gini(list(connection.execute(text(counted)).scalars()))
    engine.dispose()
    return found


def test_the_rule_spreads_load_more_evenly_than_relevance_alone(database_url: str, another_url: str) -> None:
    """The same lawyers and the same demand, with and without the rule: offers and contracts per capacity are more equal with it."""
    live(database_url, before=1.0, lawyers=60)
    live(another_url, before=0.0, lawyers=60)
    alone, ruled = _ginis(database_url), _ginis(another_url)
    assert ruled["offers"] < alone["offers"] - 0.02
    assert ruled["contracts"] < alone["contracts"] - 0.02


def _read(engine: Engine, at: datetime) -> Market:
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        return read_market(connection, at)


def test_profiles_kept_in_memory_are_those_of_a_fresh_reading(simulated_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After ten days track records, ratings, texts and offers received are what the database tells."""
    kept: list[Market] = []
    lived = engine_module._live

    def live_and_keep(*arguments: Any) -> Market:
        kept.append(lived(*arguments))
        return kept[-1]

    monkeypatch.setattr(engine_module, "_live", live_and_keep)
    until = AS_OF + 10 * DAY
    live(simulated_url, until)
    engine = as_simulator(simulated_url)
    fresh = _read(engine, until)
    engine.dispose()
    for name in ("won", "lost", "received", "rating", "texts"):
        np.testing.assert_array_equal(getattr(kept[-1].profiles, name), getattr(fresh.profiles, name), err_msg=name)
    np.testing.assert_array_equal(kept[-1].loads.in_flight, fresh.loads.in_flight)
    assert fresh.profiles.won.sum() > 20


def test_progress_is_told_day_by_day(database_url: str) -> None:
    """From nothing done to everything done, never backwards."""
    seen: list[tuple[float, int]] = []
    ended = live(database_url, on_progress=lambda progress: seen.append((progress.days_done, progress.cases)), days=3.0, lawyers=20)
    assert seen[0] == (0, 0)
    assert seen == sorted(seen)
    assert seen[-1][0] == pytest.approx(3)
    assert seen[-1][1] == ended.cases
    assert ended.cases == count(database_url, "SELECT count(*) FROM litgo.cases")


def test_a_marketplace_of_one_lawyer_lives(database_url: str) -> None:
    """Small is no special case."""
    assert live(database_url, lawyers=1, days=2.0).lawyers == 1


def test_files_are_none_of_its_business(simulated_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulator writes to its database alone."""
    monkeypatch.chdir(tmp_path)
    live(simulated_url, AS_OF + DAY)
    assert list(tmp_path.iterdir()) == []
