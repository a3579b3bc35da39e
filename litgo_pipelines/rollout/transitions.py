"""Moving the alias `champion`: promotions, rollbacks, and what is left of them when their process died.

MLflow cannot compare and move in one step. So one process at a time writes down what it is about to do, reads the alias again, moves it,
and writes down what became of it; whoever comes next finishes what was left (`adopt`). A person who moves the alias in MLflow wins.
When a version may move lives in `rules`; what somebody else did to the alias is followed in `following`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from litgo_pipelines.marketplace import outbox
from litgo_pipelines.rollout import decisions, experiments, states
from litgo_pipelines.rollout.decisions import Action, Decision
from litgo_pipelines.rollout.following import Busy, alone, answered, follow, observe, stop_experiment
from litgo_pipelines.rollout.freezes import frozen
from litgo_pipelines.rollout.registry import Registry, RegistryUnavailable, Superseded
from litgo_pipelines.rollout.rules import (
    Former,
    PromotionEvidence,
    PromotionResult,
    RollbackEvidence,
    RollbackResult,
    judge_promotion,
    judge_rollback,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

Clock = Callable[[], datetime]
Outcome = Literal["done", "superseded", "refused", "held"]
_T = TypeVar("_T")

PROMOTION_STEPS: Final = ("settled", "intended", "moved", "concluded")
ROLLBACK_STEPS: Final = ("settled", "alerted and intended", "moved", "concluded")
"""What `promotion_steps` and `rollback_steps` yield, where nothing stands against moving the alias."""

_MOVES: Final[tuple[Action, ...]] = ("promotion", "rollback")
_TAG = "litgo.decision."
_TAG_CHARACTERS = 400
_TAGS_LOOKED_BACK = 100
_MOST_TAGGED = 10_000


@dataclass(frozen=True)
class Moved:
    """What became of a promotion or a rollback.

    Attributes:
        decision: the row that says so.
        version: the champion there is afterwards; None: the hand weights answer.
    """

    outcome: Outcome
    decision: Decision
    version: str | None
    reason: str


@dataclass(frozen=True)
class _Wish:
    """Who wants the alias moved, and why. `upstream` is the verdict behind it; `by_itself`: no person decided it."""

    actor: str
    reason: str
    upstream: Mapping[str, Any]
    by_itself: bool
    run_id: str | None


def promote(
    engine: Engine,
    registry: Registry,
    version: str,
    expected: str | None,
    *,
    actor: str,
    reason: str,
    evidence: Mapping[str, Any],
    by_itself: bool,
    clock: Clock,
    run_id: str | None = None,
) -> Moved:
    """Let a version answer everybody, if nothing stands against it. Not to be called within a transaction that holds anything.

    Args:
        expected: champion that this was decided against; None: the hand weights.
        evidence: the verdict that speaks for the version, as JSON can hold it. With `experiment_id` the running experiment of that id ends
            with it, and where it also says `verdict: promote` the version counts as proven.
        by_itself: whether no person decided it; a person may promote in spite of a freeze, a cool-down or a block.
        clock: the present moment.

    Raises:
        NotSaid: actor or reason is empty.
        RegistryUnavailable: MLflow cannot be reached; what was begun is finished by whoever comes next.
        Busy: somebody else has been moving the alias for too long.
    """
    return _exhaust(
        promotion_steps(
            engine,
            registry,
            version,
            expected,
            actor=actor,
            reason=reason,
            evidence=evidence,
            by_itself=by_itself,
            clock=clock,
            run_id=run_id,
        )
    )


def promotion_steps(
    engine: Engine,
    registry: Registry,
    version: str,
    expected: str | None,
    *,
    actor: str,
    reason: str,
    evidence: Mapping[str, Any],
    by_itself: bool,
    clock: Clock,
    run_id: str | None = None,
) -> Generator[str, None, Moved]:
    """`promote`, which yields the name of each step done."""
    wish = _Wish(actor, reason, evidence, by_itself, run_id)
    with alone(engine):
        finished = _finished(_settle(engine, registry, clock), "promotion", expected, version)
        yield "settled"
        if finished is not None:
            return finished
        found = registry.champion()
        unusable = _unusable(registry, version)
        with engine.begin() as connection:
            result = _judged_promotion(connection, version, expected, found, unusable, wish, clock())
            if result.verdict == "allowed":
                intent = _intend(connection, "promotion", found, version, wish, result, clock())
        if result.verdict != "allowed":
            return _not_moved(engine, "promotion", result.verdict, found, version, found, wish, result, clock())
        yield "intended"
        return (yield from _carry_out(engine, registry, intent, clock))


def roll_back(
    engine: Engine,
    registry: Registry,
    *,
    version: str,
    actor: str,
    reason: str,
    evidence: Mapping[str, Any],
    by_itself: bool,
    cooldown: timedelta,
    clock: Clock,
    run_id: str | None = None,
) -> Moved:
    """Withdraw a champion, block it, and let the last proven version answer, or else the hand weights. People are told first.

    Not to be called within a transaction that holds anything.

    Args:
        version: the champion to withdraw.
        evidence: the verdict that speaks against it, as JSON can hold it.
        by_itself: whether no person decided it; then a freeze holds it back, and people are told no more than that.
        cooldown: during which nothing is promoted by itself afterwards.
        clock: the present moment.

    Raises:
        NotSaid: actor or reason is empty.
        RegistryUnavailable: MLflow cannot be reached; people were told, and what was begun is finished by whoever comes next.
        Busy: somebody else has been moving the alias for too long.
    """
    return _exhaust(
        rollback_steps(
            engine,
            registry,
            version=version,
            actor=actor,
            reason=reason,
            evidence=evidence,
            by_itself=by_itself,
            cooldown=cooldown,
            clock=clock,
            run_id=run_id,
        )
    )


def rollback_steps(
    engine: Engine,
    registry: Registry,
    *,
    version: str,
    actor: str,
    reason: str,
    evidence: Mapping[str, Any],
    by_itself: bool,
    cooldown: timedelta,
    clock: Clock,
    run_id: str | None = None,
) -> Generator[str, None, Moved]:
    """`roll_back`, which yields the name of each step done."""
    wish = _Wish(actor, reason, evidence, by_itself, run_id)
    with _told_where_stuck(engine, version, reason, clock), alone(engine):
        settled = _settle(engine, registry, clock)
        finished = next((one for one in settled if one.action == "rollback" and one.from_version == version and one.result == "done"), None)
        yield "settled"
        if finished is not None:
            return Moved("done", finished, finished.to_version, finished.reason)
        return (yield from _withdraw(engine, registry, version, wish, cooldown / timedelta(hours=1), clock))


@contextmanager
def _told_where_stuck(engine: Engine, version: str, reason: str, clock: Clock) -> Iterator[None]:
    """Tell people where a champion that should be withdrawn cannot be: MLflow or its files are away, or somebody holds the alias."""
    try:
        yield
    except (RegistryUnavailable, Busy) as error:
        _tell_stuck(engine, version, reason, error, clock())
        raise


def _withdraw(
    engine: Engine, registry: Registry, version: str, wish: _Wish, cooldown_hours: float, clock: Clock
) -> Generator[str, None, Moved]:
    found = registry.champion()
    result = _judged_rollback(engine, registry, version, found, wish, cooldown_hours)
    if result.verdict in ("held", "superseded"):
        outcome: Outcome = "held" if result.verdict == "held" else "superseded"
        return _not_moved(engine, "rollback", outcome, version, version, found, wish, result, clock())
    with engine.begin() as connection:
        intent = _intend(connection, "rollback", version, result.target, wish, result, clock())
        _tell_withdrawal(connection, intent, result)
    yield "alerted and intended"
    return (yield from _carry_out(engine, registry, intent, clock))


def adopt(engine: Engine, registry: Registry, *, clock: Clock) -> list[Decision]:
    """Finish what processes that died have begun: what became of each promotion and rollback without an outcome.

    - The alias stands where it was to go: all that follows from the move is recorded.
    - It still stands where it was: the move is judged anew, as of now, and carried out or not.
    - It stands elsewhere: superseded; whoever moved it there wins.

    Raises:
        RegistryUnavailable: MLflow cannot be reached; what is unfinished stays so.
        Busy: somebody else has been moving the alias for too long.
    """
    with alone(engine):
        return adopt_alone(engine, registry, clock=clock)


def adopt_alone(engine: Engine, registry: Registry, *, clock: Clock) -> list[Decision]:
    """`adopt`, for whoever is `alone` already."""
    with engine.connect() as connection:
        begun = [one for one in decisions.unfinished(connection) if one.action in _MOVES]
    return [outcome for intent in begun for outcome in _adopt(engine, registry, intent, clock)]


def _adopt(engine: Engine, registry: Registry, intent: Decision, clock: Clock) -> list[Decision]:
    found = registry.champion()
    if found == intent.to_version:
        return [_conclude_done(engine, intent, clock())]
    if found != intent.from_version:
        return [_superseded(engine, intent, found, clock()).decision]
    given = intent.evidence["evidence"]
    wish = _Wish(intent.actor, intent.reason, given["upstream"], given["by_itself"], intent.dagster_run_id)
    if intent.action == "promotion":
        return [_adopt_promotion(engine, registry, intent, found, wish, clock)]
    return _adopt_rollback(engine, registry, intent, found, wish, given["cooldown_hours"], clock)


def _adopt_promotion(engine: Engine, registry: Registry, intent: Decision, found: str | None, wish: _Wish, clock: Clock) -> Decision:
    assert intent.to_version is not None
    unusable = _unusable(registry, intent.to_version)
    with engine.begin() as connection:
        result = _judged_promotion(connection, intent.to_version, found, found, unusable, wish, clock())
        if result.verdict != "allowed":
            return _conclude(connection, intent, result.verdict, result, clock())
    return _exhaust(_carry_out(engine, registry, intent, clock)).decision


def _adopt_rollback(
    engine: Engine, registry: Registry, intent: Decision, found: str | None, wish: _Wish, cooldown_hours: float, clock: Clock
) -> list[Decision]:
    assert intent.from_version is not None
    result = _judged_rollback(engine, registry, intent.from_version, found, wish, cooldown_hours)
    if result.verdict != "held" and result.target == intent.to_version:
        return [_exhaust(_carry_out(engine, registry, intent, clock)).decision]
    with engine.begin() as connection:
        if result.verdict == "held":
            outcome = _conclude(connection, intent, "held", result, clock())
            _tell_held(connection, outcome)
            return [outcome]
        reason = f"{intent.reason}: {'; '.join(result.reasons)}"
        evidence = {**intent.evidence, "instead": result.model_dump(mode="json")}
        outcome = decisions.conclude(connection, intent, "superseded", reason=reason, evidence=evidence, at=clock())
    # Where it was to go is no choice any more: the champion is withdrawn to what is.
    return [outcome, _exhaust(_withdraw(engine, registry, intent.from_version, wish, cooldown_hours, clock)).decision]


def _settle(engine: Engine, registry: Registry, clock: Clock) -> list[Decision]:
    """Finish what others left, and record what somebody did in MLflow, before the alias is moved again."""
    adopted = adopt_alone(engine, registry, clock=clock)
    follow(engine, registry, at=clock())
    return adopted


def _finished(settled: list[Decision], action: Action, from_version: str | None, to_version: str | None) -> Moved | None:
    """What was asked for was begun before by a process that died, and has just been finished."""
    for one in settled:
        if (one.action, one.from_version, one.to_version, one.result) == (action, from_version, to_version, "done"):
            return Moved("done", one, to_version, one.reason)
    return None


def _judged_promotion(
    connection: Connection, version: str, expected: str | None, found: str | None, unusable: str | None, wish: _Wish, at: datetime
) -> PromotionResult:
    """Judge in the transaction that writes the intent: until it ends nobody stops the experiment that speaks for the version."""
    experiments.take_turn(connection)
    return judge_promotion(
        PromotionEvidence(
            version=version,
            expected=expected,
            found=found,
            unusable=unusable,
            state=states.proof_of(connection, version),
            frozen=_frozen(connection),
            cooldown_until=states.cooldown_until(connection),
            at=at,
            by_itself=wish.by_itself,
            why="experiment" if "experiment_id" in wish.upstream else "gate" if wish.by_itself else "person",
            upstream=dict(wish.upstream),
            trial=_trial(connection, wish),
        )
    )


def _trial(connection: Connection, wish: _Wish) -> Literal["running", "approval", "ended"] | None:
    """How the experiment that speaks for the version stands; None where none does."""
    if "experiment_id" not in wish.upstream:
        return None
    running = experiments.running(connection)
    if running is None or str(running.id) != wish.upstream["experiment_id"]:
        return "ended"
    return "approval" if running.status == "approval" else "running"


def _judged_rollback(
    engine: Engine, registry: Registry, version: str, found: str | None, wish: _Wish, cooldown_hours: float
) -> RollbackResult:
    with engine.connect() as connection:
        held, known = _frozen(connection), states.states(connection)
        before = [one for one in answered(connection) if one != version]
    formers = [Former(version=one, state=known[one].state if one in known else "unproven") for one in before]
    return judge_rollback(
        RollbackEvidence(
            champion=version,
            found=found,
            formers=_looked_at(registry, formers),
            frozen=held,
            by_itself=wish.by_itself,
            cooldown_hours=cooldown_hours,
            upstream=dict(wish.upstream),
        )
    )


def _looked_at(registry: Registry, formers: list[Former]) -> tuple[Former, ...]:
    """Load those that could be gone back to, until one does load."""
    looked, found = [], False
    for former in formers:
        if former.state == "proven" and not found:
            exists = registry.exists(former.version)
            unusable = _unusable(registry, former.version) if exists else None
            former = former.model_copy(update={"exists": exists, "unusable": unusable})
            found = exists and unusable is None
        looked.append(former)
    return tuple(looked)


def _unusable(registry: Registry, version: str) -> str | None:
    if not registry.exists(version):
        return "the registry has no such version"
    try:
        registry.load(version)
    except RegistryUnavailable as error:
        # Where its files lie may be away, which says nothing about the version; or they are gone.
        gone = getattr(error.__cause__, "error_code", None) == "RESOURCE_DOES_NOT_EXIST"
        # A store that holds no version's files is not there: an unmounted folder, another bucket.
        if not gone or not any(registry.has_files(one.version) for one in registry.versions()):
            raise
        return f"its files are gone: {error}"
    except Exception as error:
        # Whatever keeps it from loading here would keep it from answering.
        return f"{type(error).__name__}: {error}"
    return None


def _frozen(connection: Connection) -> str | None:
    found = frozen(connection)
    return None if found is None else f"frozen by {found.actor} since {found.changed_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC: {found.reason}"


def _intend(
    connection: Connection,
    action: Action,
    from_version: str | None,
    to_version: str | None,
    wish: _Wish,
    result: PromotionResult | RollbackResult,
    at: datetime,
) -> Decision:
    # The first reason of a rollback says what stood against it, the others where it goes.
    against = result.reasons[:1] if isinstance(result, RollbackResult) else result.reasons
    override = f" (override: {'; '.join(against)})" if result.override else ""
    return decisions.intend(
        connection,
        action,
        actor=wish.actor,
        reason=f"{wish.reason}{override}" if wish.reason.strip() else "",
        at=at,
        from_version=from_version,
        to_version=to_version,
        evidence=result.model_dump(mode="json"),
        run_id=wish.run_id,
    )


def _carry_out(engine: Engine, registry: Registry, intent: Decision, clock: Clock) -> Generator[str, None, Moved]:
    try:
        if intent.to_version is not None:
            registry.promote(intent.to_version, intent.from_version)
        elif intent.from_version is not None:
            registry.demote(intent.from_version)
    except Superseded:
        return _superseded(engine, intent, registry.champion(), clock())
    yield "moved"
    decision = _conclude_done(engine, intent, clock())
    yield "concluded"
    return Moved("done", decision, intent.to_version, decision.reason)


def _conclude_done(engine: Engine, intent: Decision, at: datetime) -> Decision:
    """All that follows from a move, in one transaction."""
    with engine.begin() as connection:
        # Before any row is touched: whoever ends an experiment takes its turn first, then rows.
        experiments.take_turn(connection)
        decision = decisions.conclude(connection, intent, "done", at=at)
        if intent.action == "promotion":
            _promoted(connection, decision, at)
        else:
            _withdrawn(connection, decision, at)
        observe(connection, intent.to_version, actor=intent.actor, operation_id=intent.operation_id, at=at)
    return decision


def _promoted(connection: Connection, decision: Decision, at: datetime) -> None:
    version, upstream = decision.to_version, decision.evidence["evidence"]["upstream"]
    assert version is not None
    unblocked = states.override(connection, version, f"override by {decision.actor}: {decision.reason}", at)
    running = experiments.running(connection)
    won = running is not None and str(running.id) == upstream.get("experiment_id")
    if won and not unblocked and upstream.get("verdict") == "promote":
        states.mark_proven(connection, version, "it won its experiment", at)
    if running is not None and won:
        experiments.end(
            connection,
            running.id,
            verdict="promote",
            conclusion=decision.reason,
            actor=decision.actor,
            at=at,
            evidence=upstream,
            run_id=decision.dagster_run_id,
        )
    else:
        _stop_experiment(connection, decision, at)
    if decision.evidence["override"]:
        _tell(connection, f"override:{decision.operation_id}", f"Version {version} was promoted against the rules", decision, at)


def _withdrawn(connection: Connection, decision: Decision, at: datetime) -> None:
    assert decision.from_version is not None
    cooldown = timedelta(hours=decision.evidence["evidence"]["cooldown_hours"])
    states.block(connection, decision.from_version, f"rolled back: {decision.reason}", at, at + cooldown)
    _stop_experiment(connection, decision, at)


def _stop_experiment(connection: Connection, decision: Decision, at: datetime) -> None:
    why = f"the champion changed under it: {decision.told()}"
    stop_experiment(connection, why, actor=decision.actor, at=at, run_id=decision.dagster_run_id)


def _superseded(engine: Engine, intent: Decision, found: str | None, at: datetime) -> Moved:
    reason = f"{intent.reason}: superseded, the alias was moved to {found or 'nobody'} meanwhile"
    with engine.begin() as connection:
        decision = decisions.conclude(connection, intent, "superseded", reason=reason, evidence={**intent.evidence, "seen": found}, at=at)
    return Moved("superseded", decision, found, reason)


def _conclude(
    connection: Connection, intent: Decision, outcome: Outcome, result: PromotionResult | RollbackResult, at: datetime
) -> Decision:
    """An intent that turns out not to be carried out after all."""
    reason = f"{intent.reason}: {'; '.join(result.reasons)}"
    return decisions.conclude(connection, intent, outcome, reason=reason, evidence=result.model_dump(mode="json"), at=at)


def _not_moved(
    engine: Engine,
    action: Action,
    outcome: Outcome,
    from_version: str | None,
    to_version: str | None,
    found: str | None,
    wish: _Wish,
    result: PromotionResult | RollbackResult,
    at: datetime,
) -> Moved:
    """Record that nothing is moved; once, however often the same is asked for and stopped by the same."""
    with engine.begin() as connection:
        before = _newest(connection, action, to_version)
        told = before is not None and _same(before, outcome, from_version, to_version, wish, result)
        if before is None or not told or _recovered_since(connection, before):
            before = decisions.record(
                connection,
                action,
                actor=wish.actor,
                reason=f"{wish.reason}: {'; '.join(result.reasons)}" if wish.reason.strip() else "",
                at=at,
                result=outcome,
                from_version=from_version,
                to_version=to_version,
                evidence=result.model_dump(mode="json"),
                run_id=wish.run_id,
            )
            if outcome == "held":
                _tell_held(connection, before)
    return Moved(outcome, before, found, before.reason)


def _recovered_since(connection: Connection, before: Decision) -> bool:
    """Whether the version was called healthy after a decision about it: then it is another fall that is told of now."""
    later = decisions.history(connection, 20, version=before.from_version, after=before.id)
    return any(one.action == "watch" and one.result == "healthy" for one in later)


def _newest(connection: Connection, action: Action, version: str | None) -> Decision | None:
    about = decisions.history(connection, 20, version=version)
    return next((one for one in about if one.action == action and one.stage == "outcome"), None)


def _same(
    before: Decision,
    outcome: Outcome,
    from_version: str | None,
    to_version: str | None,
    wish: _Wish,
    result: PromotionResult | RollbackResult,
) -> bool:
    said = (before.result, before.from_version, before.to_version, before.actor, before.evidence.get("reasons"))
    return said == (outcome, from_version, to_version, wish.actor.strip(), result.reasons)


def _tell_withdrawal(connection: Connection, intent: Decision, result: RollbackResult) -> None:
    version = intent.from_version
    subject = (
        f"Version {version} is withdrawn: version {result.target} answers again"
        if result.target is not None
        else f"ATTENTION: version {version} is withdrawn and no proven version is left: THE HAND WEIGHTS ANSWER"
    )
    _tell(connection, f"rollback:{intent.operation_id}", subject, intent, intent.decided_at, *result.reasons)


def _tell_held(connection: Connection, decision: Decision) -> None:
    subject = f"Version {decision.from_version} does harm and goes on answering: models are frozen"
    _tell(connection, f"held:{decision.operation_id}", subject, decision, decision.decided_at)


def _tell(connection: Connection, key: str, subject: str, decision: Decision, at: datetime, *more: str) -> None:
    lines = [f"{decision.reason} ({decision.actor}).", *(f"- {one}" for one in more)]
    version = decision.from_version or decision.to_version
    lines.append(f"The evidence: `litgo model show {decision.id}`. How it went on: `litgo model history --version {version}`.")
    outbox.tell(
        connection,
        key=key,
        subject=subject,
        body="\n".join(lines),
        at=at,
        details={"decision": decision.id, "from_version": decision.from_version, "to_version": decision.to_version},
    )


def _tell_stuck(engine: Engine, version: str, reason: str, error: Exception, at: datetime) -> None:
    """Once a day, because whoever watches asks again and again."""
    with engine.begin() as connection:
        outbox.tell(
            connection,
            key=f"rollback stuck:{version}:{at.astimezone(UTC):%Y-%m-%d}",
            subject=f"Version {version} should be withdrawn, but cannot be now",
            body=f"{reason}.\n{error}\nIt is tried again with the next look.",
            at=at,
            details={"from_version": version},
        )


def publish_tags(connection: Connection, registry: Registry) -> int:
    """Show each decision in MLflow, as a tag of the versions that it names; how many tags were set.

    What is missing is found by the tags that are there, so nothing is remembered. Versions that no longer exist are left out.

    Raises:
        RegistryUnavailable: MLflow cannot be reached; the rest is shown the next time.
    """
    tags = {one.version: set(one.tags) for one in registry.versions()}
    shown = [int(name.removeprefix(_TAG)) for names in tags.values() for name in names if name.startswith(_TAG)]
    # A decision may be committed after one of a higher number: a few are looked at again.
    after = max(shown, default=0) - _TAGS_LOOKED_BACK
    count = 0
    for decision in reversed(decisions.history(connection, _MOST_TAGGED, after=after)):
        name = f"{_TAG}{decision.id:08d}"
        for version in dict.fromkeys((decision.from_version, decision.to_version)):
            if version is not None and version in tags and name not in tags[version]:
                registry.tag(version, {name: _tag_of(decision)})
                count += 1
    return count


def _tag_of(decision: Decision) -> str:
    at = f" ({decision.decided_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC)"
    told = decision.told()
    room = _TAG_CHARACTERS - len(at)
    return (told if len(told) <= room else f"{told[: room - 1]}…") + at


def _exhaust(steps: Generator[str, None, _T]) -> _T:
    while True:
        try:
            next(steps)
        except StopIteration as done:
            found: _T = done.value
            return found
