"""What Dagster is shown of the project."""

from __future__ import annotations

import subprocess
import sys

import dagster as dg
import pytest

from litgo_pipelines.definitions import build_definitions
from litgo_pipelines.orchestration.assets.ranker import CHAMPION

EQUITY = ("equity_metrics", "offer_distribution", "equity_price")
RANKER = ("training_set", "ranker_candidate", "candidate_evaluation", "promotion")
ROLLOUT = ("experiment_readout", "model_quality")
EMBEDDINGS = ("case_embeddings", "lawyer_embeddings")
MADE = (
    *EMBEDDINGS,
    *EQUITY,
    *RANKER,
    *ROLLOUT,
    "offer_rounds",
    "contract_signatures",
    "notifications_delivered",
    "expired_records",
    "weekly_digest",
)
GROUPS = {"contracts", "digest", "embeddings", "equity", "housekeeping", "notifications", "offers", "ranker", "rollout"}
JOBS = {
    "calculate_equity_metrics",
    "deliver_notifications",
    "embed_texts",
    "expire_records",
    "move_offers",
    "process_contracts",
    "read_experiment",
    "refit_equity_price",
    "retrain_ranker",
    "send_weekly_digest",
    "watch_champion",
}
SENSORS = {
    "champion_watch",
    "contracts_due",
    "experiment_due",
    "notifications_due",
    "new_reviews",
    "offers_due",
    "operations_watch",
    "registry_changes",
    "texts_to_embed",
}


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions()


def test_the_definitions_load_and_are_consistent(definitions: dg.Definitions) -> None:
    """Every job, schedule and sensor resolves; names are the agreed ones."""
    dg.Definitions.validate_loadable(definitions)
    repository = definitions.get_repository_def()
    assert {job.name for job in repository.get_all_jobs()} >= JOBS
    assert {one.name for one in repository.schedule_defs} == {"nightly_equity", "nightly_expiry", "weekly_digest", "weekly_price"}
    assert {one.name for one in repository.sensor_defs} == SENSORS


def test_every_asset_says_what_it_is_and_whose(definitions: dg.Definitions) -> None:
    """Group, owners, kinds and a description, for the external one too."""
    graph = definitions.resolve_asset_graph()
    nodes = [graph.get(key) for key in graph.get_all_asset_keys()]
    assert {node.key.to_user_string() for node in nodes} == {*MADE, "champion"}
    for node in nodes:
        assert node.group_name in GROUPS
        assert node.owners == ["team:data"]
        assert node.kinds
        assert node.description
        assert len(node.description) > 40


def test_the_champion_is_observed_and_not_made(definitions: dg.Definitions) -> None:
    """A person may move it in MLflow: no job materialises it, and it stands behind the promotion."""
    graph = definitions.resolve_asset_graph()
    node = graph.get(CHAMPION)
    assert node.is_external
    assert not node.is_executable
    assert node.parent_keys == {dg.AssetKey("promotion")}
    assert all(graph.get(dg.AssetKey(name)).is_materializable for name in MADE)


def test_jobs_hold_their_assets_and_checks(definitions: dg.Definitions) -> None:
    """The nightly job computes and checks equity; retraining goes from the training set to the promotion; each watch stands alone."""

    def selected(job: str) -> tuple[set[str], set[str]]:
        layer = definitions.resolve_job_def(job).asset_layer
        made = {key.to_user_string() for key in layer.executable_asset_keys}
        return made, {key.name for key in layer.asset_graph.asset_check_keys}

    gaps = {"area_gap_within_limit", "capacity_gap_within_limit", "newcomer_gap_within_limit"}
    verdicts = {"gini_within_limit", "most_lawyers_offered", *gaps}
    assert selected("calculate_equity_metrics") == (set(EQUITY[:2]), {"snapshot_is_complete", *verdicts})
    assert selected("refit_equity_price") == ({EQUITY[2]}, set())
    assert selected("retrain_ranker") == (set(RANKER), {"candidate_passed_the_gate"})
    assert selected("read_experiment") == ({ROLLOUT[0]}, set())
    assert selected("embed_texts") == (set(EMBEDDINGS), {"fallback_quality"})
    assert selected("watch_champion") == ({ROLLOUT[1]}, {"champion_is_healthy"})
    assert selected("move_offers") == ({"offer_rounds"}, set())
    assert selected("process_contracts") == ({"contract_signatures"}, {"contracts_can_be_signed"})
    assert selected("deliver_notifications") == ({"notifications_delivered"}, {"nothing_unknown"})
    assert selected("expire_records") == ({"expired_records"}, set())
    assert selected("send_weekly_digest") == ({"weekly_digest"}, set())


