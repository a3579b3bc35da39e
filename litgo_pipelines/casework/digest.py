"""What the operators are told of a week, read from the database into `digest_record`. How it is worded is `digest_text`.

What has no history (messages that wait, freezes, who waits for approval) is told as it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from litgo_pipelines.casework.digest_record import (
    Delivery,
    Digest,
    Ended,
    Fairness,
    Frozen,
    Job,
    Lift,
    Models,
    Move,
    Needs,
    Promise,
    Quality,
    Running,
    Vendor,
    Waiting,
)
from litgo_pipelines.integrations.attempts import FAILURES
from litgo_pipelines.marketplace.outbox import tell

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from litgo_pipelines.marketplace.switches import Freeze
    from litgo_pipelines.settings import Settings

WEEK: Final = timedelta(days=7)
STUCK_AFTER: Final = timedelta(hours=1)
"""How long beyond `CONTRACT_MANUAL_AFTER` a contract may wait for a place to sign it."""
LATE_AFTER: Final = timedelta(minutes=15)
"""How long a message may wait before people are told of it."""

_CHAMPION = """
SELECT version, observed_at FROM litgo.alias_observations WHERE observed_at <= :until ORDER BY id DESC LIMIT 1
"""
_MOVES = """
SELECT action, from_version, to_version, result, actor, decided_at FROM litgo.decisions
WHERE stage = 'outcome' AND action IN ('promotion', 'rollback', 'alias moved') AND decided_at > :since AND decided_at <= :until
ORDER BY id
"""
_TRAININGS = """
SELECT verdict, count(*) FROM litgo.trainings WHERE finished_at > :since AND finished_at <= :until AND verdict IS NOT NULL
GROUP BY 1 ORDER BY 1
"""
_UNITS = "SELECT variant, count(*) FROM litgo.exposures WHERE experiment_id = :id AND exposed_at <= :until GROUP BY 1 ORDER BY 1"
_ENDED = """
SELECT challenger, champion, mode, verdict, ended_at FROM litgo.experiments
WHERE ended_at > :since AND ended_at <= :until ORDER BY ended_at
"""
_CALLS = """
SELECT service, count(*) FILTER (WHERE number > 0) AS requests, count(*) FILTER (WHERE outcome = ANY(:failures)) AS failed,
       count(*) FILTER (WHERE outcome = 'timeout') AS timeouts, count(*) FILTER (WHERE outcome = 'breaker_open') AS turned_away
FROM litgo.external_calls WHERE started_at > :since AND started_at <= :until GROUP BY 1
"""
_WORK = """
SELECT labels ->> 'service', sum(amount), coalesce(sum(amount) FILTER (WHERE labels ->> 'mode' = 'fallback'), 0) FROM litgo.events
WHERE metric = 'service_operations_total' AND at > :since AND at <= :until GROUP BY 1
"""
# What was overtaken by events is no loss.
_MESSAGES = """
SELECT channel, count(*) FILTER (WHERE status = 'sent' AND sent_at > :since AND sent_at <= :until) AS sent,
       count(*) FILTER (WHERE status = 'unknown' AND created_at > :since) AS unknown,
       count(*) FILTER (WHERE status = 'failed' AND created_at > :since AND coalesce(trouble, '') NOT LIKE 'overtaken:%') AS failed,
       count(*) FILTER (WHERE status IN ('queued', 'sending')) AS waiting
