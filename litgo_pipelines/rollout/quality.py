"""How well the champion does, read from the facts: match scores, answers and features of its decisions since it is watched.

What the figures mean is judged in `watch` and `drift`; what is done about it in `conduct`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.marketplace.names import FEATURE_COLUMNS
from litgo_pipelines.ranking.text import NO_SPACE
from litgo_pipelines.rollout.watch import Reference, WatchEvidence, counted, reference_of, watch_evidence

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from litgo_pipelines.settings import Settings

MOST_READ: Final = 5_000
"""Decisions, the newest ones, that the statistics run over; they begin at 0 there, as they do wherever they were 0."""
ANSWERED_WITHIN: Final = timedelta(hours=24)
MOST_SAMPLED: Final = 4_000
"""Rows of features on either side of the comparison."""

# Interleaved lists hold the other model's lawyers.
_OWN = "r.model_version = :version AND r.status = 'ok' AND r.variant IS DISTINCT FROM 'interleaved'"

_DECISIONS = f"""
SELECT r.id, r.started_at, r.embedding_space, s.score
FROM litgo.match_requests r
CROSS JOIN LATERAL (SELECT avg(m.score)::float8 AS score FROM litgo.case_matches m WHERE m.request_id = r.id) s
WHERE {_OWN} AND r.started_at > :since AND r.started_at <= :as_of AND s.score IS NOT NULL
ORDER BY r.started_at {{order}}, r.id LIMIT :most
"""

_COUNT = f"SELECT count(*) FROM litgo.match_requests r WHERE {_OWN} AND r.started_at > :since AND r.started_at <= :as_of"

# As in training: a decline for lack of time says nothing about the match, nor does an offer that nobody answered.
_ANSWERS = f"""
SELECT m.score, (o.status <> 'declined')::int, o.responded_at, r.embedding_space
FROM litgo.match_requests r
JOIN litgo.case_matches m ON m.request_id = r.id
JOIN litgo.offers o ON o.case_id = m.case_id AND o.lawyer_id = m.lawyer_id AND o.match_id = m.id
WHERE {_OWN} AND r.started_at > :since AND r.started_at <= :until AND o.responded_at <= :as_of
  AND (o.status IN ('interested', 'closed') OR (o.status = 'declined' AND o.decline_reason IS DISTINCT FROM 'capacity'))
ORDER BY o.responded_at DESC, o.id LIMIT :most
"""

_FEATURES = f"""
SELECT {", ".join(f"m.{name}" for name in FEATURE_COLUMNS)}
FROM litgo.case_matches m WHERE m.request_id = ANY(:ids) ORDER BY m.request_id, m.position LIMIT :most
"""


@dataclass(frozen=True)
class Decided:
    """Decisions in the order of time: ids, moments, embedding spaces and match scores, shape (n,)."""

    ids: list[object]
    moments: list[datetime]
    spaces: list[str | None]
    scores: NDArray[np.float64]

    def part(self, keep: NDArray[np.bool_]) -> Decided:
        """Those marked."""
        at = np.flatnonzero(keep).tolist()
        return Decided([self.ids[i] for i in at], [self.moments[i] for i in at], [self.spaces[i] for i in at], self.scores[keep])


@dataclass(frozen=True)
class Quality:
    """What is known of a watched version.

    Attributes:
        decisions: made since it is watched.
        evidence: for `watch.judge_watch`.
        fresh_reference: a reference that could be made just now and is to be kept; None where there is one, or none yet.
        features: of the reference's decisions and of the newest ones, shapes (n, 8) and (m, 8); NaN where unknown.
    """

    version: str
    decisions: int
    evidence: WatchEvidence
    fresh_reference: Reference | None
    scores: NDArray[np.float64]
    moments: list[datetime]
    features: tuple[NDArray[np.float64], NDArray[np.float64]]


def decisions_since(connection: Connection, version: str, since: datetime, as_of: datetime) -> int:
    """How many decisions a version has made."""
    from sqlalchemy import text

    return int(connection.execute(text(_COUNT), {"version": version, "since": since, "as_of": as_of}).scalar_one())


def read_quality(
    connection: Connection,
    version: str,
    watched_since: datetime,
    known: Reference | None,
    as_of: datetime,
    settings: Settings,
    *,
    with_features: bool = True,
) -> Quality:
    """Read a watched version's decisions and answers up to `as_of`.

    Args:
        known: the reference as it was kept; None: it is made of the first `LITGO_REFERENCE_DECISIONS` where there are so many. What
            became of their offers is added once lawyers had a day to answer them.
        with_features: whether to read the features of both ends as well.
    """
    first = _first(connection, version, watched_since, as_of, settings.litgo_reference_decisions, None if known is None else known.space)
    reference = known
    if known is None or (known.accepted_ratio is None and _answered(first, as_of)):
        # One that was kept is not lost where it should be made of more decisions by now.
        reference = _reference(connection, version, watched_since, first, as_of, settings.litgo_reference_decisions) or known
    since = first.moments[-1] if first.moments else watched_since
    later = _decided(connection, version, since, as_of, MOST_READ, newest=True)
    own = counted(later.spaces, np.zeros(len(later.ids)), reference) if reference is not None else np.zeros(len(later.ids), dtype=bool)
    recent = np.array([one > as_of - timedelta(hours=settings.degradation_window) for one in later.moments], dtype=bool)
    # Answers come late: those to decisions of the reference's time belong to the reference.
    promised, accepted = _answers(connection, version, since, as_of, as_of, reference.space if reference is not None else None)
    evidence = watch_evidence(
        version=version,
        threshold=settings.quality_threshold,
        reference=reference,
        scores=later.scores[own],
        promised=promised,
        accepted=accepted,
        window_hours=settings.degradation_window,
        window=later.scores[own & recent],
        fallback_count=int((recent & ~own).sum()),
    )
    counting = later.part(own)
    nothing = np.zeros((0, len(FEATURE_COLUMNS)))
    features = (_features(connection, first.ids), _features(connection, counting.ids[::-1])) if with_features else (nothing, nothing)
    return Quality(
        version=version,
        decisions=decisions_since(connection, version, watched_since, as_of),
        evidence=evidence,
        fresh_reference=None if reference == known else reference,
        scores=counting.scores,
        moments=counting.moments,
        features=features,
    )


def _first(connection: Connection, version: str, since: datetime, as_of: datetime, most: int, space: str | None) -> Decided:
    """The first decisions in the reference's space, or in the one that most have; fewer than `most` where there are not so many."""
    # Some may have been answered in fallback: more are read than are needed.
    found = _decided(connection, version, since, as_of, 4 * most, newest=False)
    known = [one for one in found.spaces if one not in (None, NO_SPACE)]
    if space is None and known:
        space = max(dict.fromkeys(known), key=known.count)
    own = np.array([one is not None and one == space for one in found.spaces], dtype=bool)
    own[np.flatnonzero(own)[most:]] = False
    return found.part(own)


