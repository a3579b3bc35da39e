"""What is told of what was seen: rules that hold for all of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.orchestration.operations import failures, verdicts
from litgo_pipelines.orchestration.operations.failures import QUIET, Failure, Told
from litgo_pipelines.orchestration.operations.messages import Links
from litgo_pipelines.orchestration.operations.verdicts import Evaluation, Standing

LINKS = Links("https://dagster.example")
BEGIN = datetime(2026, 3, 10, 12, tzinfo=UTC)
CHECK = "offer_distribution:gini_within_limit"

happened = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 5 * 24 * 60)), min_size=1, max_size=40)


@given(happened, st.integers(1, 12))
def test_every_failure_is_told_or_soon_follows_one_that_was_told(found: list[tuple[str, int]], at_once: int) -> None:
    """However they are divided among looks; nobody is told of the same job and error twice within `QUIET`, and each is counted once."""
    ordered = [
        Failure(f"run-{number:02}", job, "step", "Error", BEGIN + timedelta(minutes=minute))
        for number, (job, minute) in enumerate(sorted(found, key=lambda one: one[1]))
    ]
    told: dict[str, Told] = {}
    keys: list[str] = []
    counted = 0
    for start in range(0, len(ordered), at_once):
        batch = ordered[start : start + at_once]
        before = told
        told, messages = failures.plan(told, batch, LINKS, batch[-1].ended_at)
        keys += [one.key for one in messages]
        counted += sum(one.more for one in told.values()) - sum(one.more for one in before.values())
    by_job = {job: [one for one in ordered if one.job == job] for job in ("a", "b")}
    for ones in by_job.values():
        spoken = [one.ended_at for one in ones if f"run-failed:{one.run_id}" in keys]
        assert all(later - earlier >= QUIET for earlier, later in pairwise(spoken))
        assert all(any(timedelta() <= one.ended_at - at < QUIET for at in spoken) for one in ones)
    assert counted <= len(ordered) - len(keys)


def test_a_job_that_fails_every_night_is_told_of_every_night() -> None:
    """Also where the run of one night ends some seconds sooner than that of the night before."""
    told: dict[str, Told] = {}
    keys = []
    for night in range(4):
        one = Failure(f"r{night}", "a", None, "Error", BEGIN + timedelta(days=night, seconds=-10 * night))
        told, messages = failures.plan(told, [one], LINKS, one.ended_at)
        keys += [message.key for message in messages]
    assert keys == [f"run-failed:r{night}" for night in range(4)]


def test_the_next_message_says_how_many_failures_nobody_was_told_of() -> None:
    """Also where the first of them is long past what is remembered of a single failure."""
    first = Failure("r0", "a", None, "Error", BEGIN)
    later = [Failure(f"r{n}", "a", None, "Error", BEGIN + timedelta(hours=n)) for n in (1, 2)]
    told, _ = failures.plan({}, [first, *later], LINKS, BEGIN + timedelta(hours=3))
    told, messages = failures.plan(told, [], LINKS, BEGIN + timedelta(days=9))
    assert messages == []
    _, (message,) = failures.plan(told, [Failure("r9", "a", None, "Error", BEGIN + timedelta(days=9))], LINKS, BEGIN + timedelta(days=9))
    assert "2 more failures were not told of" in message.body


def evaluated(number: int, verdict: verdicts.Verdict, partition: str | None = None) -> Evaluation:
    return Evaluation(CHECK, number, verdict, f"run-{number}", BEGIN, partition=partition)


def test_what_is_said_of_an_older_day_later_is_no_news() -> None:
    """A gap that is filled in after the newest day was judged neither fails nor mends the check."""
    standing, told = verdicts.plan({}, [evaluated(1, "pass", "2026-03-09")], LINKS)
    assert told == []
    standing, told = verdicts.plan(standing, [evaluated(2, "WARN", "2026-03-07")], LINKS)
    assert told == []
    standing, told = verdicts.plan(standing, [evaluated(3, "WARN", "2026-03-10")], LINKS)
    assert [one.key for one in told] == [f"check-failed:{CHECK}:run-3:WARN"]
    standing, told = verdicts.plan(standing, [evaluated(4, "pass", "2026-03-08")], LINKS)
    assert told == []
    assert standing[CHECK] == Standing(evaluation=3, failing="WARN", partition="2026-03-10")


@given(st.lists(st.sampled_from(["pass", "WARN", "ERROR", "insufficient data"]), max_size=20))
def test_messages_of_a_check_take_turns(verdicts_in_turn: list[verdicts.Verdict]) -> None:
    """Between two failures that are told without a pass in between severity rose; a pass is told after a failure alone."""
    standing: dict[str, Standing] = {}
    keys: list[str] = []
    for number, verdict in enumerate(verdicts_in_turn):
        standing, told = verdicts.plan(standing, [evaluated(number, verdict)], LINKS)
        keys += [one.key for one in told]
        again, nothing = verdicts.plan(standing, [evaluated(number, verdict)], LINKS)
        assert (again, nothing) == (standing, [])
    kinds = ["pass" if key.startswith("check-passed") else key.rpartition(":")[2] for key in keys]
    assert kinds[:1] != ["pass"]
    assert all(
        pair in {("WARN", "ERROR"), ("WARN", "pass"), ("ERROR", "pass"), ("pass", "WARN"), ("pass", "ERROR")} for pair in pairwise(kinds)
    )
    said = [one for one in verdicts_in_turn if one != "insufficient data"]
    assert (standing[CHECK].failing is None if CHECK in standing else True) == (not said or said[-1] == "pass")
