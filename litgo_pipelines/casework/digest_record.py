"""What is told of a week: the records that `digest` reads and `digest_text` words. Pure.

What is unknown is None, or a list that is empty, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from litgo_pipelines.casework.equity_run import TIMEZONE

if TYPE_CHECKING:
    from litgo_pipelines.integrations.policies import Service


@dataclass(frozen=True)
class Frozen:
    """What people froze more than a week ago."""

    what: Literal["models", "equity_price"]
    by: str
    since: datetime


@dataclass(frozen=True)
class Promise:
    """A figure of the distribution by its name, with its change against the week before, its limit and the verdict."""

    figure: str
    value: float | None
    change: float | None
    limit: float
    verdict: Literal["pass", "fail", "insufficient data"]


@dataclass(frozen=True)
class Waiting:
    """Messages that have waited for too long, and since when the oldest does."""

    messages: int
    oldest: datetime


@dataclass(frozen=True)
class Needs:
    """What waits for a person.

    Attributes:
        triages, overdue: cases without an area, and those of them that have waited for too long.
        unknown_messages: of which nobody knows whether they arrived.
        lost_contracts: whose envelope DocuSign lost.
        stuck_contracts: that wait for a place to sign them beyond their time.
        manual_contracts: that are to be signed by hand.
        unexplained: numbers of decisions that somebody took in MLflow's own pages without saying why.
        approval: challenger of the experiment that won and waits to be approved.
        broken_jobs: whose last run of the week failed.
        broken_promises: of fairness, by the newest snapshot.
        degraded: the champion, where it stands far below its reference.
        unequal_groups: challenger of the experiment whose groups are not as large as designed.
        waiting: None: no message waits for long.
        failed_messages: of the week that were not sent, neither overtaken by events nor settled by a person.
        missing: settings without which messages that wait reach nobody.
        left_alone: vendors that are not asked for now, because they failed.
    """

    triages: int
    overdue: int
    unknown_messages: int
    lost_contracts: int
    stuck_contracts: int
    manual_contracts: int
    unexplained: tuple[int, ...]
    approval: str | None
    broken_jobs: tuple[str, ...]
    frozen: tuple[Frozen, ...]
    broken_promises: tuple[Promise, ...] = ()
    degraded: str | None = None
    unequal_groups: str | None = None
    waiting: Waiting | None = None
    failed_messages: int = 0
    missing: tuple[str, ...] = ()
    left_alone: tuple[Service, ...] = ()


@dataclass(frozen=True)
class Fairness:
    """What the newest snapshot says of the distribution."""

    as_of: datetime
    promises: tuple[Promise, ...]


@dataclass(frozen=True)
class Move:
    """The alias champion was moved, or was to be."""

    action: Literal["promotion", "rollback", "alias moved"]
    from_version: str | None
    to_version: str | None
    result: str
    actor: str
    at: datetime


@dataclass(frozen=True)
class Quality:
    """How the watched version did.

    Attributes:
        ratio: mean match score of the week over the reference's; None where one of them is unknown.
    """

    version: str
    ratio: float | None
    verdict: Literal["healthy", "degraded", "insufficient data"]


@dataclass(frozen=True)
class Models:
    """Which model answers and what happened to it.

    Attributes:
        seen: whether anybody ever looked where the alias points.
        champion: None: the hand weights.
        since: when the alias was first seen there.
        trainings: verdicts of the week's trainings with how many there were.
    """

    seen: bool
    champion: str | None
    since: datetime | None
    moves: tuple[Move, ...]
    trainings: tuple[tuple[str, int], ...]
    quality: Quality | None


@dataclass(frozen=True)
class Lift:
    """Relative difference of a metric with its anytime-valid interval; None is unknown, of a bound that there is none."""

    metric: str
    estimate: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Running:
    """The experiment that runs or waits for approval.

    Attributes:
        share: of all clients in treatment.
        units: clients by group.
        read_at: when its figures were read; None: never.
    """

    champion: str
    challenger: str
    mode: Literal["ab", "interleaving"]
    status: str
    since: datetime | None
    share: float
    units: tuple[tuple[str, int], ...]
    lifts: tuple[Lift, ...]
    read_at: datetime | None
    sample_ratio_broken: bool


@dataclass(frozen=True)
class Ended:
    """An experiment that ended in the week."""

    challenger: str
    champion: str
    mode: Literal["ab", "interleaving"]
    verdict: str
    at: datetime


@dataclass(frozen=True)
class Vendor:
    """A vendor's week.

    Attributes:
        requests: that were made.
        failed, timeouts: of these.
        turned_away: calls that made none, because the vendor was left alone.
        work: pieces of work for which it is there; None: nothing is known.
        fallback: of these, done without it.
        breaker: whether it is left alone at the end of the week.
    """

    service: Service
    configured: bool
    requests: int
    failed: int
    timeouts: int
    turned_away: int
    work: int | None
    fallback: int | None
    breaker: Literal["closed", "open", "half-open"]


@dataclass(frozen=True)
class Delivery:
    """A channel's week: messages sent in it; of those created in it, lost or unknown; and those that wait at its end."""

    channel: Literal["push", "email"]
    sent: int
    unknown: int
    failed: int
    waiting: int


@dataclass(frozen=True)
class Job:
    """A job's week.

    Attributes:
        due, executed: moments at which it was due, and those for which a run succeeded in time.
        ended, failed: its runs.
    """

    name: str
    due: int
    executed: int
    ended: int
    failed: int


@dataclass(frozen=True)
class Digest:
    """All that is told of the seven days up to `until`."""

    since: datetime
    until: datetime
    needs: Needs
    fairness: Fairness | None
    models: Models
    running: Running | None
    ended: tuple[Ended, ...]
    vendors: tuple[Vendor, ...]
    deliveries: tuple[Delivery, ...]
    jobs: tuple[Job, ...]

    @property
    def key(self) -> str:
        """One digest an ISO week in São Paulo."""
        year, week, _ = self.until.astimezone(TIMEZONE).isocalendar()
        return f"digest:{year}-W{week:02}"
