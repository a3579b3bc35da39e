"""What is read of a watched version: which decisions make the reference, which count after it, and which answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from litgo_pipelines.ranking.text import NO_SPACE, SPACE
from litgo_pipelines.rollout.experiments import Verdict
from litgo_pipelines.rollout.quality import Quality, decisions_since, read_quality
from litgo_pipelines.rollout.watch import Reference, judge_watch
from litgo_pipelines.settings import load_settings
from litgo_pipelines_tests.rollout.facts import Offer, Unit, no, write, yes

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
LEAST = 100
LATER = NOON + 1000 * MINUTE


def decided(count: int, begin: int = 1, score: float = 0.5, *, offers: tuple[Offer, ...] = (), **changes: Any) -> list[Unit]:
    """As many decisions of version 1, one a minute from minute `begin` on."""
    given = offers or (Offer(score=score), Offer(score=score))
    return [Unit(NOON + (begin + n) * MINUTE, offers=given, **changes) for n in range(count)]


def look(
    engine: Engine,
    known: Reference | None = None,
    as_of: datetime = LATER,
    since: datetime = NOON,
    was_blocked: bool = False,
    **changes: Any,
) -> Quality:
    settings = load_settings(litgo_reference_decisions=LEAST, **changes)
    with engine.connect() as connection:
        return read_quality(connection, "1", since, known, as_of, settings, was_blocked=was_blocked)


def kept(engine: Engine) -> Reference:
    found = look(engine).fresh_reference
    assert found is not None
    return found


def test_below_so_many_decisions_there_is_no_reference(engine: Engine) -> None:
    """One too few is insufficient data, as none at all is; what was decided is counted all the same."""
    empty = look(engine)
    assert (empty.decisions, empty.fresh_reference, empty.evidence.reference, empty.scores.size) == (0, None, None, 0)
    assert judge_watch(empty.evidence).verdict == "insufficient data"
    write(engine, decided(LEAST - 1))
    found = look(engine)
    assert (found.decisions, found.fresh_reference, found.evidence.fallback_count) == (LEAST - 1, None, 0)
    assert judge_watch(found.evidence).verdict == "insufficient data"


def test_the_reference_is_made_of_the_first_decisions(engine: Engine) -> None:
    """Just so many; those after them are what is compared with it, and are none of it."""
    write(engine, decided(LEAST, score=0.6) + decided(30, begin=200, score=0.3))
    found = look(engine)
    assert found.fresh_reference == found.evidence.reference
    assert found.fresh_reference is not None
    assert (found.fresh_reference.count, found.fresh_reference.space) == (LEAST, SPACE)
    assert found.fresh_reference.mean == pytest.approx(0.6)
    assert (found.decisions, len(found.evidence.scores)) == (LEAST + 30, 30)
    assert found.scores == pytest.approx(np.full(30, 0.3))
    assert found.moments == [NOON + (200 + n) * MINUTE for n in range(30)]
    assert judge_watch(found.evidence).verdict == "degraded"


def test_only_its_own_decisions_since_it_is_watched_count(engine: Engine) -> None:
    """Not those from before, those of another version, failed ones, or ones that are yet to come."""
    write(engine, decided(50, begin=-60) + decided(50, version="2") + decided(50, status="error") + decided(7) + decided(5, begin=2000))
    assert look(engine).decisions == 7
    with engine.connect() as connection:
        assert decisions_since(connection, "2", NOON, LATER) == 50


@pytest.mark.parametrize(("shown", "mean"), [((0.9,), 0.9), ((0.9, 0.5), 0.7), ((0.9, 0.4, 0.5), 0.6), ((0.9, 0.4, 0.5, 0.2, 0.1), 0.6)])
def test_a_decision_is_scored_by_the_mean_of_the_first_three(engine: Engine, shown: tuple[float, ...], mean: float) -> None:
    """One decision, one score; where fewer are shown, by those."""
    write(engine, decided(LEAST, offers=tuple(Offer(score=one) for one in shown)))
    assert kept(engine).mean == pytest.approx(mean)


def test_how_many_are_asked_for_is_no_fall(engine: Engine) -> None:
    """Longer lists reach further down; the champion's choice is as it was."""
    best = tuple(Offer(score=0.8 - n / 10) for n in range(8))
    write(engine, decided(LEAST, offers=best[:5]) + decided(300, begin=200, offers=best))
    found = look(engine)
    assert found.scores == pytest.approx(np.full(300, 0.7))
    assert judge_watch(found.evidence).verdict == "healthy"


