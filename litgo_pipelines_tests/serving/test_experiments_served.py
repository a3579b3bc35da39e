"""What clients are answered by while an experiment runs: over real HTTP, with a real registry and a real database."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import numpy as np
import pytest

from litgo_pipelines.marketplace.names import FEATURE_COLUMNS
from litgo_pipelines.rollout import experiments
from litgo_pipelines.rollout.assignment import assign
from litgo_pipelines.rollout.experiment_rules import Ruling
from litgo_pipelines.rollout.registry import CHAMPION, MODEL, Registry
from litgo_pipelines_tests.serving.conftest import AREA, register, serving, through, wait_until
from litgo_pipelines_tests.serving.test_model_following import QUALIFICATION, SOFT_SKILL, Fragile, told

if TYPE_CHECKING:
    from litgo_pipelines.ranking.ranker import LightGBMRanker
    from litgo_pipelines.rollout.assignment import Mode, Variant
    from litgo_pipelines.rollout.experiments import Experiment
    from litgo_pipelines.settings import Settings
    from litgo_pipelines_tests.serving.conftest import Marketplace, Served, Wire

REVIEWS = 6
FIRST, SECOND, SPOILT, FOURTH = "1", "2", "3", "4"
"""The champion looks at the qualification alone, the challengers at soft skills or reviews alone; the third does not load."""


@pytest.fixture(scope="module")
def shelf(_mlflow_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with four versions, the first of them champion."""
    folder = tmp_path_factory.mktemp("served-shelf")
    file = folder / "mlflow.db"
    shutil.copyfile(_mlflow_file, file)
    registry = Registry(f"sqlite:///{file}", folder / "cache")
    register(registry, folder / "first", favoured=QUALIFICATION)
    register(registry, folder / "second", favoured=SOFT_SKILL)
    register(registry, folder / "spoilt", favoured=SOFT_SKILL, spoilt=True)
    register(registry, folder / "fourth", favoured=REVIEWS)
    registry.promote(FIRST, None)
    return file


@dataclass
class Trial:
    """A marketplace whose lawyers the two models order contrarily, and what it takes to run an experiment on them."""

    marketplace: Marketplace
    registry: Registry
    database_url: str
    settings: Settings

    @contextmanager
    def served(self, **options: Any) -> Iterator[Served]:
        """A service that answers with the first version."""
        given = {"open_registry": lambda: self.registry} | options
        with serving(given.pop("database_url", self.database_url), self.settings, **given) as found:
            wait_until(lambda: told(found)["version"] == FIRST, 15, "the champion answers")
            yield found

    def start(
        self, challenger: str = SECOND, *, mode: Mode = "ab", steps: tuple[float, ...] = (0.5,), after: Experiment | None = None
    ) -> Experiment:
        """Begin an experiment against the first version, as the step after the gate does; in the moment in which another ends."""
        given: dict[str, Any] = {"actor": "promotion", "at": datetime.now(UTC)}
        with self.marketplace.engine.begin() as connection:
            if after is not None:
                experiments.end(connection, after.id, verdict="stopped", conclusion="a test", **given)
            terms = experiments.Terms(mode, steps, 28.0, "keep")
            queued = experiments.queue(connection, challenger, FIRST, terms, reason="it passed", evidence={}, **given)
            return experiments.start(connection, queued, Ruling(verdict="start", reasons=["go"], evidence={}), FIRST, **given)

    def end(self, experiment: Experiment) -> None:
        with self.marketplace.engine.begin() as connection:
            experiments.end(connection, experiment.id, verdict="stopped", conclusion="a test", actor="ana", at=datetime.now(UTC))

    def follow(self, served: Served, experiment: Experiment, error: str | None = None) -> None:
        """Wait until the service knows of an experiment and says of it what is expected."""

        def known() -> bool:
            found = told(served)["experiment"]
            if found is None or found["id"] != str(experiment.id):
                return False
            return found["error"] is None if error is None else error in (found["error"] or "")

        wait_until(known, 10, "the experiment is followed")

    def requests(self) -> list[Any]:
        return self.marketplace.rows("SELECT * FROM litgo.match_requests ORDER BY started_at")

    def exposures(self) -> list[Any]:
        return self.marketplace.rows("SELECT * FROM litgo.exposures ORDER BY exposed_at")

    def matches(self, request_id: str) -> list[Any]:
        return self.marketplace.rows("SELECT * FROM litgo.case_matches WHERE request_id = :id ORDER BY position", id=request_id)

    def acceptance(self, version: str, rows: list[Any]) -> list[float]:
        """What a version says of lawyers who were shown, by the features that were logged."""
        ranker = self.registry.load(version)
        logged = [[getattr(row, name) for name in FEATURE_COLUMNS] for row in rows]
        features = np.array([[np.nan if one is None else one for one in row] for row in logged], dtype=np.float32)
        return ranker.acceptance(features, ranker.score(features)).tolist()  # type: ignore[no-any-return]


