"""The offline gate: whether a candidate is better than who answers now. Pure: evidence in, verdict and reasons out.

How the evidence is gathered lives in `steps`; a stored verdict can be replayed from its evidence alone.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Verdict = Literal["pass", "fail", "insufficient data"]

LEAST_CASES_OF_AN_AREA = 30
MOST_LOSS_OF_AN_AREA = 0.05
GINI_TARGET = 0.27
GINI_SLACK = 0.01
MOST_BYTES = 20_000_000
"""Of a model's text: a service loads it within seconds, and again with every start."""
MOST_SCORING_MS = 20.0
"""To score a large request's candidates; a match is answered within some tens of milliseconds."""


class AreaEvidence(BaseModel):
    """Mean NDCG@5 of both in one area of law, and the held-out cases behind it."""

    model_config = ConfigDict(frozen=True)

    area: str
    cases: int
    candidate: float
    champion: float


class GateEvidence(BaseModel):
    """What the gate judges by. Both rankers were measured on the same held-out cases.

    Attributes:
        incumbent: version of the champion, or `hand-weights`.
        held_out_cases: held-out cases for which NDCG is defined.
        min_held_out_cases: below this many nothing is said.
        min_improvement: factor by which the champion's NDCG@5 must be exceeded.
        candidate_ndcg_5, champion_ndcg_5: mean NDCG@5; None where no case defines it.
        difference_low, difference_high: 95 % interval of the mean difference, paired bootstrap.
        areas: each area by itself.
        golden: why the candidate does not reproduce its golden scores; None: it does.
        candidate_bytes: size of the candidate's text; None where it was not looked at.
        candidate_scoring_ms: time to score 1,000 candidates; None where it was not measured.
        candidate_gini, champion_gini: inequality of load after a replay under each; None where there was nobody to replay.
    """

    model_config = ConfigDict(frozen=True)

    incumbent: str
    held_out_cases: int
    min_held_out_cases: int
    min_improvement: float
    candidate_ndcg_5: float | None
    champion_ndcg_5: float | None
    difference_low: float | None
    difference_high: float | None
    areas: tuple[AreaEvidence, ...] = ()
    candidate_gini: float | None = None
    champion_gini: float | None = None
    golden: str | None = None
    candidate_bytes: int | None = None
    candidate_scoring_ms: float | None = None


class GateResult(BaseModel):
    """The verdict, why, and the evidence it can be replayed from."""

    model_config = ConfigDict(frozen=True)

    verdict: Verdict
    reasons: list[str]
    evidence: dict[str, Any]


def judge(evidence: GateEvidence) -> GateResult:
    """Pass a candidate that is better beyond doubt, harms no area and keeps the load even.

    - Fewer usable held-out cases than `min_held_out_cases`: insufficient data, whatever else holds.
    - Mean NDCG@5 must exceed the champion's times `min_improvement`. Where that lies at or above 1 nobody can reach it; then the
      error, 1 - NDCG@5, must fall by the share `min_improvement` - 1 instead.
    - The lower bound of the paired bootstrap must exceed 0: an equal candidate never passes.
    - No area with 30 or more held-out cases may lose more than 5 % of its NDCG@5.
    - A candidate that does not reproduce its golden scores, whose text has over 20 MB or that takes over 20 ms to score 1,000
      candidates fails, however few the data.
    - The Gini of the candidate's replay may reach the larger of the champion's and .27, plus .01 for the replay's own noise.
    """
    unfit = _unfit(evidence)
    if unfit:
        return _result("fail", unfit, evidence)
    candidate, champion, low = (_known(one) for one in (evidence.candidate_ndcg_5, evidence.champion_ndcg_5, evidence.difference_low))
    missing = _too_little(evidence)
    if missing or candidate is None or champion is None or low is None:
        return _result("insufficient data", [missing or "NDCG@5 is not defined on the held-out cases"], evidence)
    findings = [
        _improvement(candidate, champion, evidence),
        _certainty(low),
        *(_area(area) for area in evidence.areas if area.cases >= LEAST_CASES_OF_AN_AREA),
        _evenness(evidence),
    ]
    passed = all(good for good, _ in findings)
    return _result("pass" if passed else "fail", [reason for _, reason in findings if reason], evidence)


def _result(verdict: Verdict, reasons: list[str], evidence: GateEvidence) -> GateResult:
    return GateResult(verdict=verdict, reasons=reasons, evidence=evidence.model_dump(mode="json"))


def _known(number: float | None) -> float | None:
    return None if number is None or math.isnan(number) else number


def _too_little(evidence: GateEvidence) -> str:
    if evidence.held_out_cases >= evidence.min_held_out_cases:
        return ""
    return f"{evidence.held_out_cases} held-out cases can be judged by, {evidence.min_held_out_cases} are needed (LITGO_MIN_HELD_OUT_CASES)"


def _unfit(evidence: GateEvidence) -> list[str]:
    """What forbids the candidate to answer, however well it ranks."""
    found = []
    if evidence.golden is not None:
        found.append(evidence.golden)
    if evidence.candidate_bytes is not None and evidence.candidate_bytes > MOST_BYTES:
        found.append(f"its text has {evidence.candidate_bytes / 1e6:.1f} MB: at most {MOST_BYTES / 1e6:.0f} MB")
    if evidence.candidate_scoring_ms is not None and evidence.candidate_scoring_ms > MOST_SCORING_MS:
        found.append(f"it takes {evidence.candidate_scoring_ms:.1f} ms to score 1,000 candidates: at most {MOST_SCORING_MS:.0f} ms")
    return found


def _improvement(candidate: float, champion: float, evidence: GateEvidence) -> tuple[bool, str]:
    told = f"NDCG@5 {candidate:.4f} against {champion:.4f} of {evidence.incumbent}"
    wanted = champion * evidence.min_improvement
    if wanted < 1:
        good = candidate > wanted
        return good, f"{told}: {'above' if good else 'not above'} {wanted:.4f} (x{evidence.min_improvement:g})"
    share = evidence.min_improvement - 1
    good = (1 - candidate) <= (1 - champion) * (1 - share)
    return good, (
        f"{told}: x{evidence.min_improvement:g} is out of reach above {1 / evidence.min_improvement:.3f}, "
        f"so the error must fall by {share:.1%} instead; it {'does' if good else 'does not'} ({1 - candidate:.4f} after {1 - champion:.4f})"
    )


def _certainty(low: float) -> tuple[bool, str]:
    good = low > 0
    return good, f"lower bound of the improvement {low:+.4f}: {'above' if good else 'not above'} 0"


def _area(area: AreaEvidence) -> tuple[bool, str]:
    good = area.candidate >= area.champion * (1 - MOST_LOSS_OF_AN_AREA)
    return good, "" if good else (
        f"area {area.area} loses more than {MOST_LOSS_OF_AN_AREA:.0%}: {area.candidate:.4f} after {area.champion:.4f} ({area.cases} cases)"
    )


def _evenness(evidence: GateEvidence) -> tuple[bool, str]:
    candidate, champion = _known(evidence.candidate_gini), _known(evidence.champion_gini)
    if candidate is None:
        return True, "load was not replayed: there was nobody to replay"
    most = max(champion or 0.0, GINI_TARGET) + GINI_SLACK
    good = candidate <= most
    return good, f"replayed Gini {candidate:.3f}: {'at most' if good else 'above'} {most:.3f}"
