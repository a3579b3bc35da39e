"""What became of the clients of an experiment, read from the facts: tallies by side and ramp step, of ripe units alone.

A unit is a client's first request with offers. An outcome counts once the time it has to come about is over: before that it is unknown, not
missing. What follows from the tallies is `readout`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from litgo_pipelines.rollout.gate import GINI_SLACK
from litgo_pipelines.rollout.readout import Arms, Guardrail, Stratum, Tally

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from litgo_pipelines.rollout.experiments import Experiment

ACCEPTED_WITHIN: Final = timedelta(hours=24)
SIGNED_WITHIN: Final = timedelta(days=7)
MOST_SLOWER: Final = 1.5
"""A challenger's 95th percentile of latency may reach this many times the champion's."""
MOST_FALLBACK: Final = 0.10
"""Share of the challenger's requests without a vector of the case's text."""
_SLOW_ENOUGH_MS = 20.0
_LEAST_REQUESTS = 100

_EXPOSED = """
SELECT step, variant, count(*) FROM litgo.exposures
WHERE experiment_id = :id AND exposed_at <= :as_of AND variant IN ('control', 'treatment', 'interleaved')
GROUP BY step, variant
"""

# An offer that was answered with interest stays answered when the client's choice of somebody else closes it.
_ANSWERS = """
    SELECT e.client_id, e.step, e.variant, m.team,
        count(*) AS offers,
        count(*) FILTER (WHERE o.responded_at <= o.sent_at + :accepted_within
                         AND (o.status = 'interested' OR o.status = 'closed')) AS accepted
    FROM litgo.exposures e
    JOIN litgo.case_matches m ON m.request_id = e.request_id
    JOIN litgo.offers o ON o.case_id = m.case_id AND o.lawyer_id = m.lawyer_id AND o.match_id = m.id
    WHERE e.experiment_id = :id AND e.exposed_at <= :as_of - :accepted_within
    GROUP BY e.client_id, e.step, e.variant, m.team
"""

_ACCEPTED = f"""
SELECT step, variant, count(*), count(*) FILTER (WHERE accepted > 0), sum(accepted::float8 / offers), sum((accepted::float8 / offers) ^ 2)
FROM ({_ANSWERS}) a WHERE variant IN ('control', 'treatment')
GROUP BY step, variant
"""

# Who signed and canceled later had signed. Contracts from before the experiment are of cases from before it.
_SIGNED = """
SELECT e.step, e.variant, count(*), count(*) FILTER (WHERE k.signed_at <= e.exposed_at + :signed_within)
FROM litgo.exposures e
JOIN litgo.match_requests r ON r.id = e.request_id
LEFT JOIN (
    SELECT case_id, min(GREATEST(signed_client, signed_lawyer)) AS signed_at
    FROM litgo.contracts
    WHERE created_at >= :began AND signed_client IS NOT NULL AND signed_lawyer IS NOT NULL
    GROUP BY case_id
) k ON k.case_id = r.case_id
WHERE e.experiment_id = :id AND e.exposed_at <= :as_of - :signed_within AND e.variant IN ('control', 'treatment')
GROUP BY e.step, e.variant
"""

# A rating is there or it is not: none of those that are to come counts as a low one.
_RATED = """
SELECT e.step, e.variant, count(*), 0, sum(v.rating)::float8, sum(v.rating ^ 2)::float8
FROM litgo.exposures e
JOIN litgo.match_requests r ON r.id = e.request_id
JOIN litgo.contracts c ON c.case_id = r.case_id
JOIN litgo.reviews v ON v.contract_id = c.id
WHERE e.experiment_id = :id AND e.exposed_at <= :as_of AND v.created_at <= :as_of AND e.variant IN ('control', 'treatment')
GROUP BY e.step, e.variant
"""

_WINS = f"""
SELECT step, count(*), count(*) FILTER (WHERE challenger > champion), count(*) FILTER (WHERE champion > challenger)
FROM (
    SELECT client_id, step, COALESCE(sum(accepted) FILTER (WHERE team = 'champion'), 0) AS champion,
        COALESCE(sum(accepted) FILTER (WHERE team = 'challenger'), 0) AS challenger
    FROM ({_ANSWERS}) a WHERE variant = 'interleaved' GROUP BY client_id, step
) w GROUP BY step
"""

_RAN = """
SELECT count(*), percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ms), avg((embedding_space IS DISTINCT FROM usual.space)::int)
FROM litgo.match_requests,
    (SELECT mode() WITHIN GROUP (ORDER BY embedding_space) AS space
     FROM litgo.match_requests WHERE experiment_id = :id AND status = 'ok' AND started_at <= :as_of) usual
