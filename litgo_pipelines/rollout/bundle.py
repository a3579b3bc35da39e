"""What is stored with a version: the booster, its acceptance, and golden scores by which a loader proves that it loaded the same.

Where versions are kept lives in `registry`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.marketplace.names import FEATURES
from litgo_pipelines.ranking.calibration import Acceptance
from litgo_pipelines.ranking.ranker import LightGBMRanker, Ranker
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    import lightgbm

BOOSTER_FILE = "booster.txt"
ACCEPTANCE_FILE = "acceptance.json"
GOLDEN_FILE = "golden_scores.json"
EXTRA_FILES = (ACCEPTANCE_FILE, GOLDEN_FILE)

GOLDEN_ROWS = 32
_TOLERANCE = 1e-6


class NoGoldenScores(LitgoError, RuntimeError):
    """A version carries no golden scores: nobody can tell whether it loaded as it was trained."""


class GoldenScoresDiffer(LitgoError, RuntimeError):
    """A loaded ranker does not reproduce the scores that were stored with it."""


@dataclass(frozen=True)
class GoldenScores:
    """Features and what the ranker answered to them when it was trained.

    Attributes:
        features: shape (32, 8), float32, NaN among them.
        raw: shape (32,).
        acceptance: shape (32,).
        digest: SHA-256 of the booster's text and the acceptance that gave these answers.
    """

    features: NDArray[np.float32]
    raw: NDArray[np.float64]
    acceptance: NDArray[np.float64]
    digest: str

    def to_json(self) -> str:
        rows = [[None if np.isnan(value) else float(value) for value in row] for row in self.features]
        answers = {"raw": self.raw.tolist(), "acceptance": self.acceptance.tolist()}
        return json.dumps({"names": FEATURES, "features": rows, **answers, "digest": self.digest}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> GoldenScores:
        found: dict[str, Any] = json.loads(text)
        return cls(
            np.array(found["features"], dtype=np.float32).reshape(-1, len(FEATURES)),
            np.array(found["raw"], dtype=np.float64),
            np.array(found["acceptance"], dtype=np.float64),
            found["digest"],
        )


def golden_features(seed: int = 0) -> NDArray[np.float32]:
    """32 questions: all unknown, all least, all most, each feature alone at its ends, and drawn ones with gaps. Shape (32, 8)."""
    width = len(FEATURES)
    corners = np.stack([np.full(width, np.nan), np.zeros(width), np.ones(width)])
    low, high = np.full((width, width), 0.5), np.full((width, width), 0.5)
    np.fill_diagonal(low, 0.0)
    np.fill_diagonal(high, 1.0)
    generator = np.random.default_rng(seed)
    drawn = generator.random((GOLDEN_ROWS - len(corners) - 2 * width, width))
    drawn[generator.random(drawn.shape) < 0.2] = np.nan
    return np.concatenate([corners, low, high, drawn]).astype(np.float32)


def verify_golden(ranker: Ranker, golden: GoldenScores) -> None:
    """Ask the same questions again.

    Raises:
        NoGoldenScores: there are no questions.
        GoldenScoresDiffer: an answer differs by more than 1e-6.
    """
    if golden.raw.size == 0:
        raise NoGoldenScores(f"version {ranker.version} carries no golden scores: train it anew, or move the alias to a version that does")
    raw = ranker.score(golden.features)
    acceptance = ranker.acceptance(golden.features, raw)
    for name, found, stored in (("raw score", raw, golden.raw), ("acceptance", acceptance, golden.acceptance)):
        apart = np.abs(found - stored)
        if not np.all(apart <= _TOLERANCE):
            raise GoldenScoresDiffer(
                f"version {ranker.version}: {name} of golden row {int(np.argmax(apart))} differs by {np.max(apart):.3g}; "
                "its files were changed or another LightGBM reads them: train it anew"
            )


@dataclass(frozen=True)
class Bundle:
    """A trained ranker as it is stored: the booster's text, the acceptance, the golden scores."""

    booster_text: str
    acceptance: Acceptance
    golden: GoldenScores

    @classmethod
    def of(cls, booster: lightgbm.Booster, acceptance: Acceptance) -> Bundle:
        """Pack a ranker that was just trained, and note its golden scores."""
        text = booster.model_to_string()
        ranker = _ranker("candidate", text, acceptance)
        features = golden_features()
        raw = ranker.score(features)
        return cls(text, acceptance, GoldenScores(features, raw, ranker.acceptance(features, raw), _digest(text, acceptance)))

    def ranker(self, version: str) -> LightGBMRanker:
        """The ranker, after it has reproduced its golden scores.

        Raises:
            NoGoldenScores, GoldenScoresDiffer: see `verify_golden`.
        """
        # LightGBM ends the process when it reads a damaged text, so the text is compared first.
        if _digest(self.booster_text, self.acceptance) != self.golden.digest:
            raise GoldenScoresDiffer(
                f"version {version}: booster or acceptance is not the one its golden scores were made with; "
                "its files were changed: train it anew"
            )
        loaded = _ranker(version, self.booster_text, self.acceptance)
        verify_golden(loaded, self.golden)
        return loaded

    def write(self, folder: Path) -> None:
        """Write three files into a folder, which is made where it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / BOOSTER_FILE).write_text(self.booster_text, encoding="utf-8")
        (folder / ACCEPTANCE_FILE).write_text(self.acceptance.to_json(), encoding="utf-8")
        (folder / GOLDEN_FILE).write_text(self.golden.to_json(), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Bundle:
        """What `write` wrote.

        Raises:
            NoGoldenScores: the folder lacks them, or the acceptance.
        """
        return cls((folder / BOOSTER_FILE).read_text(encoding="utf-8"), *read_extras(folder, folder.name))


def read_extras(folder: Path, version: str) -> tuple[Acceptance, GoldenScores]:
    """Acceptance and golden scores from the folder that holds them.

    Raises:
        NoGoldenScores: one of the files is missing, or cannot be read.
    """
    missing = [name for name in EXTRA_FILES if not (folder / name).is_file()]
    if missing:
        raise NoGoldenScores(
            f"version {version} carries no {' and no '.join(missing)}: it was not registered by this project; "
            "move the alias to a version that was, or train one"
        )
    try:
        return (
            Acceptance.from_json((folder / ACCEPTANCE_FILE).read_text(encoding="utf-8")),
            GoldenScores.from_json((folder / GOLDEN_FILE).read_text(encoding="utf-8")),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise NoGoldenScores(f"version {version}: {' or '.join(EXTRA_FILES)} cannot be read ({error!r}): train it anew") from error


def _digest(booster_text: str, acceptance: Acceptance) -> str:
    return hashlib.sha256(f"{booster_text}\0{acceptance.to_json()}".encode()).hexdigest()


def _ranker(version: str, text: str, acceptance: Acceptance) -> LightGBMRanker:
    import lightgbm

    return LightGBMRanker(version, lightgbm.Booster(model_str=text), acceptance)