@pytest.fixture
def trial(shelf: Path, database_url: str, marketplace: Marketplace, serving_settings: Settings, tmp_path: Path) -> Trial:
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        marketplace.lawyers(1, capacity=30, cv_score=share, kpi_softskill=1 - share)
    shutil.copyfile(shelf, tmp_path / "mlflow.db")
    return Trial(marketplace, Registry(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "cache"), database_url, serving_settings)


def clients(experiment: Experiment, variant: Variant | None, count: int = 1) -> list[UUID]:
    """New clients of one side."""
    found: list[UUID] = []
    while len(found) < count:
        one = uuid4()
        if assign(one, experiment.split) == variant:
            found.append(one)
    return found


def ask(served: Served, client: UUID, *, offers: bool = True, top_n: int = 2) -> dict[str, Any]:
    """The answer to a new case of a client."""
    case = {"area": AREA, "urgency_h": 48, "summary": "rescisão sem justa causa"}
    response = served.ask({"client_id": str(client), "case": case, "top_n": top_n, "create_offers": offers})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def measured(served: Served, name: str) -> list[str]:
    """The lines of one metric."""
    with served.client() as client:
        return [line for line in client.get("/metrics").text.splitlines() if line.startswith(name)]


def nobody_takes_part(trial: Trial, served: Served, experiment: Experiment, version: str = FIRST) -> None:
    """Clients of all sides are answered by one version and counted nowhere."""
    before = len(trial.exposures())
    for variant in ("control", "treatment"):
        answer = ask(served, *clients(experiment, variant))
        assert answer["model_version"] == version
        (row,) = [one for one in trial.requests() if str(one.id) == answer["request_id"]]
        assert (row.experiment_id, row.variant) == (None, None)
        assert {one.other_arm_score for one in trial.matches(answer["request_id"])} == {None}
    assert len(trial.exposures()) == before


def test_each_client_is_answered_by_one_side_and_always_by_the_same(trial: Trial) -> None:
    """Control by the champion, treatment by the challenger, whose order of the lawyers is the other way round; all of it is recorded."""
    experiment = trial.start()
    answered = {"control": FIRST, "treatment": SECOND}
    asked = {client: variant for variant in answered for client in clients(experiment, variant, 4)}  # type: ignore[arg-type]
    with trial.served() as served:
        trial.follow(served, experiment)
        for client in [*asked, *reversed(asked)]:
            assert ask(served, client)["model_version"] == answered[asked[client]]
    found = trial.marketplace.rows(
        "SELECT r.*, c.client_id FROM litgo.match_requests r JOIN litgo.cases c ON c.id = r.case_id ORDER BY r.started_at"
    )
    assert len(found) == 2 * len(asked)
    for row in found:
        assert (row.experiment_id, row.variant, row.model_version) == (
            experiment.id,
            asked[row.client_id],
            answered[asked[row.client_id]],
        )


def test_a_client_is_exposed_once_by_the_first_request_with_offers(trial: Trial) -> None:
    """Without offers nothing can become of a request, so nobody is exposed by it; later requests add nothing."""
    experiment = trial.start()
    asked = {variant: clients(experiment, variant)[0] for variant in ("control", "treatment")}  # type: ignore[arg-type]
    first = {}
    with trial.served() as served:
        trial.follow(served, experiment)
        for client in asked.values():
            assert ask(served, client, offers=False)["offers_created"] == 0
        assert trial.exposures() == []
        for _ in range(2):
            for variant, client in asked.items():
                first.setdefault(variant, ask(served, client)["request_id"])
    rows = {row.variant: row for row in trial.exposures()}
    assert len(trial.exposures()) == len(rows) == 2
    for variant, client in asked.items():
        row = rows[variant]
        assert (row.experiment_id, row.client_id, row.step, str(row.request_id)) == (experiment.id, client, 0, first[variant])