WHERE experiment_id = :id AND variant = :variant AND status = 'ok' AND started_at <= :as_of
"""

_RIPE = """
SELECT count(*) FILTER (WHERE exposed_at <= :as_of - :accepted_within) + count(*) FILTER (WHERE exposed_at <= :as_of - :signed_within)
FROM litgo.exposures WHERE experiment_id = :id
"""

# Clients who come back are one unit of an experiment: over a day they would count again each day.
_DAILY = """
SELECT count(DISTINCT k.client_id)::float8 / GREATEST(1, LEAST(28, EXTRACT(EPOCH FROM :as_of - min(r.started_at)) / 86400))
FROM litgo.match_requests r JOIN litgo.cases k ON k.id = r.case_id
WHERE r.status = 'ok' AND r.started_at > :as_of - interval '28 days' AND r.started_at <= :as_of
"""

_BASE = """
SELECT avg(share), stddev_samp(share), count(*),
    avg((signed_at <= created_at + :signed_within)::int) FILTER (WHERE created_at <= :as_of - :signed_within)
FROM (
    SELECT r.id, c.created_at, COALESCE(k.signed_at, 'infinity') AS signed_at,
        avg((o.responded_at IS NOT NULL AND o.responded_at <= o.sent_at + :accepted_within
             AND o.status IN ('interested', 'closed'))::int) AS share
    FROM litgo.match_requests r
    JOIN litgo.cases c ON c.id = r.case_id
    JOIN litgo.case_matches m ON m.request_id = r.id
    JOIN litgo.offers o ON o.case_id = m.case_id AND o.lawyer_id = m.lawyer_id AND o.match_id = m.id
    LEFT JOIN (
        SELECT case_id, min(GREATEST(signed_client, signed_lawyer)) AS signed_at
        FROM litgo.contracts
        WHERE created_at > :as_of - interval '30 days' AND signed_client IS NOT NULL AND signed_lawyer IS NOT NULL
        GROUP BY case_id
    ) k ON k.case_id = c.id
    WHERE r.started_at > :as_of - interval '30 days' AND r.started_at <= :as_of - :accepted_within
    GROUP BY r.id, c.id, k.signed_at
) u
"""


def ripe(connection: Connection, experiment: Experiment, as_of: datetime) -> int:
    """How many outcomes of acceptance and signature have ripened: while it stays, there is nothing to read anew."""
    from sqlalchemy import text

    return int(connection.execute(text(_RIPE), _asked(experiment, as_of)).scalar_one())


def strata(connection: Connection, experiment: Experiment, as_of: datetime) -> list[Stratum]:
    """The tallies of each ramp step reached so far, ripe units alone."""
    from sqlalchemy import text

    asked = _asked(experiment, as_of)
    exposed: dict[int, dict[str, int]] = {}
    for step, variant, count in connection.execute(text(_EXPOSED), asked):
        exposed.setdefault(step, {})[variant] = count
    found = _interleaved(connection, asked) if experiment.mode == "interleaving" else _by_side(connection, asked)
    return [_stratum(experiment, step, exposed.get(step, {}), found.get(step, {})) for step in range(experiment.step + 1)]


def _by_side(connection: Connection, asked: dict[str, object]) -> dict[int, dict[str, Arms]]:
    from sqlalchemy import text

    sides: dict[tuple[int, str], dict[str, Tally]] = {}
    for metric, statement in (("accepted", _ACCEPTED), ("contract", _SIGNED), ("rating", _RATED)):
        for step, variant, units, conversions, *sums in connection.execute(text(statement), asked):
            total, squares = sums or (0.0, 0.0)
            tally = Tally(units=units, conversions=conversions, total=total, squares=squares)
            sides.setdefault((step, metric), {})[variant] = tally
    found: dict[int, dict[str, Arms]] = {}
    for (step, metric), tallies in sides.items():
        found.setdefault(step, {})[metric] = Arms(**tallies)
    return found


def _interleaved(connection: Connection, asked: dict[str, object]) -> dict[int, dict[str, Arms]]:
    from sqlalchemy import text

    return {
        step: {
            "preference": Arms(control=Tally(units=units, conversions=champion), treatment=Tally(units=units, conversions=challenger)),
        }
        for step, units, challenger, champion in connection.execute(text(_WINS), asked)
    }


def _stratum(experiment: Experiment, step: int, exposed: dict[str, int], metrics: dict[str, Arms]) -> Stratum:
    from dataclasses import replace

    if experiment.mode == "interleaving":
        both = exposed.get("interleaved", 0)
        return Stratum(step=step, share=0.5, exposed=(both, both), metrics=metrics)
    share = replace(experiment.split, step=step).exposed_share
    return Stratum(step=step, share=share, exposed=(exposed.get("control", 0), exposed.get("treatment", 0)), metrics=metrics)


@dataclass(frozen=True)
class MarketGini:
    """Gini of the whole market's utilisation before the experiment and now; None where it is not known."""

    before: float | None = None
    now: float | None = None


