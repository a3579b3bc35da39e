"""From reviews to a promoted ranker: training set, candidate, evaluation, promotion; and the champion that people may move."""

import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from litgo_pipelines.orchestration.moment import Moment
from litgo_pipelines.orchestration.pictures import inline_png
from litgo_pipelines.orchestration.resources import Project
from litgo_pipelines.rollout.handovers import CandidateRef, EvaluationRef, Metadata, PromotionResult, TrainingSetRef

GROUP = "ranker"
_OWNERS = ["team:data"]
_TAGS = {"litgo/serves": "ranking"}
SEED = 20_260_101


@dg.asset(kinds={"postgres", "parquet", "mlflow"}, group_name=GROUP, owners=_OWNERS, tags=_TAGS)
def training_set(context: dg.AssetExecutionContext, config: Moment, project: Project) -> dg.MaterializeResult[TrainingSetRef]:
    """Every decided match up to now with its logged features and outcome, split by time, under pseudonyms."""
    from litgo_pipelines.orchestration.pseudonyms import pseudonym_key
    from litgo_pipelines.rollout.steps import build_training_set

    settings = project.settings
    ref, metadata = build_training_set(
        database_url=project.services.database,
        as_of=config.value(),
        labels=settings.litgo_labels,
        held_out_share=settings.litgo_held_out_share,
        embargo_days=settings.litgo_outcome_embargo_days,
        pseudonym_key=pseudonym_key(settings),
        datasets_folder=settings.datasets_folder,
        tracking=project.tracking(),
        tags={"dagster_run_id": context.run.run_id},
    )
    return dg.MaterializeResult(value=ref, metadata=_shown(metadata))


@dg.asset(kinds={"lightgbm", "mlflow"}, group_name=GROUP, owners=_OWNERS, tags=_TAGS)
def ranker_candidate(training_set: TrainingSetRef, project: Project) -> dg.MaterializeResult[CandidateRef]:
    """A LightGBM ranker with its calibration and golden scores, registered as the next version of `litgo-ranker`."""
    import structlog

    from litgo_pipelines.rollout.steps import IMPORTANCE_FILE, train_candidate

    tracking = project.tracking()
    ref, metadata = train_candidate(
        training_set, seed=SEED, threads=project.settings.litgo_training_threads, tracking=tracking, registry=project.registry()
    )
    shown = _shown(metadata)
    structlog.get_logger(__name__).info("ranker trained", model_version=ref.version, mlflow_run=training_set.run_id)
    if ref.version is not None:
        with tempfile.TemporaryDirectory() as folder:
            picture = tracking.resume(training_set.run_id).download(IMPORTANCE_FILE, Path(folder)).read_bytes()
        shown["feature_importance"] = inline_png(picture, "Feature importance")
    return dg.MaterializeResult(value=ref, metadata=shown)


@dg.asset(kinds={"mlflow"}, group_name=GROUP, owners=_OWNERS, tags=_TAGS)
def candidate_evaluation(
    context: dg.AssetExecutionContext, ranker_candidate: CandidateRef, project: Project
) -> dg.MaterializeResult[EvaluationRef]:
    """Candidate, champion and hand weights on the same held-out cases, and the gate's verdict: pass, fail or insufficient data.

    Beside it, for information, what the logged explorations say of the candidate before any client sees it (off-policy estimate).
    """
    from litgo_pipelines.casework.prices import offer_rule
    from litgo_pipelines.casework.replay import GiniReplay
    from litgo_pipelines.orchestration.rollout_figures import off_policy_metadata
    from litgo_pipelines.rollout.bundle import GoldenScoresDiffer, NoGoldenScores
    from litgo_pipelines.rollout.candidates import estimate_before_traffic, note_gate
    from litgo_pipelines.rollout.steps import evaluate_candidate

    settings = project.settings
    with project.connection() as connection:
        rule = replace(offer_rule(connection, settings), exploration=0.0)
        replay = GiniReplay.read(
            connection, ranker_candidate.training_set.as_of, rule=rule, new_lawyer_offers=settings.litgo_new_lawyer_offers
        )
    ref, metadata = evaluate_candidate(
        ranker_candidate,
        tracking=project.tracking(),
        registry=project.registry(),
        min_improvement=settings.min_improvement,
        min_held_out_cases=settings.litgo_min_held_out_cases,
        replay_gini=replay,
    )
    with project.engine() as engine:
        note_gate(engine, ref, at=datetime.now(UTC), run_id=context.run.run_id)
        try:
            logged = estimate_before_traffic(engine, project.registry(), project.tracking(), settings, ranker_candidate)
        except (NoGoldenScores, GoldenScoresDiffer):
            # The gate has failed the candidate for it already.
            logged = None
    return dg.MaterializeResult(value=ref, metadata=_shown(metadata) | off_policy_metadata(logged))


@dg.asset(kinds={"mlflow", "postgres"}, group_name=GROUP, owners=_OWNERS, tags=_TAGS)
def promotion(
    context: dg.AssetExecutionContext, candidate_evaluation: EvaluationRef, project: Project
) -> dg.MaterializeResult[PromotionResult]:
    """Puts a candidate that passed on trial, and records the training, so that its reviews count as used.

    On trial is an experiment on a share of the clients; the first version of a marketplace, or any with `AB_TESTING_ENABLED=false`,
    becomes champion at once.
    """
    import structlog

    from litgo_pipelines.rollout.candidates import after_the_gate
    from litgo_pipelines.rollout.trainings import Training, record_training

    candidate = candidate_evaluation.candidate
    with project.engine() as engine:
        result = after_the_gate(
            engine,
            project.registry(),
            project.settings,
            candidate_evaluation,
            clock=lambda: datetime.now(UTC),
            run_id=context.run.run_id,
        )
        record_training(
            engine,
            Training(
                dagster_run_id=context.run.run_id,
                reviews_seen=candidate.training_set.reviews_seen,
                dataset_fingerprint=candidate.training_set.fingerprint,
                mlflow_run_id=candidate.training_set.run_id,
                model_version=candidate.version,
                verdict=candidate_evaluation.verdict,
            ),
            at=datetime.now(UTC),
        )
    structlog.get_logger(__name__).info(
        "candidate judged", model_version=candidate.version, verdict=candidate_evaluation.verdict, outcome=result.outcome
    )
    metadata = {
        "outcome": result.outcome,
        "verdict": result.verdict,
        "reason": result.reason,
        "previous": result.previous or "hand-weights",
        **({} if result.version is None else {"version": result.version}),
        **({} if candidate.insufficient is None else {"insufficient_data": candidate.insufficient}),
    }
    return dg.MaterializeResult(value=result, metadata=metadata)


CHAMPION = dg.AssetKey("champion")
champion = dg.AssetSpec(
    CHAMPION,
    deps=[promotion],
    description="The version of `litgo-ranker` that answers: the alias `champion` in MLflow. A won experiment moves it, a fall in quality "
    "moves it back, and so may a person. Each decision about the models is an observation here.",
    kinds={"mlflow"},
    group_name=GROUP,
    owners=_OWNERS,
)


def _shown(metadata: Metadata) -> dict[str, Any]:
    return dict(metadata)


ASSETS: list[dg.AssetsDefinition | dg.AssetSpec] = [training_set, ranker_candidate, candidate_evaluation, promotion, champion]
