"""How well the champion does, read from the facts: match scores, answers and features of its decisions since it is watched.

What the figures mean is judged in `watch` and `drift`; what is done about it in `watching`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.marketplace.names import FEATURE_COLUMNS
from litgo_pipelines.ranking.text import NO_SPACE
from litgo_pipelines.rollout.watch import Reference, WatchEvidence, counted, reference_of, watch_evidence, with_answers

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from litgo_pipelines.settings import Settings

MOST_READ: Final = 5_000
"""Decisions, the newest ones, that the statistics run over; they begin at 0 there, as they do wherever they were 0."""
FIRST_PLACES: Final = 3
"""Lawyers of each list that the match score is of: how many are shown below them is the caller's choice, and must not move it."""
MOST_REFERENCE: Final = 5_000
"""Decisions that a reference grows to."""
ANSWERED_WITHIN: Final = timedelta(hours=24)
"""What a decision's offers have to be answered in to count; before, it is not looked at: those who are quick are not like the others."""
MOST_SAMPLED: Final = 4_000
"""Rows of features on either side of the comparison."""
GONE_AFTER: Final = timedelta(hours=12)
"""How long no decision is in the reference's space before that has gone for good."""
_INSTANT: Final = timedelta(microseconds=1)
"""What moments differ by at least in the database."""

# Interleaved lists hold the other model's lawyers.
_OWN = "r.model_version = :version AND r.status = 'ok' AND r.variant IS DISTINCT FROM 'interleaved'"

_SCORED = f"""
litgo.match_requests r
CROSS JOIN LATERAL (
    SELECT avg(m.score)::float8 AS score FROM litgo.case_matches m WHERE m.request_id = r.id AND m.position <= {FIRST_PLACES}
) s
"""

_DECISIONS = f"""
SELECT r.id, r.started_at, r.embedding_space, s.score
FROM {_SCORED}
WHERE {_OWN} AND r.started_at > :since AND r.started_at <= :until AND s.score IS NOT NULL
ORDER BY r.started_at {{order}}, r.id LIMIT :most
"""

# Those that show nobody have no score, and do not count.
_MEAN = f"""
SELECT avg(s.score) FROM {_SCORED}
WHERE {_OWN} AND r.embedding_space = :space AND r.started_at > :since AND r.started_at <= :until
"""

_COUNT = f"SELECT count(*) FROM litgo.match_requests r WHERE {_OWN} AND r.started_at > :since AND r.started_at <= :as_of"

# As in training: a decline for lack of time says nothing about the match, nor does an offer that nobody answered.
_ANSWERS = f"""
WITH newest AS MATERIALIZED (
    SELECT r.id, r.started_at FROM litgo.match_requests r
    WHERE {_OWN} AND r.embedding_space = :space AND r.started_at > :since AND r.started_at <= :until
    ORDER BY r.started_at DESC, r.id LIMIT :most
)
SELECT m.score::float8 AS promised, (o.status <> 'declined')::int AS accepted
FROM newest r
JOIN litgo.case_matches m ON m.request_id = r.id
JOIN litgo.offers o ON o.case_id = m.case_id AND o.lawyer_id = m.lawyer_id AND o.match_id = m.id
WHERE o.responded_at <= r.started_at + :within
  AND (o.status IN ('interested', 'closed') OR (o.status = 'declined' AND o.decline_reason IS DISTINCT FROM 'capacity'))
ORDER BY r.started_at, r.id, m.position
"""

# The experiment that a champion has won: what it decided there were its first decisions.
_WON = """
SELECT started_at FROM litgo.experiments
WHERE challenger = :version AND verdict = 'promote' AND ended_at BETWEEN :since - :around AND :since + :around
ORDER BY ended_at DESC LIMIT 1
"""

_FEATURES = f"""
SELECT {", ".join(f"m.{name}" for name in FEATURE_COLUMNS)}
FROM litgo.case_matches m WHERE m.request_id = ANY(:ids) AND m.position <= {FIRST_PLACES} ORDER BY m.request_id, m.position LIMIT :most
"""