def test_automation_runs_without_anybody_switching_it_on(definitions: dg.Definitions) -> None:
    """Schedules and sensors start as RUNNING; night and Monday are São Paulo's."""
    repository = definitions.get_repository_def()
    assert all(one.default_status is dg.DefaultScheduleStatus.RUNNING for one in repository.schedule_defs)
    assert all(one.default_status is dg.DefaultSensorStatus.RUNNING for one in repository.sensor_defs)
    times = {one.name: (one.cron_schedule, one.execution_timezone) for one in repository.schedule_defs}
    here = "America/Sao_Paulo"
    assert times == {
        "nightly_equity": ("0 2 * * *", here),
        "nightly_expiry": ("0 4 * * *", here),
        "weekly_digest": ("0 8 * * 1", here),
        "weekly_price": ("0 3 * * 1", here),
    }


def test_freshness_is_judged_of_what_the_clock_makes_and_others_rely_on(definitions: dg.Definitions) -> None:
    """What a sensor asks for only when something is due is never stale by time alone."""
    graph = definitions.resolve_asset_graph()
    judged = {key.to_user_string() for key in graph.get_all_asset_keys() if graph.get(key).freshness_policy is not None}
    assert judged == set(EQUITY)


@pytest.mark.parametrize("job", sorted(JOBS - {"calculate_equity_metrics"}))
def test_what_decides_takes_turns(definitions: dg.Definitions, job: str) -> None:
    """Runs of one job carry the tag that the instance limits to one at a time."""
    assert definitions.resolve_job_def(job).tags["litgo/exclusive"] == job


def test_what_is_watched_is_shown_behind_the_promotion(definitions: dg.Definitions) -> None:
    """Readout and quality are no inputs of each other: either runs by itself."""
    graph = definitions.resolve_asset_graph()
    for name in ROLLOUT:
        assert graph.get(dg.AssetKey(name)).parent_keys == {dg.AssetKey("promotion")}


def test_observations_of_the_champion_are_made_by_the_sensor_that_follows_the_registry(definitions: dg.Definitions) -> None:
    """It names the asset, so that the UI leads from one to the other; it starts no job."""
    sensor = definitions.get_repository_def().get_sensor_def("registry_changes")
    assert sensor.asset_selection is not None
    assert sensor.asset_selection.resolve(definitions.resolve_asset_graph()) == {CHAMPION}
    assert not sensor.has_jobs


def test_importing_the_code_location_reads_nothing_and_loads_nothing_heavy() -> None:
    """No database, no model library, no settings: what a code server imports stays light."""
    script = (
        "import sys, litgo_pipelines.definitions as d; "
        "heavy = {'mlflow', 'lightgbm', 'torch', 'sklearn', 'pandas', 'numpy', 'scipy', 'matplotlib', 'sqlalchemy', 'fastapi'}; "
        "print(sorted(heavy & set(sys.modules)), type(d.defs).__name__)"
    )
    environment = {"PATH": "/usr/bin:/bin", "DATABASE_URL": "nonsense", "LITGO_HOME": "/nonexistent/home", "HOME": "/tmp"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.split() == ["[]", "Definitions"], done.stderr