def test_a_reference_that_was_kept_stays(engine: Engine) -> None:
    """It is not made again, and what follows is compared with it, also where it should be made of more decisions by now."""
    write(engine, decided(LEAST, score=0.6) + decided(30, begin=200, score=0.6))
    before = kept(engine).model_copy(update={"mean": 0.7})
    for as_of in (LATER, LATER + 24 * HOUR):
        found = look(engine, before.model_copy(update={"accepted_ratio": 0.9, "promised": 0.6, "offers": 200}), as_of)
        assert found.fresh_reference is None
        assert found.evidence.reference is not None
        assert found.evidence.reference.mean == 0.7
    settings = load_settings(litgo_reference_decisions=2 * LEAST)
    with engine.connect() as connection:
        assert read_quality(connection, "1", NOON, before, LATER + 24 * HOUR, settings).evidence.reference == before


def test_answers_in_fallback_never_count(engine: Engine) -> None:
    """Without a vector of the case's text, however bad their scores: neither in the reference nor after it; they are counted apart."""
    write(engine, decided(60, space=NO_SPACE, score=0.1) + decided(LEAST, begin=100, score=0.6))
    write(engine, decided(40, begin=300, score=0.6) + decided(200, begin=400, score=0.05, space=NO_SPACE))
    write(engine, decided(9, begin=980, score=0.1, space=NO_SPACE) + decided(2, begin=990, score=0.6) + decided(1, begin=992, space=None))
    found = look(engine)
    assert found.fresh_reference is not None
    assert found.fresh_reference.mean == pytest.approx(0.6)
    assert found.scores == pytest.approx(np.full(42, 0.6))
    assert (found.evidence.window_count, found.evidence.fallback_count) == (2, 10)
    assert judge_watch(found.evidence).verdict == "healthy"


def test_another_space_is_no_fall(engine: Engine) -> None:
    """Scores over vectors of another model are not compared, even when they have become the most, while the first one still occurs."""
    write(engine, decided(LEAST, score=0.6) + decided(20, begin=150, score=0.6) + decided(500, begin=300, score=0.05, space="another"))
    write(engine, decided(1, begin=790, score=0.6))
    before = Reference(mean=0.6, sd=0.0, count=LEAST, space=SPACE)
    found = look(engine, before, since=NOON + LEAST * MINUTE)
    assert (found.fresh_reference, found.evidence.reference) == (None, before)
    assert found.scores == pytest.approx(np.full(21, 0.6))
    assert judge_watch(found.evidence).verdict == "healthy"


def test_where_the_space_has_gone_for_good_the_reference_is_made_anew(engine: Engine) -> None:
    """Of the first decisions in the one that all newest ones are in; those in fallback are no other space."""
    write(engine, decided(LEAST, score=0.6) + decided(30, begin=150, score=0.6))
    before = kept(engine)
    write(engine, decided(LEAST, begin=200, score=0.05, space=NO_SPACE) + decided(LEAST - 1, begin=300, score=0.3, space="another"))
    assert look(engine, before).evidence.reference == before
    write(engine, decided(1, begin=450, score=0.3, space="another") + decided(50, begin=500, score=0.3, space="another"))
    found = look(engine, before)
    assert found.fresh_reference == found.evidence.reference
    assert found.fresh_reference is not None
    assert (found.fresh_reference.space, found.fresh_reference.mean) == ("another", pytest.approx(0.3))
    assert (found.fresh_reference.began, found.fresh_reference.ended) == (NOON + 300 * MINUTE, NOON + 450 * MINUTE)
    assert found.scores == pytest.approx(np.full(50, 0.3))
    again = look(engine, found.fresh_reference)
    assert (again.fresh_reference, again.scores.size) == (None, 50)


