"""The last 30 days offered again under other prices: where they begin, who takes part, and how near they come to what happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from litgo_pipelines.casework.equity_run import utilisation
from litgo_pipelines.casework.market import micros, read_p_win
from litgo_pipelines.casework.matching import Decision
from litgo_pipelines.casework.price_replay import Past, Replayed, lawyers_at, primary_areas, replay
from litgo_pipelines.casework.refit import LastMonth
from litgo_pipelines.casework.rehearsal import DAY as DAY_US
from litgo_pipelines.casework.rehearsal import WINDOW, Conditions, Contract, Reaction, Rehearsal
from litgo_pipelines.casework.responses import ResponseModel
from litgo_pipelines.equity.allocation import OfferRule, never
from litgo_pipelines.equity.inequality import gini
from litgo_pipelines.marketplace.database import open_engine
from litgo_pipelines.ranking.ranker import HandWeights
from litgo_pipelines.settings import load_settings
from litgo_pipelines_tests.casework import hamlet
from litgo_pipelines_tests.casework.conftest import NOON, Town
from litgo_pipelines_tests.simulation.conftest import live

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from litgo_pipelines_tests.conftest import Databases

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
SINCE = NOON - 30 * DAY
RULE = OfferRule(exploration=0.0)
EVERYBODY = ResponseModel(intercept=50.0, signs=1.0)


def read(town: Town, as_of: datetime = NOON, **options: Any) -> Past:
    with town.engine.connect() as connection:
        return Past.read(connection, as_of, **options)


def rehearsed(past: Past) -> Rehearsal:
    return Rehearsal(past.market, EVERYBODY, Conditions(), RULE, past.contracts, past.sent)


def replayed(past: Past, prices: Sequence[float] = (0.5,), reactions: Any = EVERYBODY, **changes: Any) -> list[Replayed]:
    given: dict[str, Any] = {"top_n": 1, "new_lawyer_offers": 0, "newcomer_days": 90, "least_lawyers": 2}
    return replay(past, HandWeights(), [replace(RULE, price=one) for one in prices], reactions, **(given | changes))


def offered(town: Town, lawyer: UUID, at: datetime) -> UUID:
    """A case that came at a moment and was offered at once, in vain."""
    case = town.case(created_at=at)
    town.offer(lawyer, at, "expired", case=case)
    return case


class Noting:
    """Nobody is ever interested; whom each case was shown to is noted, and what an offer was worth."""

    def __init__(self) -> None:
        self.shown: list[tuple[datetime, set[Any]]] = []
        self.worth: list[float] = []

    def __call__(self, decision: Decision, utilisation: NDArray[np.float64]) -> Reaction:
        self.shown.append((decision.ask.at, set(decision.chosen_ids)))
        self.worth.append(decision.p_win)
        return Reaction(np.full(len(utilisation), micros(decision.ask.at) + 1), None)


def test_it_begins_with_the_loads_of_thirty_days_ago(town: Town) -> None:
    """Contracts of the 30 days before that, to the second, canceled ones left out; offers up to then are what a lawyer received. Who the
    lawyers are is what is known of them today."""
    busy, idle = town.lawyer(last_offered_at=NOON), town.lawyer(cases_30d=9)
    for at in (SINCE - 30 * DAY, SINCE - 30 * DAY + SECOND, SINCE):
        town.contract(busy, at)
    town.contract(busy, SINCE - DAY, "canceled")
    town.review(town.contract(busy, SINCE + SECOND), busy, "won", NOON)
    town.offer(busy, SINCE - 40 * DAY)
    town.offer(busy, SINCE)
    town.offer(busy, SINCE + SECOND)
    past = read(town)
    row = [past.market.profiles.row[one.bytes] for one in (busy, idle)]
    loads, profiles = past.market.loads, past.market.profiles
    assert past.market.as_of == SINCE
    assert past.until == micros(NOON)
    assert loads.cases[row].tolist() == [2, 0]
    assert loads.in_flight[row].tolist() == [0, 0]
    assert loads.last_offered[row].tolist() == [micros(SINCE), int(never())]
    assert profiles.received[row].tolist() == [2, 0]
    assert profiles.won[row].tolist() == [1, 0]


def test_contracts_of_before_leave_the_window_after_thirty_days(town: Town) -> None:
    """At the end none of them is left."""
    lawyer = town.lawyer()
    for days in (29, 15, 0):
        town.contract(lawyer, SINCE - days * DAY)
    rehearsal = rehearsed(read(town))
    seen = []
    for days in (0, 1, 15, 30):
        rehearsal.advance(micros(SINCE + days * DAY))
        seen.append(rehearsal.market.loads.cases[0])
    assert seen == [3, 2, 1, 0]


def test_what_cases_of_before_came_to_later_is_part_of_the_past(town: Town) -> None:
    """Such a case is not offered again, so its contract comes when it did; those of later cases are for the replay to bring about."""
    lawyer = town.lawyer()
    for status, days in (("active", 2), ("canceled", 1)):
        town.contract(lawyer, SINCE + days * DAY, status, offered(town, lawyer, SINCE - DAY))
    town.contract(lawyer, NOON + SECOND, case=offered(town, lawyer, SINCE - DAY))
    town.contract(lawyer, SINCE + 3 * DAY, case=offered(town, lawyer, SINCE + DAY))
    past = read(town)
    assert past.market.loads.cases.tolist() == [0]
    assert past.contracts == [Contract(0, micros(SINCE + 2 * DAY), micros(SINCE + 32 * DAY))]
    (found,) = replayed(past, reactions=Noting())
    assert found.utilisation.tolist() == [0.1]


def test_the_cases_of_the_thirty_days_are_offered_in_turn(town: Town) -> None:
    """Oldest first; one of the very beginning is over, one of the very end is not. Who was only asked about loads nobody."""
    lawyer, other = town.lawyers(2)
    later, first = (offered(town, lawyer, at) for at in (NOON, SINCE + SECOND))
    town.offer(other, SINCE + DAY, case=first)
    town.offer(other, SINCE + DAY, case=offered(town, lawyer, SINCE))
    offered(town, lawyer, NOON + SECOND)
    town.case(created_at=SINCE + DAY)
    past = read(town)
    assert [(case.id, at) for case, at in past.cases] == [(first, SINCE + SECOND), (later, NOON)]
    assert past.cases[0][0] == town.as_case(first)


def test_nobody_is_offered_a_case_before_joining(town: Town) -> None:
    """Whoever joined later takes part from then on, and counts if a case came after that."""
    old, young = town.lawyer(), town.lawyer(created_at=SINCE + 10 * DAY)
    town.lawyer(created_at=NOON - SECOND)
    for days in (5, 9, 10, 11):
        offered(town, old, SINCE + days * DAY)
    reactions = Noting()
    (found,) = replayed(read(town), reactions=reactions, top_n=5)
    assert [who for _, who in reactions.shown] == [{old}, {old}, {old, young}, {old, young}]
    assert found.distribution.lawyers == 2
    assert [(group.name, group.lawyers) for group in found.distribution.tenure] == [("established", 1), ("newcomers", 1)]


def test_who_is_absent_inactive_or_not_asked_for_takes_no_part(town: Town) -> None:
    """Absence as declared, over the days of the replay; areas as main ones."""
    there, back = town.lawyer(), town.lawyer(available_from=SINCE + 10 * DAY)
    town.lawyer(status="inactive")
    town.lawyer(primary_area="penal")
    for days in (5, 15):
        offered(town, there, SINCE + days * DAY)
    past, reactions = read(town), Noting()
    (found,) = replayed(past, reactions=reactions, top_n=5)
    assert [who for _, who in reactions.shown] == [{there}, {there, back}]
    assert found.distribution.lawyers == 2
    assert sorted(primary_areas(past.market).tolist()) == ["civil", "civil", "civil", "penal"]


def test_what_an_offer_is_worth_is_reckoned_anew_each_night(town: Town) -> None:
    """From the offers of the replay itself, a day after they were made."""
    lawyer = town.lawyer()
    for days in range(12):
        offered(town, lawyer, SINCE + days * DAY + SECOND)
    reactions = Noting()
    replayed(read(town), reactions=reactions)
    assert reactions.worth == [20 / (100 + max(0, days - 1)) for days in range(12)]


def test_offers_of_the_last_thirty_days_alone_are_counted() -> None:
    """Of a rehearsal that lasted longer, as of the lawyers themselves: those who do not count are left out."""
    market = hamlet.hamlet(3)
    rehearsal = Rehearsal(market, Noting(), Conditions(top_n=3), RULE)
    for days in (0, 1, 2):
        rehearsal.offer(hamlet.a_case(days), NOON + days * DAY, hamlet.all_of(market), "m")
    counted, newcomer = np.array([True, False, True]), np.array([False, False, True])
    found = lawyers_at(rehearsal, micros(NOON + 31 * DAY), np.array(["a", "b", "c"]), counted, newcomer)
    assert (found.offers.tolist(), found.area.tolist(), found.newcomer.tolist()) == ([1, 1], ["a", "c"], [False, True])


def test_figures_are_those_of_what_was_replayed(town: Town) -> None:
    """Loads, offers, relevance, gaps, and room: of three lawyers who are always shown, one is full all the while."""
    full, free, free_too = (town.lawyer(capacidade_mensal=capacity) for capacity in (1, 30, 30))
    town.contract(full, SINCE - DAY, case=town.case(created_at=SINCE - 2 * DAY))
    for days in range(10):
        offered(town, free, SINCE + (days + 5) * DAY)
    past = read(town)
    (found,) = replayed(past, top_n=3, least_lawyers=1)
    used = dict(zip(past.market.profiles.uuids, found.utilisation, strict=True))
    unused = (used[free] + used[free_too]) / 2
    assert used[full] + 60 * unused == pytest.approx(found.distribution.cases) == 10
    assert found.distribution.offers == 30
    assert found.fill_rate == pytest.approx(2 / 3)
    assert found.mean_relevance is not None
    assert 0 < found.mean_relevance < 1
    assert found.trade_off.gap == found.distribution.gap_capacity == pytest.approx(abs(used[full] - unused))
    assert found.trade_off.price == 0.5


def test_without_a_case_nothing_is_known(town: Town) -> None:
    """None, which is not 0."""
    town.lawyer()
    (found,) = replayed(read(town))
    assert set(vars(found.trade_off).values()) == {0.5, None}


def test_an_offer_is_worth_what_it_was_on_the_same_facts(town: Town) -> None:
    """At the beginning and on the first night a rehearsal reckons as the database does, to the last offer: those of a window's ends
    fall on the same side of it, however they are summed up."""
    night = datetime(2026, 2, 9, 5, tzinfo=UTC)
    lawyer = town.lawyer()
    moments = [end - DAY + shift * SECOND for end in (SINCE, night) for shift in (-1800, 0, 1)]
    moments += [end - 31 * DAY + shift * SECOND for end in (SINCE, night) for shift in (-1, 0, 0, 1, 60, 1799, 1800)]
    for at in [*moments, SINCE, SINCE - SECOND]:
        town.offer(lawyer, at, "expired", case=town.case(created_at=at))
    for at in (night - 30 * DAY, night - 30 * DAY + SECOND, SINCE - 30 * DAY, SINCE - 5 * DAY, SINCE, SINCE + SECOND, night):
        town.contract(lawyer, at, case=offered(town, lawyer, SINCE - 40 * DAY))
    town.contract(lawyer, SINCE - DAY, "canceled")
    past = read(town)
    rehearsal = rehearsed(past)
    with town.engine.connect() as connection:
        assert past.market.loads.p_win == read_p_win(connection, SINCE)
        rehearsal.night(micros(night))
        assert rehearsal.market.loads.p_win == read_p_win(connection, night)
        assert read_p_win(connection, night) != read_p_win(connection, SINCE)


AS_OF = datetime(2026, 3, 10, 5, tzinfo=UTC)
"""The newest night of the simulated marketplace below."""


@dataclass(frozen=True)
class Lived:
    """A simulated marketplace that lived under the offer rule alone, and its last month as a refit reads it."""

    url: str
    month: LastMonth
    observed: NDArray[np.float64]

    def under(self, *prices: float) -> list[Replayed]:
        return self.month.under(prices, HandWeights())


def last_month(connection: Connection) -> LastMonth:
    return LastMonth.read(connection, AS_OF, HandWeights(), load_settings())


@pytest.fixture(scope="module")
def lived(databases: Databases, _migrated: str) -> Iterator[Lived]:
    with databases.fresh(_migrated) as name:
        url = databases.server.url(name)
        live(url, lawyers=100, days=62.0, seed=5, before=0.0)
        engine = open_engine(url)
        # What a replay reads with must not be able to write.
        with engine.connect().execution_options(postgresql_readonly=True) as connection:
            found = Lived(url, last_month(connection), utilisation(connection, AS_OF))
        engine.dispose()
        yield found


@pytest.fixture(scope="module")
def half(lived: Lived) -> Replayed:
    """The price that was in force, replayed."""
    return lived.under(0.5)[0]


def test_a_replay_at_the_price_in_force_comes_close_to_what_happened(lived: Lived, half: Replayed) -> None:
    """Its Gini, mean load and number of lawyers are about those of the snapshot; without a price of load it would not be so even."""
    (free,) = lived.under(0.0)
    observed = gini(lived.observed)
    assert half.distribution.lawyers == len(lived.observed)
    assert half.distribution.gini_utilisation == pytest.approx(observed, abs=0.08)
    assert half.distribution.mean_utilisation == pytest.approx(lived.observed.mean(), rel=0.15)
    assert free.distribution.gini_utilisation is not None
    assert free.distribution.gini_utilisation > observed + 0.08
    assert (lived.month.top_n, lived.month.rule) == (8, OfferRule(0.5, 0.05, 0.0, None))


def test_load_that_costs_more_is_spread_more_evenly_at_the_price_of_relevance(lived: Lived) -> None:
    """On the same cases, with the same moods."""
    cheap, dear = (one.trade_off for one in lived.under(0.1, 0.5))
    assert (cheap.gini_utilisation or 0.0) > (dear.gini_utilisation or 1.0) + 0.03
    assert (cheap.mean_relevance or 0.0) > (dear.mean_relevance or 1.0) + 0.005


@pytest.mark.parametrize("others", [(0.5, 0.0), (0.2, 0.5, 1.5), (0.5, 0.5)])
def test_a_price_does_not_depend_on_those_replayed_beside_it(lived: Lived, half: Replayed, others: tuple[float, ...]) -> None:
    """Each has a marketplace of its own, and all meet the same cases: alone or together, a price brings about the same."""
    for one in lived.under(*others):
        assert (one.rule.price == 0.5) == same(one, half)


def test_what_is_read_again_is_replayed_the_same(lived: Lived, half: Replayed) -> None:
    """Equal facts give equal results, to the last bit, in another reading and in other batches."""
    engine = open_engine(lived.url)
    with engine.connect() as connection:
        again = last_month(connection)
    engine.dispose()
    assert again.model == lived.month.model
    assert same(again.under([0.5], HandWeights())[0], half)


def test_progress_is_told_up_to_the_end(lived: Lived) -> None:
    """Cases done of all, rising, until all are."""
    told: list[tuple[int, int]] = []
    lived.month.under([0.5], HandWeights(), lambda done, of: told.append((done, of)))
    cases = len(lived.month.past.cases)
    assert told[-1] == (cases, cases)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert len(told) > 1


def test_a_large_marketplace_is_replayed_in_part(lived: Lived, half: Replayed) -> None:
    """The same share of lawyers and of cases; who was not drawn is neither offered a case nor counted."""
    engine = open_engine(lived.url)
    with engine.connect() as connection:
        part = Past.read(connection, AS_OF, most=len(lived.month.past.cases) // 2)
    engine.dispose()
    drawn = part.market.loads.active
    assert part.share == pytest.approx(0.5, abs=0.01)
    assert drawn.mean() == pytest.approx(0.5, abs=0.15)
    assert len(part.cases) == pytest.approx(len(lived.month.past.cases) / 2, rel=0.15)
    shown: set[Any] = set()
    noting = Noting()
    (found,) = replayed(part, reactions=noting, top_n=8)
    shown.update(*(who for _, who in noting.shown))
    ids = np.array(part.market.profiles.uuids)
    assert shown <= set(ids[drawn])
    assert found.distribution.lawyers == drawn.sum()
    (smaller,) = replace(lived.month, past=part).under([0.5], HandWeights())
    assert smaller.distribution.gini_utilisation == pytest.approx(half.distribution.gini_utilisation, abs=0.1)
    assert lived.month.past.market.loads.active.all()


@settings(max_examples=30, deadline=None)
@given(shares=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted))
def test_whoever_is_in_a_small_part_is_in_a_larger_one(lived: Lived, shares: list[float]) -> None:
    """Drawn by ids alone, so that a growing marketplace keeps most of its sample; nobody comes back who was inactive."""
    small, large = (lived.month.past.thinned(share) for share in shares)
    assert not np.any(small.market.loads.active & ~large.market.loads.active)
    assert {case.id for case, _ in small.cases} <= {case.id for case, _ in large.cases}
    whole = lived.month.past.thinned(1.0)
    assert whole.market.loads.active.tolist() == lived.month.past.market.loads.active.tolist()
    assert whole.cases == lived.month.past.cases
    nobody = replace(lived.month.past.market, loads=replace(lived.month.past.market.loads, active=np.zeros(len(ids_of(lived)), dtype=bool)))
    assert not replace(lived.month.past, market=nobody).thinned(shares[1]).market.loads.active.any()


def test_the_worth_of_an_offer_follows_the_database_through_the_month(lived: Lived) -> None:
    """Fed with what really happened, a rehearsal reckons on each night what the database says of it."""
    engine = open_engine(lived.url)
    since = AS_OF - 30 * DAY
    with engine.connect() as connection:
        happened = facts(connection)
        past = lived.month.past
        sent = [(micros(at), 1) for (at,) in happened("SELECT sent_at FROM litgo.offers ORDER BY 1")]
        signed = happened("SELECT created_at FROM litgo.contracts WHERE status <> 'canceled' ORDER BY 1")
        contracts = [Contract(0, micros(at), micros(at) + WINDOW) for (at,) in signed]
        rehearsal = Rehearsal(past.market, EVERYBODY, Conditions(), RULE, contracts, sent)
        for days in range(0, 31, 5):
            rehearsal.night(micros(since) + days * DAY_US)
            assert rehearsal.market.loads.p_win == read_p_win(connection, since + days * DAY)
    engine.dispose()


def facts(connection: Connection) -> Callable[[str], list[Any]]:
    from sqlalchemy import text

    return lambda statement: list(connection.execute(text(statement)).all())


def ids_of(lived: Lived) -> NDArray[np.void]:
    return lived.month.past.market.profiles.ids


def same(one: Replayed, other: Replayed) -> bool:
    """Whether two replays came to the same, for every lawyer."""
    return (one.trade_off, one.distribution) == (other.trade_off, other.distribution) and np.array_equal(one.utilisation, other.utilisation)