@dataclass(frozen=True)
class Decided:
    """Decisions in the order of time: ids, moments, embedding spaces and match scores, shape (n,).

    A match score is the mean calibrated probability of acceptance of the lawyers in the first `FIRST_PLACES` places, or of all who are
    shown where those are fewer.
    """

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
        judged: of these, compared with the first `LITGO_REFERENCE_DECISIONS`, or with a reference from before.
        evidence: for `watch.judge_watch`.
        fresh_reference: a reference that could be made just now, or knows more than the one kept, and is to be kept; else None.
        scores, moments: of the decisions since then that count.
        features: of the reference's decisions and of the newest ones, of the lawyers in the first places, shapes (n, 8) and (m, 8); NaN
            where unknown.
    """

    version: str
    decisions: int
    judged: int
    evidence: WatchEvidence
    fresh_reference: Reference | None
    scores: NDArray[np.float64]
    moments: list[datetime]
    features: tuple[NDArray[np.float64], NDArray[np.float64]]


def decisions_since(connection: Connection, version: str, since: datetime, as_of: datetime) -> int:
    """How many decisions a version has made."""
    from sqlalchemy import text

    return int(connection.execute(text(_COUNT), {"version": version, "since": since, "as_of": as_of}).scalar_one())


def mean_score(connection: Connection, version: str, space: str, since: datetime, until: datetime) -> float | None:
    """Mean match score of all that a version decided in an embedding space after `since` and up to `until`; None where that is nothing."""
    from sqlalchemy import text

    asked = {"version": version, "space": space, "since": since, "until": until}
    found: float | None = connection.execute(text(_MEAN), asked).scalar_one()
    return found


def read_quality(
    connection: Connection,
    version: str,
    watched_since: datetime,
    known: Reference | None,
    as_of: datetime,
    settings: Settings,
    *,
    judged_since: datetime | None = None,
    was_blocked: bool = False,
    with_features: bool = True,
) -> Quality:
    """Read a watched version's decisions and answers up to `as_of`.

    What is judged begins with the watch, or after the reference, or at `judged_since`, whatever is latest. Answers are those to decisions
    that lawyers had a day for, in the order of the decisions, in the reference and after it alike.

    Args:
        known: the reference as it was kept, in this watch or in one before; None: it is made of the first `LITGO_REFERENCE_DECISIONS`
            decisions where there are so many, those of the experiment that the version won included. It is made anew only where the
            newest decisions are all in another embedding space, and none for half a day was in its own. One that was made in this watch
            grows with the decisions that follow it, up to `MOST_REFERENCE`, as long as these are no worse.
        was_blocked: whether the version was blocked at any time, which is noted in a reference made since.
        with_features: whether to read the features of both ends as well, and let the reference grow.
    """
    least = settings.litgo_reference_decisions
    # What a version decided in the experiment that it won belongs to this watch.
    own_since = _won(connection, version, watched_since) or watched_since
    first, reference = _beginning(connection, version, own_since, known, as_of, least, was_blocked)
    begin = watched_since if judged_since is None else max(watched_since, judged_since)
    since = max([begin, *first.moments[-1:]])
    later = _decided(connection, version, since, as_of, MOST_READ, newest=True)
    anew = None if reference is None else _anew(later, reference, as_of, least, was_blocked)
    if anew is not None:
        first, reference = anew
        since = first.moments[-1]
        later = later.part(np.array([one > since for one in later.moments], dtype=bool))
    reference = None if reference is None else _with_answers(connection, version, reference, as_of, least)
    grown = _grown(connection, version, own_since, reference, as_of, settings) if with_features else None
    if grown is not None:
        first, reference = grown
        since = max(begin, first.moments[-1])
        later = later.part(np.array([one > since for one in later.moments], dtype=bool))
    own = counted(later.spaces, np.zeros(len(later.ids)), reference) if reference is not None else np.zeros(len(later.ids), dtype=bool)
    recent = np.array([one > as_of - timedelta(hours=settings.degradation_window) for one in later.moments], dtype=bool)
    promised, accepted = np.zeros(0), np.zeros(0)
    if reference is not None and reference.accepted_ratio:
        promised, accepted = _answers(connection, version, reference.space, since, as_of - ANSWERED_WITHIN, MOST_READ)
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
    features = (nothing, nothing)
    if with_features and reference is not None and first.ids:
        features = _both_ends(connection, version, first, reference.space, as_of, least)
    return Quality(
        version=version,
        decisions=decisions_since(connection, version, watched_since, as_of),
        judged=len(counting.scores) + (0 if reference is None else _absorbed(reference, own_since, least)),
        evidence=evidence,
        fresh_reference=None if reference == known else reference,
        scores=counting.scores,
        moments=counting.moments,
        features=features,
    )


def _beginning(
    connection: Connection, version: str, own_since: datetime, known: Reference | None, as_of: datetime, least: int, was_blocked: bool
) -> tuple[Decided, Reference | None]:
    """The decisions behind the reference, and what is known of it without answers; the first decisions so far while there is none."""
    if known is None:
        # Some may have been answered in fallback: more are read than are needed.
        found = _decided(connection, version, own_since, as_of, 4 * least, newest=False)
        space = _first_with(least, found.spaces) or _most_common(found.spaces)
        first = _those_in(found, space, least)
        return first, None if space is None else _made_of(first, space, least, was_blocked)
    if known.began is None or known.ended is None:
        return _those_in(Decided([], [], [], np.zeros(0)), None, 0), known
    found = _decided(connection, version, known.began - _INSTANT, known.ended, 4 * known.count, newest=False)
    return _those_in(found, known.space, known.count), known


def _anew(later: Decided, reference: Reference, as_of: datetime, least: int, was_blocked: bool) -> tuple[Decided, Reference] | None:
    """The first decisions in another space, and the reference they make, where the reference's own space has gone for good.

    A vendor that is away for some hours comes back: until then nothing is compared, and afterwards with what was before.
    """
    own = [moment for moment, space in zip(later.moments, later.spaces, strict=True) if space == reference.space]
    last = own[-1] if own else reference.ended
    if last is not None and as_of - last < GONE_AFTER:
        return None
    newest = [one for one in later.spaces if one not in (None, NO_SPACE)][-least:]
    space = _most_common(newest)
    if len(newest) < least or space is None or reference.space in newest:
        return None
    first = _those_in(later, space, least)
    made = _made_of(first, space, least, was_blocked)
    return None if made is None else (first, made)


def _first_with(least: int, spaces: Sequence[str | None]) -> str | None:
    """The space that has so many decisions first, in the order of time: an outage that follows may have more."""
    counts: Counter[str] = Counter()
    for one in spaces:
        if one not in (None, NO_SPACE):
            counts[str(one)] += 1
            if counts[str(one)] == least:
                return one
    return None


def _most_common(spaces: Sequence[str | None]) -> str | None:
    known = [one for one in spaces if one not in (None, NO_SPACE)]
    return max(dict.fromkeys(known), key=known.count, default=None)


def _those_in(found: Decided, space: str | None, most: int) -> Decided:
    """The first so many decisions in a space; none where the space is None."""
    own = np.array([one is not None and one == space for one in found.spaces], dtype=bool)
    own[np.flatnonzero(own)[most:]] = False
    return found.part(own)


def _made_of(first: Decided, space: str, least: int, was_blocked: bool) -> Reference | None:
    made = reference_of(first.scores, space, (), (), least=least)
    if made is None:
        return None
    return made.model_copy(update={"began": first.moments[0], "ended": first.moments[-1], "after_block": was_blocked})


def _absorbed(reference: Reference, own_since: datetime, least: int) -> int:
    """Decisions of this watch that were judged before they became a part of the reference."""
    return max(0, reference.count - least) if reference.began is not None and reference.began >= own_since else 0


def _grown(
    connection: Connection, version: str, own_since: datetime, reference: Reference | None, as_of: datetime, settings: Settings
) -> tuple[Decided, Reference] | None:
    """A reference of twice as many decisions, where so many have ripened and those added lie nearer to it than to the threshold.

    The more decisions it is made of, the smaller a fall shows, and the sooner; what has fallen already must not become the measure.
    """
    if reference is None or reference.began is None or reference.began < own_since or reference.count >= MOST_REFERENCE:
        return None
    wanted = min(2 * reference.count, MOST_REFERENCE)
    found = _decided(connection, version, reference.began - _INSTANT, as_of - ANSWERED_WITHIN, 4 * wanted, newest=False)
    first = _those_in(found, reference.space, wanted)
    if len(first.ids) < wanted:
        return None
    if first.scores[reference.count :].mean() < (1 + settings.quality_threshold) / 2 * reference.mean:
        return None
    made = _made_of(first, reference.space, wanted, reference.after_block)
    return None if made is None else (first, _with_answers(connection, version, made, as_of, settings.litgo_reference_decisions))


def _with_answers(connection: Connection, version: str, reference: Reference, as_of: datetime, least: int) -> Reference:
    """The reference with what became of its own offers, once all lawyers had the time to answer them."""
    if reference.accepted_ratio is not None or reference.began is None or reference.ended is None:
        return reference
    if as_of < reference.ended + ANSWERED_WITHIN:
        return reference
    # Decisions that show nobody lie between them.
    found = _answers(connection, version, reference.space, reference.began - _INSTANT, reference.ended, 4 * reference.count)
    return with_answers(reference, *found, least=least)


def _won(connection: Connection, version: str, watched_since: datetime) -> datetime | None:
    """When the experiment began by which the version became champion; None where it did so by none."""
    from sqlalchemy import text

    asked = {"version": version, "since": watched_since, "around": timedelta(hours=1)}
    found: datetime | None = connection.execute(text(_WON), asked).scalar_one_or_none()
    return found


def _decided(connection: Connection, version: str, since: datetime, until: datetime, most: int, *, newest: bool) -> Decided:
    from sqlalchemy import text

    statement = _DECISIONS.format(order="DESC" if newest else "ASC")
    rows = connection.execute(text(statement), {"version": version, "since": since, "until": until, "most": most}).all()
    if newest:
        rows = rows[::-1]
    return Decided(
        [row.id for row in rows],
        [row.started_at for row in rows],
        [row.embedding_space for row in rows],
        np.array([row.score for row in rows], dtype=np.float64),
    )


def _answers(
    connection: Connection, version: str, space: str, since: datetime, until: datetime, most: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Promised and accepted of offers answered in time, of the newest decisions in a space between two moments, in the decisions' order."""
    from sqlalchemy import text

    asked = {"version": version, "space": space, "since": since, "until": until, "within": ANSWERED_WITHIN, "most": most}
    rows = connection.execute(text(_ANSWERS), asked).all()
    return np.array([row.promised for row in rows], dtype=np.float64), np.array([row.accepted for row in rows], dtype=np.float64)


def _both_ends(
    connection: Connection, version: str, first: Decided, space: str, as_of: datetime, least: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Features of the first `least` decisions, however many the reference has grown to, and of the newest ones after them."""
    began = first.moments[: max(least, 1)][-1]
    newest = _those_in(_decided(connection, version, began, as_of, MOST_SAMPLED // FIRST_PLACES, newest=True), space, MOST_SAMPLED)
    return _features(connection, first.ids[:least]), _features(connection, newest.ids[::-1])


def _features(connection: Connection, ids: list[object]) -> NDArray[np.float64]:
    from sqlalchemy import text

    if not ids:
        return np.zeros((0, len(FEATURE_COLUMNS)))
    rows = connection.execute(text(_FEATURES), {"ids": ids[:MOST_SAMPLED], "most": MOST_SAMPLED}).all()
    return np.array([[np.nan if one is None else one for one in row] for row in rows], dtype=np.float64).reshape(-1, len(FEATURE_COLUMNS))