FROM litgo.notifications WHERE created_at <= :until GROUP BY 1 ORDER BY 1
"""
# A message that a person sent again waits from then on.
_WAITING = """
SELECT channel, audience, count(*) FILTER (WHERE since <= :late) AS late, min(since) FILTER (WHERE since <= :late) AS oldest FROM (
    SELECT channel, audience, coalesce(CAST(details #>> '{delivery,handled,-1,at}' AS timestamptz), created_at) AS since
    FROM litgo.notifications WHERE status IN ('queued', 'sending') AND created_at <= :until
) waiting GROUP BY 1, 2 ORDER BY 1, 2
"""
# When a message failed is not recorded; its last try was due shortly before.
_FAILED = """
SELECT count(*) FROM litgo.notifications
WHERE status = 'failed' AND due_at > :since AND created_at <= :until AND coalesce(trouble, '') NOT LIKE 'overtaken:%'
  AND details #>> '{delivery,handled,-1,action}' IS DISTINCT FROM 'settled as failed'
"""
_DUES = """
SELECT job, count(*) AS due, count(*) FILTER (WHERE executed) AS executed FROM litgo.job_dues
WHERE due_at > :since AND due_at <= :until GROUP BY 1 ORDER BY 1
"""
_RUNS = """
SELECT job, count(*) AS ended, count(*) FILTER (WHERE status = 'failure') AS failed FROM litgo.job_runs
WHERE ended_at > :since AND ended_at <= :until GROUP BY 1 ORDER BY 1
"""
_BROKEN = """
SELECT job FROM (
    SELECT DISTINCT ON (job) job, status FROM litgo.job_runs
    WHERE ended_at > :since AND ended_at <= :until AND status IN ('success', 'failure') ORDER BY job, ended_at DESC
) newest WHERE status = 'failure' ORDER BY job
"""


def read_digest(engine: Engine, settings: Settings, as_of: datetime) -> Digest:
    """The seven days up to `as_of` (aware), from one state of the database. Writes nothing."""
    span = {"since": as_of - WEEK, "until": as_of}
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        found = Digest(
            **span,
            needs=_needs(connection, settings, span),
            fairness=_fairness(connection, settings, as_of),
            models=_models(connection, settings, span),
            running=_running(connection, as_of),
            ended=tuple(Ended(*row) for row in _rows(connection, _ENDED, span)),
            vendors=_vendors(connection, engine, settings, span),
            deliveries=tuple(Delivery(*row) for row in _rows(connection, _MESSAGES, span)),
            jobs=_jobs(connection, span),
        )
    return replace(found, needs=_with_alarms(found))


def send_digest(connection: Connection, digest: Digest, subject: str, body: str, at: datetime) -> bool:
    """Queue a digest for the operators; False, and nothing is queued, where its week had one."""
    return tell(connection, key=digest.key, subject=subject, body=body, at=at)


def _rows(connection: Connection, statement: str, values: dict[str, Any]) -> Sequence[Any]:
    from sqlalchemy import text

    return connection.execute(text(statement), values).all()


def _needs(connection: Connection, settings: Settings, span: dict[str, datetime]) -> Needs:
    from litgo_pipelines.casework import contract_queue, notifications, triage_recording
    from litgo_pipelines.rollout import decisions, experiments

    until = span["until"]
    triages = triage_recording.waiting(connection, until)
    contracts = contract_queue.standing(connection)
    running = experiments.running(connection)
    messages = _rows(connection, _WAITING, {"until": until, "late": until - LATE_AFTER})
    return Needs(
        triages=triages.cases,
        overdue=triages.overdue,
        unknown_messages=sum(one.messages for one in notifications.standing(connection) if one.status == "unknown"),
        lost_contracts=contract_queue.lost(connection),
        stuck_contracts=contract_queue.requested_before(
            connection, until - timedelta(minutes=settings.contract_manual_after) - STUCK_AFTER
        ),
        manual_contracts=sum(one.contracts for one in contracts if one.method == "manual"),
        unexplained=tuple(one.id for one in decisions.unexplained(connection) if one.decided_at <= until),
        approval=running.challenger if running and running.status == "approval" and running.approved_by is None else None,
        broken_jobs=tuple(row.job for row in _rows(connection, _BROKEN, span)),
        frozen=_frozen(connection, span["since"]),
        waiting=_waiting(messages),
        failed_messages=_rows(connection, _FAILED, span)[0].count,
        missing=_missing(messages, settings),
    )


def _with_alarms(digest: Digest) -> Needs:
    """What needs a person, with what the rest of the digest says is wrong."""
    promises = () if digest.fairness is None else digest.fairness.promises
    quality, running = digest.models.quality, digest.running
    return replace(
        digest.needs,
        broken_promises=tuple(one for one in promises if one.verdict == "fail"),
        degraded=quality.version if quality is not None and quality.verdict == "degraded" else None,
        unequal_groups=running.challenger if running is not None and running.sample_ratio_broken else None,
        left_alone=tuple(one.service for one in digest.vendors if one.breaker != "closed"),
    )


def _waiting(rows: Sequence[Any]) -> Waiting | None:
    late = [row for row in rows if row.late]
    return Waiting(sum(row.late for row in late), min(row.oldest for row in late)) if late else None


def _missing(rows: Sequence[Any], settings: Settings) -> tuple[str, ...]:
    """Names of the settings that are not given, and without which one of these messages reaches nobody."""
    from litgo_pipelines.casework.notifications import Reach
    from litgo_pipelines.integrations.policies import CREDENTIALS

    reach = Reach.of(settings)
    pushes, mails = (any(row.channel == channel for row in rows) for channel in ("push", "email"))
    by_mail = mails or (pushes and not reach.push and reach.fallback)
    wanted = [*(CREDENTIALS["sendgrid"] if by_mail else ()), *(CREDENTIALS["onesignal"] if pushes and not reach.fallback else ())]
    wanted += ["litgo_ops_emails"] if any(row.audience == "ops" for row in rows) else []
    return tuple(name.upper() for name in wanted if not getattr(settings, name))


def _frozen(connection: Connection, before: datetime) -> tuple[Frozen, ...]:
    from litgo_pipelines.casework import prices
    from litgo_pipelines.rollout import freezes

    held: dict[Literal["models", "equity_price"], Freeze | None]
    held = {"models": freezes.frozen(connection), "equity_price": prices.frozen(connection)}
    return tuple(Frozen(what, one.actor, one.changed_at) for what, one in held.items() if one is not None and one.changed_at <= before)


def _fairness(connection: Connection, settings: Settings, as_of: datetime) -> Fairness | None:
    from litgo_pipelines.casework import distribution
    from litgo_pipelines.equity.promises import judge

    try:
        snapshot = distribution.newest_snapshot(connection, as_of)
        report = distribution.report_of(connection, snapshot, distribution.Terms.of(settings))
    except distribution.NoSnapshot:
        return None
    changes = distribution.week_change(connection, report)
    judged = judge(report.distribution, distribution.limits_of(settings), report.smallest)
    return Fairness(snapshot, tuple(Promise(one.figure, one.value, changes[one.figure], one.limit, one.verdict) for one in judged))


def _models(connection: Connection, settings: Settings, span: dict[str, datetime]) -> Models:
    seen = _rows(connection, _CHAMPION, span)
    champion, since = seen[0] if seen else (None, None)
    moves = tuple(Move(*row) for row in _rows(connection, _MOVES, span))
    trainings = tuple((row.verdict, row.count) for row in _rows(connection, _TRAININGS, span))
    return Models(bool(seen), champion, since, moves, trainings, _quality(connection, settings, span))


def _quality(connection: Connection, settings: Settings, span: dict[str, datetime]) -> Quality | None:
    """Of the version that is watched; None where none is. The watch judges not every decision of a week, so its mean is read by itself."""
    from litgo_pipelines.rollout.quality import mean_score
    from litgo_pipelines.rollout.watch import judge_watch
    from litgo_pipelines.rollout.watching import look_at_quality

    found = look_at_quality(connection, settings, span["until"], with_features=False)
    if found is None:
        return None
    state, quality = found
    reference = quality.evidence.reference
    mean = None if reference is None else mean_score(connection, state.version, reference.space, **span)
    ratio = None if reference is None or mean is None else mean / reference.mean
    return Quality(state.version, ratio, judge_watch(quality.evidence).verdict)


def _running(connection: Connection, as_of: datetime) -> Running | None:
    from litgo_pipelines.rollout import experiments, readings

    found = experiments.running(connection)
    if found is None:
        return None
    units = tuple((row.variant, row.count) for row in _rows(connection, _UNITS, {"id": found.id, "until": as_of}))
    reading = readings.newest_reading(connection, found.id)
    figures = {} if reading is None else reading.figures
    return Running(
        champion=found.champion,
        challenger=found.challenger,
        mode=found.mode,
        status=found.status,
        since=found.started_at,
        share=found.split.share,
        units=units,
        lifts=tuple(Lift(one["metric"], one["lift"], one["low"], one["high"]) for one in figures.get("figures", ())),
        read_at=None if reading is None else reading.read_at,
        sample_ratio_broken=bool(figures.get("sample_ratio", {}).get("alarm")),
    )


def _vendors(connection: Connection, engine: Engine, settings: Settings, span: dict[str, datetime]) -> tuple[Vendor, ...]:
    from litgo_pipelines.integrations.breaker import LOOK_BACK
    from litgo_pipelines.integrations.policies import configured, policies_of
    from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger

    until, wanted, ledger = span["until"], configured(settings), PostgresCallLedger(engine)
    calls = {row.service: row[1:] for row in _rows(connection, _CALLS, span | {"failures": sorted(FAILURES)})}
    work: dict[str, tuple[int, int]] = {service: (int(done), int(without)) for service, done, without in _rows(connection, _WORK, span)}
    found = []
    for service, policy in policies_of(settings).items():
        past = [one for one in ledger.recent(service, until - LOOK_BACK, policy.breaker.failures) if one.ended_at <= until]
        requests, failed, timeouts, turned_away = calls.get(service, (0, 0, 0, 0))
        done, fallback = work.get(service, (None, None))
        state = policy.breaker.state(past, until)
        found.append(Vendor(service, service in wanted, requests, failed, timeouts, turned_away, done, fallback, state))
    return tuple(found)


def _jobs(connection: Connection, span: dict[str, datetime]) -> tuple[Job, ...]:
    dues = {row.job: (row.due, row.executed) for row in _rows(connection, _DUES, span)}
    runs = {row.job: (row.ended, row.failed) for row in _rows(connection, _RUNS, span)}
    return tuple(Job(name, *dues.get(name, (0, 0)), *runs.get(name, (0, 0))) for name in sorted(dues.keys() | runs.keys()))