def guardrails(connection: Connection, experiment: Experiment, as_of: datetime, *, gini: MarketGini, most_gini: float) -> list[Guardrail]:
    """Latency and share of answers in fallback by side, and the Gini of the whole market, which no side has for itself.

    In fallback is what was compared in another space than most of the experiment.

    A market that was uneven before may stay as it was: a candidate is not held back for what the champion left.
    """
    from sqlalchemy import text

    asked = _asked(experiment, as_of)
    # Interleaved, both models answer each request together: there is nothing to compare its latency with.
    sides = (("control", 0), ("treatment", 1)) if experiment.mode == "ab" else (("interleaved", 1),)
    latency: list[float | None] = [None, None]
    fallback: list[float | None] = [None, None]
    for variant, side in sides:
        count, slowest, without = connection.execute(text(_RAN), asked | {"variant": variant}).one()
        if count >= _LEAST_REQUESTS and slowest is not None and without is not None:
            # What is too fast to be felt cannot become too slow by a factor.
            latency[side], fallback[side] = max(float(slowest), _SLOW_ENOUGH_MS), float(without)
    return [
        Guardrail(name="latency p95 (ms)", control=latency[0], treatment=latency[1], most_ratio=MOST_SLOWER),
        Guardrail(name="answers in fallback", control=fallback[0], treatment=fallback[1], limit=MOST_FALLBACK),
        Guardrail(name="Gini of the whole market", treatment=gini.now, limit=max(most_gini, (gini.before or 0.0) + GINI_SLACK)),
    ]


def daily_clients(connection: Connection, as_of: datetime) -> float:
    """Distinct clients with a request in the last 28 days, or as long as there were any, by the day; 0 without any."""
    from sqlalchemy import text

    return float(connection.execute(text(_DAILY), {"as_of": as_of}).scalar_one() or 0.0)


def base_rates(connection: Connection, as_of: datetime) -> tuple[float, float, float] | None:
    """Mean and standard deviation of the share of offers accepted within a day, and the share of cases signed within a week, of late.

    None where fewer than 30 requests of the last 30 days can tell.
    """
    from sqlalchemy import text

    asked = {"as_of": as_of, "accepted_within": ACCEPTED_WITHIN, "signed_within": SIGNED_WITHIN}
    mean, sd, requests, signed = connection.execute(text(_BASE), asked).one()
    if requests < 30 or mean is None or sd is None or signed is None:
        return None
    return float(mean), float(sd), float(signed)


def _asked(experiment: Experiment, as_of: datetime) -> dict[str, object]:
    within = {"accepted_within": ACCEPTED_WITHIN, "signed_within": SIGNED_WITHIN}
    return {"id": experiment.id, "as_of": as_of, "began": experiment.started_at or as_of, **within}
