"""Experiments and the champion's quality as Dagster shows them: numbers, tables and pictures. What they say is computed in `rollout`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from litgo_pipelines.rollout.drift import DriftResult
    from litgo_pipelines.rollout.off_policy import OffPolicyResult
    from litgo_pipelines.rollout.quality import Quality
    from litgo_pipelines.rollout.readings import PastReading
    from litgo_pipelines.rollout.readout import ExperimentResult
    from litgo_pipelines.rollout.trials import Reading
    from litgo_pipelines.rollout.watching import Watched
    from litgo_pipelines.settings import Settings


def readout_metadata(found: Reading, past: list[PastReading]) -> dict[str, Any]:
    """Verdict and reasons, each metric with its interval, sample ratio, guardrails, and the picture. What is unknown is left out."""
    shown: dict[str, Any] = {"done": "; ".join(found.done) or "nothing runs and nothing waits"}
    if found.experiment is not None:
        one = found.experiment
        shown |= {
            "experiment": str(one.id),
            "mode": one.mode,
            "champion": one.champion,
            "challenger": one.challenger,
            "status": one.status,
            "share_of_clients": one.split.share,
        }
    if found.result is not None:
        shown |= _judged(found.result)
    picture = _interval(past)
    return shown if picture is None else shown | {"interval_over_time": picture}


def _judged(result: ExperimentResult) -> dict[str, Any]:
    ratio = result.sample_ratio
    shown: dict[str, Any] = {
        "verdict": result.verdict,
        "reasons": dg.MetadataValue.md("\n".join(f"- {one}" for one in result.reasons)),
        "metrics": _metrics(result),
        "guardrails": _guardrails(result),
        "sample_ratio_alarm": ratio.alarm,
    }
    numbers = {"sample_ratio_expected": ratio.expected, "sample_ratio_found": ratio.found, "sample_ratio_p_value": ratio.p_value}
    return shown | {name: value for name, value in numbers.items() if value is not None}


def _metrics(result: ExperimentResult) -> dg.TableMetadataValue:
    numbers = ("control", "treatment", "lift", "low", "high", "p_value", "alpha")
    records = [
        dg.TableRecord(
            {
                "metric": one.metric,
                "units_control": one.units[0],
                "units_treatment": one.units[1],
                **{name: None if getattr(one, name) is None else round(getattr(one, name), 4) for name in numbers},
                "enough": one.enough,
            }
        )
        for one in result.figures
    ]
    columns = [dg.TableColumn("metric", "string"), dg.TableColumn("units_control", "int"), dg.TableColumn("units_treatment", "int")]
    columns += [*(dg.TableColumn(name, "float") for name in numbers), dg.TableColumn("enough", "bool")]
    return dg.MetadataValue.table(records, dg.TableSchema(columns))


def _guardrails(result: ExperimentResult) -> dg.TableMetadataValue:
    records = [dg.TableRecord({"name": one.name, "state": one.state, "told": one.told}) for one in result.guardrails]
    return dg.MetadataValue.table(records, dg.TableSchema([dg.TableColumn(name, "string") for name in ("name", "state", "told")]))


def _interval(past: list[PastReading]) -> dg.MarkdownMetadataValue | None:
    from litgo_pipelines.orchestration.pictures import inline_png
    from litgo_pipelines.rollout.experiment_pictures import interval_picture

    png = interval_picture(past)
    return None if png is None else inline_png(png, "Lift with its interval from look to look")


def off_policy_metadata(found: OffPolicyResult | None) -> dict[str, Any]:
    """Verdict, both estimates of the difference with their intervals, and how much of the log speaks for them; empty without any."""
    if found is None:
        return {}
    shown: dict[str, Any] = {
        "off_policy_verdict": found.verdict,
        "off_policy_reasons": "; ".join(found.reasons),
        "off_policy_requests": found.requests,
        "off_policy_effective_sample_size": found.effective_sample_size,
    }
    for name in ("snips", "doubly_robust", "snips_difference", "doubly_robust_difference"):
        one = getattr(found, name)
        numbers = {name: one.mean, f"{name}_low": one.low, f"{name}_high": one.high}
        shown |= {f"off_policy_{key}": value for key, value in numbers.items() if value is not None}
    return shown


def quality_metadata(found: Watched, settings: Settings) -> dict[str, Any]:
    """Verdict and reasons, the last hours' figures, drift by feature, and pictures. What is unknown is left out."""
    shown: dict[str, Any] = {"done": "; ".join(found.done) or "nothing to do"}
    if found.version is None or found.quality is None or found.result is None:
        return shown | {"verdict": "insufficient data"}
    evidence = found.quality.evidence
    shown |= {
        "version": found.version,
        "verdict": found.result.verdict,
        "reasons": dg.MetadataValue.md("\n".join(f"- {one}" for one in found.result.reasons)),
        "decisions": found.quality.decisions,
        "decisions_in_window": evidence.window_count,
        "fallback_in_window": evidence.fallback_count,
        "window_hours": evidence.window_hours,
        "threshold": evidence.threshold,
    }
    if evidence.reference is not None:
        shown |= {"reference_mean": evidence.reference.mean, "reference_decisions": evidence.reference.count}
        if evidence.window_mean is not None:
            shown |= {"window_mean": evidence.window_mean, "quality_ratio": evidence.window_mean / evidence.reference.mean}
        if len(found.quality.scores):
            shown["match_score"] = _scores(found.quality, settings)
    return shown if found.drift is None else shown | _drift(found.drift)


def _scores(quality: Quality, settings: Settings) -> dg.MarkdownMetadataValue:
    from litgo_pipelines.orchestration.pictures import inline_png
    from litgo_pipelines.rollout.watch_pictures import watch_picture

    began = quality.moments[0]
    hours = [(one - began).total_seconds() / 3600 for one in quality.moments]
    assert quality.evidence.reference is not None
    png = watch_picture(hours, quality.scores, quality.evidence.reference, settings.quality_threshold)
    return inline_png(png, "Match score against its reference, and how near each detector is to an alarm")


def _drift(drift: DriftResult) -> dict[str, Any]:
    from litgo_pipelines.orchestration.pictures import inline_png
    from litgo_pipelines.rollout.watch_pictures import drift_picture

    shown: dict[str, Any] = {"drift": drift.verdict, "drift_reasons": "; ".join(drift.reasons)}
    if drift.verdict != "insufficient data":
        shown["drift_of_features"] = inline_png(drift_picture(drift), "Drift of the features")
    return shown
