"""Which model answers: the alias is followed, bad versions are refused, and an absent registry stops nobody."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from litgo_pipelines.rollout.registry import CHAMPION, MODEL, Registry
from litgo_pipelines.rollout.tracking import RegistryUnavailable
from litgo_pipelines.serving.metrics import ServingMetrics
from litgo_pipelines.serving.models import LastChampion, ModelKeeper
from litgo_pipelines_tests.serving.conftest import register, serving, small_booster, wait_until

if TYPE_CHECKING:
    from litgo_pipelines.ranking.ranker import LightGBMRanker
    from litgo_pipelines.settings import Settings
    from litgo_pipelines_tests.serving.conftest import Marketplace, Served

QUALIFICATION, SOFT_SKILL = 4, 7


class Fragile:
    """A real registry that can be away, and whose versions can be spoilt."""

    def __init__(self, registry: Registry | None) -> None:
        self.registry = registry
        self.away = registry is None
        self.loads = 0

    def champion(self) -> str | None:
        return self._there().champion()

    def exists(self, version: str) -> bool:
        return self._there().exists(version)

    def load(self, version: str) -> LightGBMRanker:
        self.loads += 1
        return self._there().load(version)

    def _there(self) -> Registry:
        if self.away or self.registry is None:
            raise RegistryUnavailable("MLflow is away")
        return self.registry


@pytest.fixture
def registry(mlflow_uri: str, tmp_path: Path) -> Registry:
    return Registry(mlflow_uri, tmp_path / "cache")


def keeper(source: Callable[[], Any], home: Path) -> ModelKeeper:
    return ModelKeeper(source, LastChampion(home / "serving"), 5.0, ServingMetrics())


def told(served: Served) -> dict[str, Any]:
    with served.client() as client:
        found: dict[str, Any] = client.get("/v1/model").json()
        return found


def test_a_moved_alias_is_followed_within_fifteen_seconds(
    database_url: str, marketplace: Marketplace, serving_settings: Settings, registry: Registry, tmp_path: Path
) -> None:
    """Hand weights answer until somebody is champion, then each champion does, and every answer is recorded under its version."""
    marketplace.lawyers(3, kpi_softskill=0.5)
    case_id = str(marketplace.case())
    settings = serving_settings.model_copy(update={"litgo_model_poll_seconds": 5.0})
    with serving(database_url, settings, lambda: registry) as served:
        assert told(served) | {"loaded_at": "", "last_checked_at": ""} == {
            "version": "hand-weights",
            "source": "hand weights",
            "alias": "champion",
            "loaded_at": "",
            "last_checked_at": "",
            "wanted_version": None,
            "stale": False,
            "error": None,
            "equity_price": 0.5,
            "price_id": None,
            "experiment": None,
        }
        for favoured in (QUALIFICATION, SOFT_SKILL):
            version = register(registry, tmp_path / f"v{favoured}", favoured=favoured)
            registry.promote(version, registry.champion())
            wait_until(lambda version=version: told(served)["version"] == version, 15, "the alias is followed")
            assert told(served)["stale"] is False
            answer = served.ask({"case_id": case_id, "create_offers": False}).json()
            assert answer["model_version"] == version
            (row,) = marketplace.rows("SELECT model_version FROM litgo.match_requests WHERE id = :id", id=answer["request_id"])
            assert row.model_version == version
            expected = registry.load(version)
            shown = marketplace.rows("SELECT * FROM litgo.case_matches WHERE request_id = :id ORDER BY position", id=answer["request_id"])
            assert [row.raw_score for row in shown] == pytest.approx(_scores(expected, shown), rel=1e-5)
        with served.client() as client:
            assert f'serving_model_info{{source="registry",version="{version}"}} 1.0' in client.get("/metrics").text


def _scores(ranker: LightGBMRanker, rows: list[Any]) -> list[float]:
    import numpy as np

    from litgo_pipelines.marketplace.tables import FEATURE_COLUMNS

    features = [[np.nan if getattr(row, name) is None else getattr(row, name) for name in FEATURE_COLUMNS] for row in rows]
    return ranker.score(np.array(features, dtype=np.float32)).tolist()  # type: ignore[no-any-return]


def test_a_version_that_does_not_reproduce_its_golden_scores_is_not_taken(registry: Registry, tmp_path: Path) -> None:
    """The champion before keeps answering, the reason is told, and the bad one is not fetched again with every look."""
    good = register(registry, tmp_path / "good")
    registry.promote(good, None)
    source = Fragile(registry)
    model = keeper(lambda: source, tmp_path)
    model.look()
    assert (model.ranker.version, model.state().stale) == (good, False)
    bad = register(registry, tmp_path / "bad", favoured=SOFT_SKILL, spoilt=True)
    registry.promote(bad, good)
    for _ in range(3):
        model.look()
    state = model.state()
    assert (model.ranker.version, state.wanted_version, state.stale) == (good, bad, True)
    assert state.error is not None
    assert state.error.startswith("GoldenScoresDiffer")
    assert source.loads == 2
    registry.promote(good, bad)
    model.look()
    assert (model.state().stale, model.state().error) == (False, None)


def test_while_the_registry_is_away_the_last_model_answers(registry: Registry, tmp_path: Path) -> None:
    """The champion stays, and it is said that nobody knows whether it should; back again, the alias is followed."""
    first = register(registry, tmp_path / "first")
    registry.promote(first, None)
    source = Fragile(registry)
    model = keeper(lambda: source, tmp_path)
    model.look()
    source.away = True
    second = register(registry, tmp_path / "second")
    registry.promote(second, first)
    model.look()
    state = model.state()
    assert (model.ranker.version, state.stale, state.error) == (first, True, "RegistryUnavailable: MLflow is away")
    source.away = False
    model.look()
    assert (model.ranker.version, model.state().stale) == (second, False)


def test_a_start_while_the_registry_is_away_answers_with_the_last_champion(registry: Registry, tmp_path: Path) -> None:
    """The copy on this machine answers as the champion did, and is named as what it is."""
    version = register(registry, tmp_path / "bundle")
    registry.promote(version, None)
    before = keeper(lambda: registry, tmp_path)
    before.look()
    after = keeper(lambda: Fragile(None), tmp_path)
    after.look()
    assert (after.ranker.version, after.state().answering.source, after.state().stale) == (version, "last champion", True)
    features = _questions()
    assert after.ranker.score(features) == pytest.approx(before.ranker.score(features), abs=1e-9)
    again = keeper(lambda: registry, tmp_path)
    again.look()
    assert (again.ranker.version, again.state().answering.source, again.state().stale) == (version, "registry", False)


def _questions() -> Any:
    import numpy as np

    return np.random.default_rng(3).random((50, 8)).astype(np.float32)


def test_a_start_without_registry_and_without_a_copy_answers_with_hand_weights(
    database_url: str, marketplace: Marketplace, serving_settings: Settings
) -> None:
    """The service becomes ready, answers, and says that it does not know better."""
    marketplace.lawyers(2)
    case_id = str(marketplace.case())
    with serving(database_url, serving_settings, lambda: Fragile(None)) as served:
        answer = served.ask({"case_id": case_id})
        assert (answer.status_code, answer.json()["model_version"]) == (200, "hand-weights")
        found = told(served)
        assert (found["version"], found["stale"], found["error"]) == ("hand-weights", True, "RegistryUnavailable: MLflow is away")
        with served.client() as client:
            text = client.get("/metrics").text
        assert "serving_model_stale 1.0" in text
        assert 'serving_model_check_errors_total{error="RegistryUnavailable"}' in text


def test_a_real_mlflow_that_is_away_holds_nobody_up(tmp_path: Path) -> None:
    """A port where nobody answers is noticed within seconds, and the hand weights stay."""
    model = keeper(lambda: Registry("http://127.0.0.1:9", tmp_path / "cache"), tmp_path)
    begun = time.monotonic()
    model.look()
    assert time.monotonic() - begun < 15
    assert (model.ranker.version, model.state().stale) == ("hand-weights", True)
    assert str(model.state().error).startswith("RegistryUnavailable")


def test_an_alias_that_is_taken_away_leaves_the_hand_weights(registry: Registry, tmp_path: Path) -> None:
    """Nobody is champion any more: the hand weights answer, also after a start while the registry is away."""
    version = register(registry, tmp_path / "bundle")
    registry.promote(version, None)
    model = keeper(lambda: registry, tmp_path)
    model.look()
    assert model.ranker.version == version
    registry.client.delete_registered_model_alias(MODEL, CHAMPION)
    model.look()
    assert (model.ranker.version, model.state().stale, model.state().error) == ("hand-weights", False, None)
    restarted = keeper(lambda: Fragile(None), tmp_path)
    restarted.look()
    assert restarted.ranker.version == "hand-weights"


def test_a_champion_that_was_deleted_keeps_answering(registry: Registry, tmp_path: Path) -> None:
    """Deleting a version is no choice of another: what is loaded stays, says so, and answers after a start as well."""
    version = register(registry, tmp_path / "bundle")
    registry.promote(version, None)
    model = keeper(lambda: registry, tmp_path)
    model.look()
    registry.client.delete_model_version(MODEL, version)
    model.look()
    state = model.state()
    assert (model.ranker.version, state.wanted_version, state.stale) == (version, None, True)
    assert f"version {version} was deleted" in str(state.error)
    restarted = keeper(lambda: registry, tmp_path)
    for _ in range(2):
        restarted.look()
        assert (restarted.ranker.version, restarted.state().answering.source) == (version, "last champion")
    assert f"version {version} was deleted" in str(restarted.state().error)
    after = register(registry, tmp_path / "after")
    registry.promote(after, None)
    restarted.look()
    assert (restarted.ranker.version, restarted.state().stale, restarted.state().error) == (after, False, None)


@pytest.mark.parametrize("damage", ["pointer", "folder", "scores"])
def test_a_kept_champion_that_was_damaged_is_not_used(tmp_path: Path, damage: str) -> None:
    """Whatever is wrong with the copy, the service starts with hand weights."""
    from litgo_pipelines.ranking.calibration import Acceptance
    from litgo_pipelines.ranking.ranker import LightGBMRanker
    from litgo_pipelines.rollout.bundle import GOLDEN_FILE

    folder = tmp_path / "serving"
    LastChampion(folder).save(LightGBMRanker("3", small_booster(QUALIFICATION), Acceptance("platt", (2.0, -1.0))))
    kept = folder / json.loads((folder / "champion.json").read_text())["folder"]
    if damage == "pointer":
        (folder / "champion.json").write_text("{")
    elif damage == "folder":
        kept.rename(folder / "elsewhere")
    else:
        golden = json.loads((kept / GOLDEN_FILE).read_text())
        golden["acceptance"][0] /= 2
        (kept / GOLDEN_FILE).write_text(json.dumps(golden))
    model = keeper(lambda: Fragile(None), tmp_path)
    model.look()
    assert model.ranker.version == "hand-weights"


def test_only_the_newest_champion_is_kept(tmp_path: Path) -> None:
    """Saving forgets what was saved before."""
    from litgo_pipelines.ranking.calibration import Acceptance
    from litgo_pipelines.ranking.ranker import LightGBMRanker

    kept = LastChampion(tmp_path)
    for version in ("1", "2"):
        kept.save(LightGBMRanker(version, small_booster(QUALIFICATION), Acceptance("platt", (2.0, -1.0))))
    found = kept.load()
    assert found is not None
    assert found.version == "2"
    assert len(list(tmp_path.glob("champion-*"))) == 1


def test_an_error_nobody_foresaw_does_not_end_the_following(tmp_path: Path) -> None:
    """The next look goes on, and the error is told meanwhile."""

    class Odd:
        def champion(self) -> str | None:
            raise ZeroDivisionError("odd")

        def exists(self, version: str) -> bool:
            raise AssertionError(version)

        def load(self, version: str) -> LightGBMRanker:
            raise AssertionError(version)

    model = keeper(Odd, tmp_path)
    model.look()
    assert model.state().error == "ZeroDivisionError: odd"
    assert model.looked
