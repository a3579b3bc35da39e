"""What is stored with a version, and how a loader proves that it loaded the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from litgo_pipelines.ranking.calibration import Acceptance
from litgo_pipelines.ranking.ranker import LightGBMRanker
from litgo_pipelines.rollout.bundle import BOOSTER_FILE, GOLDEN_FILE, Bundle, GoldenScoresDiffer, NoGoldenScores, verify_golden


@pytest.fixture(scope="module")
def booster() -> lightgbm.Booster:
    generator = np.random.default_rng(0)
    features = generator.random((500, 8)).astype(np.float32)
    label = np.digitize(features[:, 0], [0.3, 0.6, 0.9])
    data = lightgbm.Dataset(features, label=label, group=[10] * 50)
    return lightgbm.train({"objective": "lambdarank", "verbosity": -1, "num_threads": 1}, data, num_boost_round=20)


@pytest.fixture(scope="module")
def bundle(booster: lightgbm.Booster) -> Bundle:
    return Bundle.of(booster, Acceptance("platt", x=(0.7, -0.2)))


def test_a_folder_gives_back_what_was_written(bundle: Bundle, booster: lightgbm.Booster, tmp_path: Path) -> None:
    """A bundle read from its folder scores like the booster that was trained, and carries its version's name."""
    bundle.write(tmp_path)
    ranker = Bundle.read(tmp_path).ranker("7")
    features = np.random.default_rng(1).random((50, 8)).astype(np.float32)
    assert ranker.version == "7"
    assert np.array_equal(ranker.score(features), np.asarray(booster.predict(features)))


def test_golden_scores_ask_for_gaps_and_extremes(bundle: Bundle) -> None:
    """Of the 32 rows some hold unknown features, one nothing else, and both ends of every feature occur."""
    asked = bundle.golden.features
    assert asked.shape == (32, 8)
    assert np.isnan(asked).all(axis=1).any()
    assert (np.nanmin(asked, axis=0) == 0).all()
    assert (np.nanmax(asked, axis=0) == 1).all()
    assert np.isfinite(bundle.golden.raw).all()
    assert ((bundle.golden.acceptance > 0) & (bundle.golden.acceptance < 1)).all()


def test_a_changed_booster_is_noticed(bundle: Bundle, tmp_path: Path) -> None:
    """One leaf value changed by hand is enough for a refusal that names the version."""
    bundle.write(tmp_path)
    path = tmp_path / BOOSTER_FILE
    lines = path.read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("leaf_value="))
    lines[at] = "leaf_value=" + " ".join(str(float(value) + 0.01) for value in lines[at].removeprefix("leaf_value=").split())
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(GoldenScoresDiffer, match="version 4"):
        Bundle.read(tmp_path).ranker("4")


def test_another_acceptance_is_noticed(bundle: Bundle) -> None:
    """A booster with somebody else's calibration does not load, and would not reproduce the golden scores either."""
    other = Acceptance("platt", x=(0.7, -0.19))
    with pytest.raises(GoldenScoresDiffer, match="version 4"):
        replace(bundle, acceptance=other).ranker("4")
    with pytest.raises(GoldenScoresDiffer, match="version 4: acceptance of golden row"):
        verify_golden(LightGBMRanker("4", lightgbm.Booster(model_str=bundle.booster_text), other), bundle.golden)


def test_golden_scores_that_are_no_numbers_are_noticed(bundle: Bundle) -> None:
    """A stored score of NaN is a difference, not an agreement."""
    broken = replace(bundle.golden, raw=np.full(32, np.nan))
    with pytest.raises(GoldenScoresDiffer):
        replace(bundle, golden=broken).ranker("4")


def test_without_golden_scores_nothing_is_loaded(bundle: Bundle, tmp_path: Path) -> None:
    """A folder without golden scores, or with none in the file, is refused with what to do next."""
    bundle.write(tmp_path)
    (tmp_path / GOLDEN_FILE).unlink()
    with pytest.raises(NoGoldenScores, match="move the alias"):
        Bundle.read(tmp_path)
    nothing = replace(bundle.golden, features=bundle.golden.features[:0], raw=np.empty(0), acceptance=np.empty(0))
    with pytest.raises(NoGoldenScores, match="move the alias"):
        replace(bundle, golden=nothing).ranker("4")