def test_an_outage_before_the_first_look_makes_no_reference(engine: Engine) -> None:
    """Though it has more decisions: those that were enough first are what later ones are compared with."""
    write(engine, decided(LEAST, score=0.6) + decided(300, begin=200, score=0.3, space="local") + decided(20, begin=900, score=0.6))
    found = look(engine)
    assert found.fresh_reference is not None
    assert (found.fresh_reference.space, found.fresh_reference.mean) == (SPACE, pytest.approx(0.6))
    assert found.scores == pytest.approx(np.full(20, 0.6))


def test_an_outage_of_some_hours_leaves_the_reference_as_it_was(engine: Engine) -> None:
    """However many decisions fall into it: those after it are compared with what was before."""
    write(engine, decided(LEAST, score=0.6) + decided(30, begin=400, score=0.6))
    before = kept(engine)
    write(engine, decided(490, begin=450, score=0.3, space="local"))
    assert look(engine, before).evidence.reference == before
    write(engine, decided(20, begin=950, score=0.6))
    after = look(engine, before)
    assert (after.fresh_reference, after.scores.size) == (None, 50)


def test_who_comes_back_is_compared_with_the_first_watch(engine: Engine) -> None:
    """From its first decision on, and not with what it was withdrawn for."""
    write(engine, decided(LEAST, score=0.6) + decided(300, begin=200, score=0.3) + decided(40, begin=901, score=0.3))
    back = NOON + 900 * MINUTE
    before = kept(engine)
    found = look(engine, before, since=back)
    assert (found.fresh_reference, found.decisions, found.scores.size) == (None, 40, 40)
    assert judge_watch(found.evidence).verdict == "degraded"
    assert len(found.features[0]) == 2 * LEAST


@pytest.mark.parametrize("blocked", [True, False])
def test_a_reference_says_whether_the_version_was_blocked_before(engine: Engine, blocked: bool) -> None:
    """One made since may be of bad decisions; one from before stays what it was."""
    write(engine, decided(LEAST))
    made = look(engine, was_blocked=blocked).fresh_reference
    assert made is not None
    assert made.after_block is blocked
    assert look(engine, made, was_blocked=True).evidence.reference == made


def test_a_winner_is_guarded_from_its_first_decision_on(engine: Engine) -> None:
    """What it decided in the experiment that it won is its beginning; of what follows, that since it is champion is judged."""
    won(engine, ended=NOON)
    write(engine, decided(LEAST, begin=-300, score=0.6) + decided(20, begin=-60, score=0.3) + decided(30, score=0.3))
    found = look(engine)
    assert found.fresh_reference is not None
    assert (found.fresh_reference.mean, found.fresh_reference.began) == (pytest.approx(0.6), NOON - 300 * MINUTE)
    assert (found.decisions, found.scores.size) == (30, 30)
    assert judge_watch(found.evidence).verdict == "degraded"


@pytest.mark.parametrize(("verdict", "ended"), [("promote", NOON - 61 * MINUTE), ("harm", NOON), ("stopped", NOON)])
def test_an_experiment_that_made_nobody_champion_is_no_beginning(engine: Engine, verdict: Verdict, ended: datetime) -> None:
    """One that was won long ago, or not at all."""
    won(engine, ended=ended, verdict=verdict)
    write(engine, decided(LEAST, begin=-300, score=0.6))
    assert look(engine).fresh_reference is None


def won(engine: Engine, ended: datetime, verdict: Verdict = "promote") -> None:
    """An experiment of version 1, half a day long."""
    from litgo_pipelines.rollout import experiments
    from litgo_pipelines.rollout.experiment_rules import Ruling
    from litgo_pipelines.rollout.experiments import Terms

    given: dict[str, Any] = {"actor": "a", "at": ended - 12 * HOUR}
    with engine.begin() as connection:
        made = experiments.queue(connection, "1", "7", Terms("ab", (0.1,), 28.0, "keep"), reason="r", evidence={}, **given)
        experiments.start(connection, made, Ruling(verdict="start", reasons=["go"], evidence={}), "7", **given)
        experiments.end(connection, made.id, verdict=verdict, conclusion="c", actor="a", at=ended)