@pytest.mark.parametrize(("variant", "own", "other"), [("control", FIRST, SECOND), ("treatment", SECOND, FIRST)])
def test_the_scores_of_both_sides_are_recorded(trial: Trial, variant: Variant, own: str, other: str) -> None:
    """What the model that answered gives each lawyer shown, and what the other one would have given."""
    experiment = trial.start()
    with trial.served() as served:
        trial.follow(served, experiment)
        rows = trial.matches(ask(served, *clients(experiment, variant), top_n=3)["request_id"])
    assert [row.score for row in rows] == pytest.approx(trial.acceptance(own, rows), rel=1e-5)
    assert [row.other_arm_score for row in rows] == pytest.approx(trial.acceptance(other, rows), rel=1e-5)
    assert [row.score for row in rows] != pytest.approx([row.other_arm_score for row in rows], rel=1e-2)


def test_a_step_of_the_ramp_lets_clients_in_and_moves_nobody_else(trial: Trial) -> None:
    """Whoever was held back is answered by the champion until the step is taken, within a refresh; the sides stay as they are."""
    experiment = trial.start(steps=(0.1, 0.5))
    (held,) = clients(experiment, "held back")
    (control,), (treatment,) = clients(experiment, "control"), clients(experiment, "treatment")
    with trial.served() as served:
        trial.follow(served, experiment)
        assert [ask(served, one)["model_version"] for one in (held, control, treatment)] == [FIRST, FIRST, SECOND]
        with trial.marketplace.engine.begin() as connection:
            ruling = Ruling(verdict="ramp", reasons=["on"], evidence={})
            assert experiments.ramp(connection, experiment, ruling, actor="ana", at=datetime.now(UTC))
        wait_until(lambda: told(served)["experiment"]["share"] == 0.5, 10, "the step is followed")
        assert [ask(served, one)["model_version"] for one in (held, control, treatment)] == [SECOND, FIRST, SECOND]
        (line,) = measured(served, "serving_experiment_share{")
        assert line.endswith(" 0.5")
    assert {row.client_id: row.variant for row in trial.exposures()} == {held: "held back", control: "control", treatment: "treatment"}


def test_the_experiment_is_shown(trial: Trial) -> None:
    """`GET /v1/model` and the gauge tell which versions are compared and on how many clients."""
    with trial.served() as served:
        assert told(served)["experiment"] is None
        assert measured(served, "serving_experiment_share{") == []
        experiment = trial.start()
        trial.follow(served, experiment)
        assert told(served)["experiment"] == {
            "id": str(experiment.id),
            "mode": "ab",
            "champion": FIRST,
            "challenger": SECOND,
            "share": 0.5,
            "error": None,
        }
        labels = f'challenger="{SECOND}",experiment="{experiment.id}",mode="ab"'
        assert measured(served, "serving_experiment_share{") == [f"serving_experiment_share{{{labels}}} 0.5"]


def test_an_experiment_that_ended_is_served_no_longer(trial: Trial) -> None:
    """Within the refresh the champion answers everybody again, and nothing is shown of it."""
    experiment = trial.start()
    with trial.served() as served:
        trial.follow(served, experiment)
        assert ask(served, *clients(experiment, "treatment"))["model_version"] == SECOND
        trial.end(experiment)
        wait_until(lambda: told(served)["experiment"] is None, 5, "the end is followed")
        nobody_takes_part(trial, served, experiment)
        assert measured(served, "serving_experiment_share{") == []


def test_an_experiment_that_follows_at_once_is_served_with_its_own_challenger(trial: Trial) -> None:
    """It divides the clients anew and is counted by itself; where its challenger does not load, the one before is over all the same."""
    with trial.served() as served:
        before = trial.start()
        trial.follow(served, before)
        after = trial.start(FOURTH, after=before)
        trial.follow(served, after)
        assert ask(served, *clients(after, "treatment"))["model_version"] == FOURTH
        assert [row.experiment_id for row in trial.exposures()] == [after.id]
        (line,) = measured(served, "serving_experiment_share{")
        assert f'challenger="{FOURTH}",experiment="{after.id}"' in line
        last = trial.start(SPOILT, after=after)
        trial.follow(served, last, "GoldenScoresDiffer")
        nobody_takes_part(trial, served, after)
        assert measured(served, "serving_experiment_share{") == []