def _reference(connection: Connection, version: str, since: datetime, first: Decided, as_of: datetime, least: int) -> Reference | None:
    if len(first.ids) < least:
        return None
    space = str(first.spaces[0])
    if not _answered(first, as_of):
        return reference_of(first.scores, space, (), (), least=least)
    promised, accepted = _answers(connection, version, since, first.moments[-1], as_of, space)
    return reference_of(first.scores, space, promised, accepted, least=least)


def _answered(first: Decided, as_of: datetime) -> bool:
    """Whether lawyers had the time to answer: those who are quick are not like the others."""
    return bool(first.moments) and as_of >= first.moments[-1] + ANSWERED_WITHIN


def _decided(connection: Connection, version: str, since: datetime, as_of: datetime, most: int, *, newest: bool) -> Decided:
    from sqlalchemy import text

    statement = _DECISIONS.format(order="DESC" if newest else "ASC")
    rows = connection.execute(text(statement), {"version": version, "since": since, "as_of": as_of, "most": most}).all()
    if newest:
        rows = rows[::-1]
    return Decided(
        [row.id for row in rows],
        [row.started_at for row in rows],
        [row.embedding_space for row in rows],
        np.array([row.score for row in rows], dtype=np.float64),
    )


def _answers(
    connection: Connection, version: str, since: datetime, until: datetime, as_of: datetime, space: str | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Promised and accepted of answered offers of decisions between two moments, in the order of the answers; fallback left out."""
    from sqlalchemy import text

    asked = {"version": version, "since": since, "until": until, "as_of": as_of, "most": MOST_READ}
    rows = [row for row in connection.execute(text(_ANSWERS), asked) if space is None or row.embedding_space == space][::-1]
    return np.array([row[0] for row in rows], dtype=np.float64), np.array([row[1] for row in rows], dtype=np.float64)


def _features(connection: Connection, ids: list[object]) -> NDArray[np.float64]:
    from sqlalchemy import text

    if not ids:
        return np.zeros((0, len(FEATURE_COLUMNS)))
    rows = connection.execute(text(_FEATURES), {"ids": ids[:MOST_SAMPLED], "most": MOST_SAMPLED}).all()
    return np.array([[np.nan if one is None else one for one in row] for row in rows], dtype=np.float64).reshape(-1, len(FEATURE_COLUMNS))