def test_interleaved_lists_never_count(engine: Engine) -> None:
    """They hold the other model's lawyers; control's and those of clients held back are the champion's own."""
    write(engine, decided(60, score=0.6))
    with_experiment(engine, decided(LEAST, begin=70, score=0.1, variant="interleaved"))
    with_experiment(engine, decided(20, begin=200, score=0.6, variant="control"))
    with_experiment(engine, decided(20, begin=300, score=0.6, variant="held back"))
    found = look(engine)
    assert found.decisions == LEAST
    assert found.fresh_reference is not None
    assert found.fresh_reference.mean == pytest.approx(0.6)


def with_experiment(engine: Engine, units: list[Unit]) -> None:
    from litgo_pipelines.rollout import experiments
    from litgo_pipelines.rollout.experiments import Terms

    with engine.begin() as connection:
        terms = Terms("interleaving", (0.1,), 28.0, "keep")
        made = experiments.queue(connection, "2", "1", terms, actor="a", reason="r", at=NOON, evidence={})
    write(engine, units, made.id)


def test_a_window_without_a_decision_is_insufficient_data(engine: Engine) -> None:
    """A reference and nothing after it says nothing; its own decisions are not judged by themselves."""
    write(engine, decided(LEAST, score=0.6))
    found = look(engine, as_of=NOON + timedelta(hours=12))
    assert (found.evidence.window_count, found.evidence.window_mean, found.evidence.scores) == (0, None, ())
    assert judge_watch(found.evidence).verdict == "insufficient data"


def test_the_window_is_as_long_as_the_setting(engine: Engine) -> None:
    """What is shown of late reaches back so many hours, and no further."""
    write(engine, decided(LEAST) + decided(1, begin=300) + decided(2, begin=1000 - 90) + decided(3, begin=1000 - 30))
    assert look(engine, degradation_window=1.0).evidence.window_count == 3
    assert look(engine, degradation_window=2.0).evidence.window_count == 5


def answered(engine: Engine, *after: Offer, as_of: datetime = LATER + 24 * HOUR) -> Quality:
    """A reference of answers that are half accepted at .5 each, and one decision with these offers after it."""
    write(engine, decided(LEAST, offers=(yes(0.1), no())) + decided(1, begin=500, offers=after))
    return look(engine, as_of=as_of)


def test_answers_are_promised_against_accepted(engine: Engine) -> None:
    """Interest is an acceptance, also when the client's choice of somebody else has closed it; a decline is none."""
    # What the statistic has come back to 0 after is not kept: declines come first, so that all of it is.
    found = answered(engine, *[no(score=0.6)] * 6, yes(1.2, score=0.4), Offer("closed", 1.3, score=0.3))
    assert found.fresh_reference is not None
    assert (found.fresh_reference.offers, found.fresh_reference.accepted_ratio) == (2 * LEAST, pytest.approx(1.0))
    assert found.evidence.answers == (*[pytest.approx((0.6, 0))] * 6, pytest.approx((0.4, 1)), pytest.approx((0.3, 1)))


def test_a_reference_learns_of_answers_once_there_was_a_day_for_them(engine: Engine) -> None:
    """Before, those who are quick would stand for all; what was kept of the scores stays as it is."""
    before = answered(engine, yes(), as_of=NOON + LEAST * MINUTE + 23 * HOUR).fresh_reference
    assert before is not None
    assert (before.accepted_ratio, before.offers, before.count) == (None, 0, LEAST)
    after = look(engine, before, NOON + LEAST * MINUTE + 24 * HOUR).fresh_reference
    assert after is not None
    assert after.accepted_ratio == pytest.approx(1.0)
    assert (after.mean, after.sd, after.count) == (before.mean, before.sd, before.count)


def test_what_says_nothing_about_the_match_is_no_answer(engine: Engine) -> None:
    """A decline for lack of time, silence, expiry, a case that was closed before; nor an answer that came after a day."""
    silent = (no("capacity"), Offer(), Offer("expired"), Offer("closed"), yes(24.1))
    found = answered(engine, *silent, no("other", score=0.25))
    assert found.evidence.answers == (pytest.approx((0.25, 0)),)