def test_a_challenger_that_does_not_load_answers_nobody(trial: Trial) -> None:
    """Its golden scores are not reproduced: everybody is answered by the champion, the service stays ready and says why."""
    experiment = trial.start(SPOILT)
    with trial.served() as served:
        trial.follow(served, experiment, "GoldenScoresDiffer: version 3")
        nobody_takes_part(trial, served, experiment)
        with served.client() as client:
            assert client.get("/readyz").status_code == 200
        assert measured(served, "serving_experiment_share{") == []
        trial.end(experiment)
        later = trial.start()
        trial.follow(served, later)
        assert ask(served, *clients(later, "treatment"))["model_version"] == SECOND


def test_while_another_version_answers_than_the_one_compared_with_nobody_takes_part(trial: Trial) -> None:
    """An alias that a person moved, or took away, ends nobody's answers; where it comes back the experiment goes on."""
    experiment = trial.start()
    with trial.served() as served:
        trial.follow(served, experiment)
        trial.registry.client.set_registered_model_alias(MODEL, CHAMPION, SECOND)
        trial.follow(served, experiment, f"{SECOND} answers, the experiment compares with {FIRST}")
        nobody_takes_part(trial, served, experiment, SECOND)
        trial.registry.client.delete_registered_model_alias(MODEL, CHAMPION)
        trial.follow(served, experiment, "hand-weights answers")
        nobody_takes_part(trial, served, experiment, "hand-weights")
        trial.registry.client.set_registered_model_alias(MODEL, CHAMPION, FIRST)
        trial.follow(served, experiment)
        assert ask(served, *clients(experiment, "treatment"))["model_version"] == SECOND


def test_interleaved_lists_say_whose_each_place_is(trial: Trial) -> None:
    """Both models have places in a list of two, told by the champion's scores; whoever is not let in takes part in nothing."""
    experiment = trial.start(mode="interleaving")
    with trial.served() as served:
        trial.follow(served, experiment)
        for client in clients(experiment, "interleaved", 6):
            answer = ask(served, client)
            assert answer["model_version"] == FIRST
            rows = trial.matches(answer["request_id"])
            assert {row.team for row in rows} == {"champion", "challenger"}
            assert [row.score for row in rows] == pytest.approx(trial.acceptance(FIRST, rows), rel=1e-5)
            assert [row.other_arm_score for row in rows] == pytest.approx(trial.acceptance(SECOND, rows), rel=1e-5)
        others = ask(served, *clients(experiment, None))
        assert {row.team for row in trial.matches(others["request_id"])} == {None}
    assert {row.variant for row in trial.exposures()} == {"interleaved"}
    assert len(trial.exposures()) == 6
    assert {row.variant for row in trial.requests()} == {"interleaved", None}


def test_while_the_database_is_away_the_experiment_stays_as_it_was(trial: Trial, wire: Wire) -> None:
    """It is shown with the error, and served as before as soon as the database is back."""
    experiment = trial.start()
    (client,) = clients(experiment, "treatment")
    with trial.served(database_url=through(wire, trial.database_url)) as served:
        trial.follow(served, experiment)
        wire.cut()
        trial.follow(served, experiment, "OperationalError")
        shown = told(served)["experiment"]
        assert (shown["share"], shown["error"]) == (0.5, "OperationalError: what was known before stays")
        assert len(measured(served, "serving_experiment_share{")) == 1
        wire.mend()
        trial.follow(served, experiment)
        assert ask(served, client)["model_version"] == SECOND


def test_until_the_challenger_is_loaded_it_is_said_that_nobody_takes_part(trial: Trial) -> None:
    """A slow download is no fault, but no experiment either."""
    fetched = threading.Event()

    class Slow(Fragile):
        def load(self, version: str) -> LightGBMRanker:
            if version == SECOND:
                fetched.wait(30)
            return super().load(version)

    source = Slow(trial.registry)
    with trial.served(open_registry=lambda: source) as served:
        experiment = trial.start()
        trial.follow(served, experiment, "version 2 is not loaded yet")
        nobody_takes_part(trial, served, experiment)
        fetched.set()
        trial.follow(served, experiment)
        assert ask(served, *clients(experiment, "treatment"))["model_version"] == SECOND


def test_a_challenger_is_fetched_once_the_registry_is_back(trial: Trial) -> None:
    """An experiment that begins while MLflow is away is served when it is there again; until then the champion answers."""
    source = Fragile(trial.registry)
    with trial.served(open_registry=lambda: source) as served:
        source.away = True
        experiment = trial.start()
        trial.follow(served, experiment, "RegistryUnavailable")
        nobody_takes_part(trial, served, experiment)
        source.away = False
        trial.follow(served, experiment)
        assert ask(served, *clients(experiment, "treatment"))["model_version"] == SECOND
