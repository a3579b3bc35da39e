"""Lawyers and clients in memory answer as `behaviour` says and as in the database; their record reads as the database's would."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr
from sqlalchemy import Engine, insert

from litgo_pipelines.casework.draws import as_numbers, paired
from litgo_pipelines.casework.market import micros
from litgo_pipelines.casework.matching import score_many
from litgo_pipelines.casework.rehearsal import WINDOW, Conditions, Reaction, Rehearsal
from litgo_pipelines.casework.responses import read_answers
from litgo_pipelines.equity.allocation import OfferRule
from litgo_pipelines.marketplace import tables
from litgo_pipelines.marketplace.match_log import OUTCOMES, read_matches
from litgo_pipelines.marketplace.names import FEATURE_COLUMNS
from litgo_pipelines.ranking.ranker import HAND_WEIGHTS_VERSION, HandWeights
from litgo_pipelines.simulation import behaviour, fate, reactions, truth
from litgo_pipelines.simulation.behaviour import DAY, HOUR
from litgo_pipelines.simulation.memory import START, SimulatedCase, World
from litgo_pipelines.simulation.reactions import OFFER_LIFETIME, Settled, TrueReactions

DAYS = 40
UNKNOWN = -1


@dataclass(frozen=True)
class Lived:
    """A crowded marketplace that was offered cases by relevance, with what it answered. Offers as arrays of shape (n,)."""

    world: World
    reactions: TrueReactions
    answered: list[tuple[SimulatedCase, NDArray[np.float64], Reaction]]

    @property
    def record(self) -> list[Settled]:
        return self.reactions.record

    def every(self, name: str) -> NDArray[Any]:
        """A field of `Settled` over all offers."""
        return np.concatenate([getattr(one, name) for one in self.record])

    @property
    def relevance(self) -> NDArray[np.float64]:
        return np.concatenate([relevance for _, relevance, _ in self.answered])

    @property
    def speed(self) -> NDArray[np.float64]:
        return self.world.traits[np.concatenate([one.decision.chosen for one in self.record]), 2]

    @property
    def signed(self) -> list[tuple[Settled, float, Reaction]]:
        """Decisions that ended in a contract, with the relevance of its lawyer."""
        together = zip(self.record, self.answered, strict=True)
        return [(one, float(relevance[one.winner]), reaction) for one, (_, relevance, reaction) in together if one.winner >= 0]


def live(world: World, days: int, utilisation: float) -> Lived:
    reacting = TrueReactions(world)
    answered: list[Any] = []

    def react(decision: Any, used: NDArray[np.float64]) -> Reaction:
        found = reacting(decision, used)
        answered.append((cases[len(answered)], reacting.relevance[decision.allocation.chosen], found))
        return found

    rehearsal = Rehearsal(world.market, react, Conditions(top_n=6), OfferRule(price=0.0, bonus=0.0))
    cases: list[SimulatedCase] = []
    for number in range(days):
        today = world.day(number, utilisation)
        cases += today
        scored = score_many(world.market, [(one.case, one.at) for one in today], HandWeights(), np.array([one.vector for one in today]))
        for one, candidates in zip(today, scored, strict=True):
            reacting.relevance = world.relevance(one, candidates)
            rehearsal.offer(one.case, one.at, candidates, HAND_WEIGHTS_VERSION)
        rehearsal.night(micros(START + timedelta(days=number + 1)))
    return Lived(world, reacting, answered)


@pytest.fixture(scope="module")
def lived() -> Lived:
    return live(World.make(6, 200, DAYS), DAYS, 1.2)


def agrees(seen: NDArray[np.bool_], probability: NDArray[np.float64] | float) -> None:
    """As many events as their probabilities make expect, within four standard deviations."""
    expected = np.broadcast_to(probability, seen.shape)
    assert seen.size > 100
    assert abs(seen.sum() - expected.sum()) < 4 * np.sqrt((expected * (1 - expected)).sum())


def test_some_never_answer_and_some_too_late(lived: Lived) -> None:
    """Six in a hundred are silent; of the others who takes a day or more lets the offer run out: the slow more often."""
    expired = np.isnan(lived.every("answer_us"))
    late = 1 - ndtr((np.log(24) - 1.2 + 0.4 * lived.speed) / 0.8)
    for those in (lived.speed < -0.5, lived.speed > 0.5, np.ones(len(expired), dtype=bool)):
        agrees(expired[those], (0.06 + 0.94 * late)[those])
    assert np.nanmax(lived.every("answer_us")) < OFFER_LIFETIME


def test_answers_take_hours_as_the_lawyers_are_quick(lived: Lived) -> None:
    """Half of the lawyers of each speed answer within exp(1.2 - .4 speed) hours (counting those who run out as later)."""
    waited = np.nan_to_num(lived.every("answer_us"), nan=np.inf)
    for those in (lived.speed < -0.5, lived.speed > 0.5):
        agrees(waited[those] < (np.exp(1.2 - 0.4 * lived.speed) * HOUR)[those], 0.94 * 0.5)


def test_lawyers_accept_by_relevance_and_reluctantly_when_nearly_full(lived: Lived) -> None:
    """Of those who answer, at each level of relevance and load, as many are interested as `truth` says."""
    answered = ~np.isnan(lived.every("answer_us"))
    interested, load, relevance = lived.every("interested"), lived.every("utilisation"), lived.relevance
    assert not interested[~answered].any()
    expected = truth.acceptance_probability(relevance, load)
    for those in (load < 0.7, load > 0.9, relevance < 0.3, (relevance > 0.3) & (relevance < 0.7), relevance > 0.7):
        agrees(interested[answered & those], expected[answered & those])


def test_what_is_said_of_a_match(lived: Lived) -> None:
    """Nothing where an offer ran out or was declined for lack of time; else declined, accepted, or what the contract came to."""
    outcome, interested, expired = lived.every("outcome"), lived.every("interested"), np.isnan(lived.every("answer_us"))
    codes = {name: OUTCOMES.index(name) for name in OUTCOMES}
    assert set(outcome[expired]) == {UNKNOWN}
    assert set(outcome[interested]) == {codes["lost"], codes["accepted"], codes["won"]}
    declined = ~expired & ~interested
    assert set(outcome[declined]) == {UNKNOWN, codes["declined"]}
    # Who would have accepted with free hands does so for lack of them: nobody below 70 % of capacity.
    assert set(outcome[declined & (lived.every("utilisation") <= 0.7)]) == {codes["declined"]}
    busy = declined & (lived.every("utilisation") > 0.8)
    free = truth.acceptance_probability(lived.relevance, np.zeros(len(outcome)))
    now = truth.acceptance_probability(lived.relevance, lived.every("utilisation"))
    agrees(outcome[busy] == UNKNOWN, ((free - now) / (1 - now))[busy])
    winners = np.concatenate([np.arange(len(one.outcome)) == one.winner for one in lived.record])
    assert set(outcome[interested & ~winners]) == {codes["accepted"]}


def test_clients_wait_for_all_answers_ponder_and_choose_or_walk_away(lived: Lived) -> None:
    """Within half a day after the last answer; six in a hundred want nobody; nobody is chosen who was not interested."""
    wanted = [one for one in lived.record if one.interested.any()]
    assert all(one.winner == UNKNOWN for one in lived.record if not one.interested.any())
    agrees(np.array([one.winner >= 0 for one in wanted]), 0.94)
    pondered = []
    for one, _, reaction in lived.signed:
        assert one.interested[one.winner]
        assert reaction.contract is not None
        sent = micros(one.decision.ask.at)
        last = sent + np.nan_to_num(one.answer_us, nan=OFFER_LIFETIME).max()
        pondered.append((reaction.contract.signed_at - last) / (12 * HOUR))
        assert reaction.contract.lawyer == one.decision.chosen[one.winner]
        assert reaction.contract.signed_at == sent + one.sign_us
    assert min(pondered) >= 0
    assert max(pondered) < 1
    assert np.mean(pondered) == pytest.approx(0.5, abs=0.05)
    assert all(np.isnan(one.sign_us) for one in lived.record if one.winner == UNKNOWN)


def test_an_offer_is_in_flight_until_it_is_answered_runs_out_or_the_client_has_chosen(lived: Lived) -> None:
    """Interest holds until the client has chosen; a refusal, or a day without an answer, frees at once."""
    for one, (_, _, reaction) in zip(lived.record, lived.answered, strict=True):
        sent = micros(one.decision.ask.at)
        waited = sent + np.nan_to_num(one.answer_us, nan=OFFER_LIFETIME).astype(np.int64)
        np.testing.assert_array_equal(reaction.free_at[~one.interested], waited[~one.interested])
        chosen = reaction.free_at[one.interested]
        assert np.all(chosen == chosen[:1])
        assert np.all(chosen >= waited.max())


def test_clients_are_drawn_to_relevance_and_to_who_stands_first(lived: Lived) -> None:
    """Contracts of the first place, and of the most relevant, are as many as shares of the weights among the interested make expect."""
    first, likely_first, best, likely_best = [], [], [], []
    for one, (_, relevance, _) in zip(lived.record, lived.answered, strict=True):
        among = np.flatnonzero(one.interested)
        if one.winner >= 0 and len(among) > 1:
            weight = truth.choice_weight(relevance[among], among + 1)
            share = weight / weight.sum()
            first.append(one.winner == among[0])
            likely_first.append(share[0])
            top = int(np.argmax(relevance[among]))
            best.append(one.winner == among[top])
            likely_best.append(share[top])
    agrees(np.array(first), np.array(likely_first))
    agrees(np.array(best), np.array(likely_best))
    assert np.mean(likely_first) > 1.2 / np.mean([one.interested.sum() for one in lived.record if one.interested.sum() > 1])


def test_about_as_many_cases_end_in_a_contract_as_demand_is_reckoned_with() -> None:
    """Where lawyers have room, near `CONTRACTS_PER_CASE`, which scales how many cases come."""
    roomy = live(World.make(8, 300, 15), 15, 0.5)
    assert np.mean([one.winner >= 0 for one in roomy.record]) == pytest.approx(behaviour.CONTRACTS_PER_CASE, abs=0.06)


def test_contracts_end_canceled_reviewed_or_in_silence(lived: Lived) -> None:
    """Three in a hundred are canceled; nine in ten of the others are reviewed; the end is 2 to 45 days after the signing."""
    signed = lived.signed
    canceled = np.array([one.canceled for one, _, _ in signed])
    agrees(canceled, 0.03)
    never = np.array([one.known_at == np.iinfo(np.int64).max for one, _, _ in signed])
    assert not (never & canceled).any()
    agrees(never[~canceled], 0.1)
    lengths = []
    for one, _, reaction in signed:
        assert reaction.contract is not None
        length = one.known_at - reaction.contract.signed_at
        counts = reaction.contract.counts_until - reaction.contract.signed_at
        assert counts == (min(WINDOW, length) if one.canceled else WINDOW)
        if one.known_at < np.iinfo(np.int64).max:
            lengths.append(length / DAY)
    assert min(lengths) >= 2
    assert max(lengths) <= 45
    agrees(np.array(lengths) < np.exp(2.1), 0.5)


def test_reviews_tell_how_cases_ended(lived: Lived) -> None:
    """Settled in 15 of 100, else won as `truth` says; stars of 1 to 5, more for the relevant and the won; outcomes say the same."""
    told = [(one, relevance) for one, relevance, _ in lived.signed if not one.canceled and one.known_at < np.iinfo(np.int64).max]
    reviews = lived.reactions.reviews
    assert [(one.known_at, int(one.decision.chosen[one.winner])) for one, _ in told] == [(one.at, one.lawyer) for one in reviews]
    outcome = np.array([one.outcome for one in reviews])
    relevance = np.array([of for _, of in told])
    agrees(outcome == "settled", 0.15)
    agrees(outcome[outcome != "settled"] == "won", truth.win_probability(relevance)[outcome != "settled"])
    said = [OUTCOMES[one.outcome[one.winner]] for one, _ in told]
    assert said == ["accepted" if one == "settled" else one for one in outcome.tolist()]
    stars = np.array([one.stars for one in reviews])
    assert set(stars) <= {1, 2, 3, 4, 5}
    assert stars[outcome == "won"].mean() > stars[outcome == "settled"].mean() > stars[outcome == "lost"].mean()
    assert np.corrcoef(stars, relevance)[0, 1] > 0.3


def test_a_case_that_nobody_can_take_comes_to_nothing(lived: Lived) -> None:
    """No candidates: no offers, no contract, nothing in flight."""
    last = lived.record[-1].decision
    nobody = replace(last, allocation=replace(last.allocation, chosen=np.zeros(0, dtype=np.intp)))
    reacting = TrueReactions(lived.world)
    found = reacting(nobody, np.zeros(0))
    assert (found.free_at.size, found.contract) == (0, None)
    assert reactions.match_log(reacting.record, np.iinfo(np.int64).max).num_rows == 0


def test_a_lawyers_answer_hangs_on_nobody_else(lived: Lived) -> None:
    """The same lawyers asked in another order, or some of them alone, answer as before: policies meet the same luck."""
    for one, (case, relevance, _) in list(zip(lived.record, lived.answered, strict=True))[:40]:
        reacting = TrueReactions(lived.world)
        allocation = one.decision.allocation
        turned = slice(None, None, -2)
        fewer = replace(one.decision, allocation=replace(allocation, chosen=allocation.chosen[turned]))
        hidden = np.zeros(len(allocation.value))
        hidden[allocation.chosen] = relevance
        reacting.relevance = hidden
        reacting(fewer, one.utilisation[turned])
        (again,) = reacting.record
        np.testing.assert_array_equal(again.answer_us, one.answer_us[turned])
        np.testing.assert_array_equal(again.interested, one.interested[turned])
        assert again.decision.case == case.case


def test_answers_are_those_of_the_database_with_the_same_luck(lived: Lived) -> None:
    """Given the same draws, `fate` has the same lawyers interested, with the same reasons, at the same time, and the same one chosen."""
    both = 0
    for one, (case, relevance, _) in list(zip(lived.record, lived.answered, strict=True))[:300]:
        lawyers, sent, count = one.decision.chosen, micros(one.decision.ask.at), len(one.decision.chosen)
        cases = np.zeros_like(lived.world.market.loads.cases)
        cases[lawyers] = one.utilisation * lived.world.market.loads.capacity[lawyers]
        market = replace(lived.world.market, loads=replace(lived.world.market.loads, cases=cases))
        draws = paired(lived.world.numbers[lawyers], as_numbers(np.frombuffer(case.case.id.bytes, dtype="V16"))[0])
        seen = {
            "case_id": [case.case.id] * count,
            "status": ["pending"] * count,
            "sent": [sent] * count,
            "expires": [sent + OFFER_LIFETIME] * count,
            "responded": [None] * count,
            "position": range(1, count + 1),
        }
        pairs = fate._Pairs(lawyers, relevance)
        people = fate.People(lived.world.traits, lived.world.joined)
        found = fate._answers(seen, market, people, pairs, draws, sent + 10 * DAY)
        assert (found.status == "expired").tolist() == np.isnan(one.answer_us).tolist()
        assert (found.status == "interested").tolist() == one.interested.tolist()
        waited = np.nan_to_num(one.answer_us, nan=OFFER_LIFETIME).astype(np.int64)
        assert found.settled.tolist() == (sent + waited).tolist()
        declined = found.status == "declined"
        assert ((found.reason == "capacity") & declined).tolist() == ((one.outcome == UNKNOWN) & ~np.isnan(one.answer_us)).tolist()
        choices = fate._choices(seen, pairs, draws, found, sent + 10 * DAY)
        if len(choices.signed) and one.winner >= 0:
            assert choices.signed.tolist() == [one.winner]
            both += 1
    assert both > 100


class Chronicle:
    """Writes what happened in memory up to a moment into a database, as the product and `fate` would have left it there."""

    def __init__(self, engine: Engine, lived: Lived, as_of: datetime) -> None:
        self._lived, self._as_of, self._until = lived, as_of, micros(as_of)
        self._rows: dict[str, list[dict[str, Any]]] = {}
        uuids = lived.world.market.profiles.uuids
        self._rows["lawyers"] = [{"id": one, "name": "L", "primary_area": "civil"} for one in uuids]
        for (case, _, _), settled in zip(lived.answered, lived.record, strict=True):
            if case.at <= as_of:
                self._note(case, settled)
        with engine.begin() as connection:
            names = "lawyers clients cases match_requests match_candidates case_matches offers contracts reviews"
            for name in names.split():
                connection.execute(insert(tables.metadata.tables[f"litgo.{name}"]), self._rows[name])

    def _add(self, table: str, **values: Any) -> None:
        self._rows.setdefault(table, []).append(values)

    def _note(self, case: SimulatedCase, one: Settled) -> None:
        of, decision = case.case, one.decision
        chosen_at = micros(case.at) + one.sign_us if one.winner >= 0 else one.known_at
        decided = chosen_at <= self._until
        status = "open" if not decided else "contracted" if one.winner >= 0 else "closed"
        self._add("clients", id=of.client_id)
        self._add(
            "cases",
            id=of.id,
            client_id=of.client_id,
            area=of.area,
            urgency_h=of.urgency_h,
            summary=of.summary,
            status=status,
            created_at=case.at,
        )
        self._add(
            "match_requests",
            id=decision.request_id,
            kind="matching",
            case_id=of.id,
            status="ok",
            started_at=case.at,
            model_version=decision.model_version,
        )
        for place in range(len(one.outcome)):
            self._offer(case, one, place, decided)
        if one.winner >= 0 and decided:
            self._contract(case, one, decision.chosen_ids[one.winner], chosen_at)

    def _offer(self, case: SimulatedCase, one: Settled, place: int, decided: bool) -> None:
        decision, candidate = one.decision, int(one.decision.allocation.chosen[place])
        pair = {"case_id": case.case.id, "lawyer_id": decision.chosen_ids[place]}
        score = float(decision.candidates.score[candidate])
        self._add(
            "match_candidates",
            request_id=decision.request_id,
            lawyer_id=pair["lawyer_id"],
            score=score,
            u_eff=float(decision.u_eff[candidate]),
            outcome="shown",
            reason="value",
        )
        features = [None if np.isnan(value) else float(value) for value in decision.candidates.features[candidate]]
        self._add(
            "case_matches",
            id=decision.match_id(place + 1),
            request_id=decision.request_id,
            position=place + 1,
            raw_score=0.0,
            score=score,
            equity_price=0.0,
            fair_score=0.0,
            propensity=1.0,
            created_at=case.at,
            **pair,
            **dict(zip(FEATURE_COLUMNS, features, strict=True)),
        )
        answered = None if np.isnan(one.answer_us[place]) else case.at + timedelta(microseconds=int(one.answer_us[place]))
        expires = case.at + timedelta(hours=24)
        status, reason = "pending", None
        if answered is None or answered > self._as_of:
            status = "expired" if answered is None and expires <= self._as_of else "pending"
            answered = None
        elif one.interested[place]:
            status = "closed" if decided else "interested"
        else:
            status, reason = "declined", "capacity" if one.outcome[place] == UNKNOWN else "fee"
        self._add(
            "offers",
            id=uuid4(),
            match_id=decision.match_id(place + 1),
            status=status,
            decline_reason=reason,
            sent_at=case.at,
            expires_at=expires,
            responded_at=answered,
            **pair,
        )

    def _contract(self, case: SimulatedCase, one: Settled, lawyer: Any, signed_at: float) -> None:
        ended = one.known_at <= self._until
        parties = {"lawyer_id": lawyer, "client_id": case.case.client_id}
        status = "active" if not ended else "canceled" if one.canceled else "closed"
        contract = uuid4()
        self._add("contracts", id=contract, case_id=case.case.id, status=status, created_at=_moment(signed_at), **parties)
        if status == "closed":
            outcome = OUTCOMES[one.outcome[one.winner]].replace("accepted", "settled")
            self._add("reviews", id=uuid4(), contract_id=contract, rating=4, outcome=outcome, created_at=_moment(one.known_at), **parties)


def _moment(microseconds: float) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(microseconds))


@pytest.fixture(scope="module")
def small() -> Lived:
    return live(World.make(9, 60, DAYS), DAYS, 1.0)


@pytest.fixture(params=[12, DAYS])
def moment(request: pytest.FixtureRequest, small: Lived, engine: Engine) -> datetime:
    """A moment up to which the small marketplace is written to the database: amid its days, and at their end."""
    found = START + timedelta(days=request.param)
    Chronicle(engine, small, found)
    return found


def test_the_match_log_in_memory_is_that_of_the_database(small: Lived, moment: datetime, database_url: str) -> None:
    """Row by row what the product would read: the same cases left out, the same outcomes, positions, features; nothing hidden besides."""
    mine, read = reactions.match_log(small.record, micros(moment)), read_matches(database_url, moment)
    assert mine.schema.names == read.schema.names
    assert [_plain(one.type) for one in mine.schema] == [_plain(one.type) for one in read.schema]
    mine_rows, read_rows = _rows(mine), _rows(read)
    assert len(mine_rows) > 50
    assert [row[1:] for row in mine_rows] == [row[1:] for row in read_rows]
    assert _same_partition([row[0] for row in mine_rows], [row[0] for row in read_rows])
    undecided = [one for one in small.record if one.known_at > micros(moment)]
    assert len(undecided) > 10
    assert set(mine["case_id"].to_pylist()).isdisjoint(one.decision.case.id.bytes for one in undecided)


def _plain(kind: pa.DataType) -> str:
    """A type by its name: that of moments apart from how UTC is spelled."""
    return str(kind).replace("tz=Etc/UTC", "tz=UTC")


def _rows(table: pa.Table) -> list[tuple[Any, ...]]:
    """Rows with the request first, in the order of case and lawyer; an unknown feature is None or NaN."""
    assert table.schema.names[:3] == ["request", "case_id", "lawyer_id"]
    found = [tuple(None if value != value else value for value in row.values()) for row in table.to_pylist()]
    return sorted(found, key=lambda row: row[1:3])


def _same_partition(one: list[int], other: list[int]) -> bool:
    """Whether two numberings put the same rows together."""
    return len(set(one)) == len(set(other)) == len(set(zip(one, other, strict=True)))


def test_answers_in_memory_are_those_of_the_database(small: Lived, moment: datetime, engine: Engine) -> None:
    """What a fit of responses sees: offers of 3 to 33 days before, with nothing that was not known by then; cases adjacent."""
    mine = reactions.answers(small.record, moment, HAND_WEIGHTS_VERSION)
    with engine.connect() as connection:
        read = read_answers(connection, moment, HAND_WEIGHTS_VERSION)
    assert len(mine.case) == len(read.case) > 100
    for found in (mine, read):
        assert np.count_nonzero(np.diff(found.case)) + 1 == len(np.unique(found.case))
    # The database tells the newest cases first.
    order = np.lexsort((mine.position, -mine.case))
    for name in ("position", "comparable", "accepted", "won", "canceled"):
        np.testing.assert_array_equal(getattr(mine, name)[order], getattr(read, name), err_msg=name)
    for name in ("score", "u_eff", "answer_us", "sign_us"):
        np.testing.assert_allclose(getattr(mine, name)[order], getattr(read, name), rtol=1e-6, err_msg=name)
    assert _same_partition(mine.case[order].tolist(), read.case.tolist())


def test_a_cancellation_to_come_is_not_seen(lived: Lived) -> None:
    """Of contracts that will be canceled, only those count as such that were by the moment of asking."""
    canceled = [one for one in lived.record if one.canceled]
    seen = {}
    for days in (20, 27):
        moment = START + timedelta(days=days)
        since, until = moment - timedelta(days=33), moment - timedelta(days=3)
        seen[days] = int(reactions.answers(lived.record, moment, HAND_WEIGHTS_VERSION).canceled.sum())
        asked = [one for one in canceled if since < one.decision.ask.at <= until]
        assert seen[days] == sum(one.known_at <= micros(moment) for one in asked) < len(asked)
    assert 0 < seen[20] < seen[27]


def test_what_another_ranker_promised_is_not_comparable(lived: Lived) -> None:
    """Whose scores are asked for is told apart from whose were recorded."""
    moment = START + timedelta(days=30)
    assert reactions.answers(lived.record, moment, HAND_WEIGHTS_VERSION).comparable.all()
    assert not reactions.answers(lived.record, moment, "learned").comparable.any()


def test_an_empty_record_reads_as_one() -> None:
    """Tables and arrays without rows, of the same kinds."""
    assert reactions.match_log([], 0).num_rows == 0
    found = reactions.answers([], START, HAND_WEIGHTS_VERSION)
    assert found.case.size == found.accepted.size == 0
    assert found.accepted.dtype == bool