def test_late_answers_to_the_references_decisions_are_not_held_against_what_follows(engine: Engine) -> None:
    """By when it was decided, not by when it was answered; answers in fallback are left out too."""
    write(engine, decided(LEAST, offers=(yes(20.0), no())) + decided(20, begin=500, offers=(no(), no(), yes(2.0))))
    write(engine, decided(50, begin=600, offers=(no(),), space=NO_SPACE))
    accepted = [one for _, one in look(engine, as_of=LATER + 24 * HOUR).evidence.answers]
    assert (len(accepted), sum(accepted)) == (60, 20)


def slow_to_accept(accepted: int, of: int = 4) -> tuple[Offer, ...]:
    """Offers at .5, of which so many are accepted after eight hours, and the others declined after two."""
    return (*[Offer("declined", 2.0, "fee")] * (of - accepted), *[yes(8.0)] * accepted)


def test_quick_declines_are_no_broken_promise(engine: Engine) -> None:
    """Of the newest decisions only those who decline have answered: they are not looked at before the others had their day."""
    write(engine, decided(LEAST + 200, offers=slow_to_accept(2)))
    write(engine, decided(360, begin=48 * 60 - 361, offers=slow_to_accept(2)))
    result = judge_watch(look(engine, as_of=NOON + 48 * HOUR).evidence)
    assert result.verdict == "healthy"
    assert any("accepted against promised: no alarm" in one for one in result.reasons)


def test_broken_promises_are_found_a_day_later(engine: Engine) -> None:
    """However slowly those answer who do accept."""
    write(engine, decided(LEAST, offers=slow_to_accept(3)) + decided(300, begin=LEAST + 1, offers=slow_to_accept(1)))
    last = NOON + (LEAST + 300) * MINUTE
    verdicts = [judge_watch(look(engine, as_of=last + hours * HOUR).evidence).verdict for hours in (12, 24)]
    assert verdicts == ["healthy", "degraded"]


def test_answers_come_in_the_order_of_the_decisions(engine: Engine) -> None:
    """Not in that of the answers: what is judged does not depend on when it is looked at."""
    write(engine, decided(LEAST, offers=(yes(0.1), no())))
    write(engine, [Unit(NOON + 500 * MINUTE, offers=(Offer("declined", 20.0, "fee", score=0.6), no(score=0.7)))])
    write(engine, [Unit(NOON + 501 * MINUTE, offers=(no(score=0.4),))])
    assert [promised for promised, _ in look(engine, as_of=LATER + 24 * HOUR).evidence.answers] == pytest.approx([0.6, 0.7, 0.4])


def test_only_the_newest_decisions_are_read(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a champion answers, a look at it costs the same."""
    monkeypatch.setattr("litgo_pipelines.rollout.quality.MOST_READ", 20)
    write(
        engine,
        decided(LEAST, offers=(yes(), no())) + decided(60, begin=500, offers=(no(score=0.3),)) + decided(20, begin=600, offers=(no(),)),
    )
    found = look(engine, as_of=LATER + 24 * HOUR)
    assert found.scores == pytest.approx(np.full(20, 0.5))
    assert found.evidence.answers == (pytest.approx((0.5, 0)),) * 20
    assert found.decisions == LEAST + 80


def test_features_are_those_of_the_reference_and_of_the_newest_decisions(engine: Engine) -> None:
    """One row a lawyer in the first three places, unknown ones NaN; where they are not asked for there are none."""
    write(engine, decided(LEAST, features=(0.1, *[None] * 7)) + decided(30, begin=500, features=(0.9,) * 8, offers=(Offer(),) * 5))
    before, of_late = look(engine).features
    assert (before.shape, of_late.shape) == ((2 * LEAST, 8), (90, 8))
    assert before[:, 0] == pytest.approx(np.full(2 * LEAST, 0.1))
    assert np.isnan(before[:, 1:]).all()
    assert of_late == pytest.approx(np.full((90, 8), 0.9))
    with engine.connect() as connection:
        settings = load_settings(litgo_reference_decisions=LEAST)
        plain = read_quality(connection, "1", NOON, None, LATER, settings, with_features=False)
    assert [one.shape for one in plain.features] == [(0, 8), (0, 8)]
