"""What an explanation consists of: findings, numbers, counts. Structure alone; reading it is `explanations`, wording it `wording`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from litgo_pipelines.equity.allocation import BAND

KEPT_DAYS: Final = 180
"""Days that the record of those compared is kept."""

FEATURE_NAMES: Final = (
    "area_match",
    "case_similarity",
    "success_rate",
    "proximity",
    "qualification",
    "response_time",
    "reviews",
    "soft_skills",
)
"""The eight features in the order of `marketplace.names.FEATURES`, by names that say what they are."""

_ROUNDING = 1e-9
# Values are recorded in single precision, which moves them by at most this share.
_RECORDED = 2.0**-24


class Finding(StrEnum):
    """What became of a lawyer in one request.

    From `OTHER_AREA` on, and in `BEYOND_RECORD`, nothing is recorded of this lawyer: the finding follows from the register as it is today.
    """

    OFFERED = "offered"
    SHOWN = "shown"
    """Shown to the client in answer to a request that made this lawyer no offer."""
    NOT_SHOWN = "not_shown"
    BEYOND_RECORD = "beyond_record"
    """Compared, but not among the best, who alone are recorded."""
    ALREADY_OFFERED = "already_offered"
    JOINED_LATER = "joined_later"
    NO_RECORD = "no_record"
    """Whom the request compared is not, or no longer, recorded."""
    OTHER_AREA = "other_area"
    INACTIVE = "inactive"
    ABSENT = "absent"
    NOT_COMPARED = "not_compared"
    """All who were compared are recorded, and this lawyer is not among them; today's register does not tell why."""


COMPARED: Final = frozenset({Finding.OFFERED, Finding.SHOWN, Finding.NOT_SHOWN, Finding.BEYOND_RECORD})
"""The findings of a lawyer who was compared with others."""


@dataclass(frozen=True)
class Lawyer:
    """A lawyer as registered today."""

    id: UUID
    name: str
    oab_number: str | None
    status: str
    primary_area: str
    specialties: tuple[str, ...]
    available_until: datetime | None
    available_from: datetime | None
    created_at: datetime

    @property
    def areas(self) -> frozenset[str]:
        """All areas the lawyer practises."""
        return frozenset((self.primary_area, *self.specialties))


@dataclass(frozen=True)
class Request:
    """A matching request that was answered.

    Attributes:
        price: `a` of the offer rule at the decision.
        eligible: how many lawyers were compared.
        cutoff: value of the last one shown who was not full.
        exploration: whether the order inside value bands was drawn by lot.
        offers_made: offers it made; 0 where it only showed lawyers to the client.
        recorded: how many of those compared are recorded.
        least_recorded: least value among those recorded and not shown; nobody unrecorded has a higher one.
    """

    id: UUID
    case_id: UUID
    area: str
    at: datetime
    model_version: str | None
    price: float | None
    eligible: int | None
    cutoff: float | None
    exploration: bool
    offers_made: int
    recorded: int
    least_recorded: float | None

    @property
    def beyond(self) -> int | None:
        """How many were compared beyond those recorded; None where that is not, or no longer, known."""
        known = self.eligible is not None and (self.recorded > 0 or self.eligible == 0)
        return max(0, (self.eligible or 0) - self.recorded) if known else None

    @property
    def beyond_are_lower(self) -> bool:
        """Whether those compared and not recorded surely lie in a lower value band than the last one shown."""
        if self.least_recorded is None or self.cutoff is None:
            return False
        return band_of(self.least_recorded) < band_of(self.cutoff)


@dataclass(frozen=True)
class Numbers:
    """The numbers of one comparison: value = score - discount + bonus, and load over capacity (offers in flight included)."""

    score: float
    load: float | None
    discount: float | None
    bonus: float | None
    value: float | None
    is_new: bool | None


@dataclass(frozen=True)
class Offer:
    """An offer as it stands today."""

    status: str
    decline_reason: str | None
    sent_at: datetime
    expires_at: datetime
    responded_at: datetime | None


@dataclass(frozen=True)
class Decision:
    """What one request decided about one lawyer. What does not apply, or was not recorded, is None.

    Attributes:
        reason: as in `match_candidates`.
        position: place on the list, from 1.
        features: the eight features by `FEATURE_NAMES`, 0..1, None where unknown; of those shown only.
        offer: the offer this request made; for `ALREADY_OFFERED` the earlier one.
    """

    request: Request
    finding: Finding
    reason: str | None = None
    position: int | None = None
    numbers: Numbers | None = None
    features: dict[str, float | None] | None = None
    offer: Offer | None = None


@dataclass(frozen=True)
class DayLoad:
    """A lawyer's load by the figures of one night."""

    as_of: datetime
    cases_30d: int
    capacidade_mensal: int
    utilisation: float


@dataclass(frozen=True)
class Peers:
    """Medians over the lawyers of one primary area, on the last night of the period; None where too few lawyers stand behind them."""

    area: str
    lawyers: int
    utilisation: float | None
    offers: float | None


@dataclass(frozen=True)
class Summary:
    """Counts over a lawyer's decisions.

    Attributes:
        requests: all answered requests of the period, of whatever area.
        compared: those in which the lawyer was compared with others; `compared_recorded` of them are on record.
        compared_for_offers: those of them that made offers; `offered` of them made this lawyer one.
        offered_share: offered over compared_for_offers; None where that is 0.
        by_finding: decisions by finding, cases of other areas included.
        by_reason: recorded decisions by outcome and reason, as `shown:value` or `not_shown:full`.
    """

    requests: int
    compared: int
    compared_recorded: int
    compared_for_offers: int
    offered: int
    offered_share: float | None
    by_finding: dict[str, int]
    by_reason: dict[str, int]


@dataclass(frozen=True)
class LawyerExplanation:
    """What was decided about a lawyer, newest first.

    Attributes:
        case_id: the one case asked about; None: all cases of the period.
        since, until: the period; where one case was asked about, the 30 days before its last request, which loads and peers are of.
        record_since: when the first request on record was made; None where there is none.
        decisions: requests that the lawyer came into question for; without those of other areas unless one case was asked about.
    """

    lawyer: Lawyer
    case_id: UUID | None
    since: datetime
    until: datetime
    record_since: datetime | None
    summary: Summary
    load: tuple[DayLoad, ...]
    peers: Peers
    decisions: tuple[Decision, ...]


@dataclass(frozen=True)
class Candidate:
    """A recorded candidate of a request. Name and number are None where the lawyer's row is gone; the outcome's reason where it expired."""

    lawyer_id: UUID
    name: str | None
    oab_number: str | None
    outcome: str
    reason: str | None
    position: int | None
    numbers: Numbers
    offer: Offer | None


@dataclass(frozen=True)
class AnsweredRequest:
    """A request with those recorded: shown ones first, then by value. `beyond` were compared and are not recorded (None: not known)."""

    request: Request
    candidates: tuple[Candidate, ...]
    beyond: int | None


@dataclass(frozen=True)
class CaseExplanation:
    """Every answered request for a case, newest first."""

    case_id: UUID
    area: str
    created_at: datetime
    requests: tuple[AnsweredRequest, ...]


def band_of(value: float) -> int:
    """The number of the value band that a recorded value lies in, as `equity.allocation` counts them."""
    return math.floor((value + abs(value) * _RECORDED) / BAND + _ROUNDING)
