"""P(the lawyer accepts): the calibration of a ranker's raw score, or a model of its own where the score does not carry it.

Order within a request is the ranker's business; this is about how often an offer is taken.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.marketplace.names import FEATURES
from litgo_pipelines.ranking.training_set import InsufficientData

if TYPE_CHECKING:
    import lightgbm

Method = Literal["platt", "isotonic", "features"]

TOLERATED_ERROR = 0.05
"""Expected calibration error above which a model of acceptance by the features is tried."""

_LEAST_ROWS_FOR_ISOTONIC = 1000
_FOLDS = 5
_BINS = 10
_NEVER_CERTAIN = 1e-3


@dataclass(frozen=True)
class Acceptance:
    """Maps raw scores, or the features themselves, to P(accept).

    Attributes:
        method: `platt` (a sigmoid), `isotonic` (steps, linear in between) or `features` (a monotone model of the eight features).
        x: platt: (slope, intercept), slope >= 0; isotonic: raw scores, ascending; else empty.
        y: isotonic: probability at each x, ascending; else empty.
        model: features: the text of a LightGBM booster; else empty.
    """

    method: Method
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()
    model: str = ""

    @cached_property
    def _booster(self) -> lightgbm.Booster:
        import lightgbm

        return lightgbm.Booster(model_str=self.model)

    @cached_property
    def _steps(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.array(self.x), np.array(self.y)

    def probability(self, features: NDArray[np.float32], raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """P(accept), never falling with `raw` (platt, isotonic) or with any feature (features). Shapes (n, 8), (n,) to (n,)."""
        if self.method == "features":
            return np.asarray(self._booster.predict(features, num_threads=1), dtype=np.float64)
        if self.method == "isotonic":
            return np.interp(raw, *self._steps)
        slope, intercept = self.x
        return _sigmoid(slope * raw + intercept)

    def to_json(self) -> str:
        return json.dumps({"method": self.method, "x": self.x, "y": self.y, "model": self.model})

    @classmethod
    def from_json(cls, text: str) -> Acceptance:
        found = json.loads(text)
        return cls(found["method"], tuple(found["x"]), tuple(found["y"]), found["model"])


@dataclass(frozen=True)
class Offered:
    """Offers whose answer is known: features (n, 8), raw scores (n,), accepted (n,), and the group (n,) each belongs to."""

    features: NDArray[np.float32]
    raw: NDArray[np.float64]
    accepted: NDArray[np.bool_]
    group: NDArray[np.int32]


@dataclass(frozen=True)
class CalibrationReport:
    """How the choice was made. Errors are expected calibration errors on held-out offers, NaN where not measured.

    Attributes:
        log_loss: cross-validated log loss of each calibration of the raw score that was tried.
        score_error: of the calibrated raw score.
        features_error: of the model of acceptance by the features; NaN where none was fitted.
        error: of what was chosen.
    """

    method: Method
    log_loss: dict[str, float]
    score_error: float
    features_error: float
    error: float


def fit_acceptance(
    train: Offered, calibration: Offered, held_out: Offered, *, seed: int, threads: int
) -> tuple[Acceptance, CalibrationReport]:
    """Calibrate raw scores on cases the ranker did not learn from.

    Platt or isotonic, whichever has the lower log loss in 5-fold cross-validation by group on `calibration`; isotonic is
    tried from 1000 rows on. Where the expected calibration error on `held_out` exceeds .05, a monotone model of acceptance by
    the features is fitted on `train` (whose raw scores are not used), and the better of the two is kept.

    Raises:
        InsufficientData: there is nothing to calibrate on.
    """
    if calibration.raw.size == 0:
        raise InsufficientData("no settled offers are left to calibrate on")
    losses = {"platt": _cross_validated_loss("platt", calibration)}
    if calibration.raw.size >= _LEAST_ROWS_FOR_ISOTONIC:
        losses["isotonic"] = _cross_validated_loss("isotonic", calibration)
    by_score = _fit(min(losses, key=losses.__getitem__), calibration.raw, calibration.accepted)
    score_error = _error(by_score, held_out)
    if not score_error > TOLERATED_ERROR or train.accepted.size == 0:
        return by_score, CalibrationReport(by_score.method, losses, score_error, float("nan"), score_error)
    by_features = _fit_by_features(train, seed, threads)
    features_error = _error(by_features, held_out)
    chosen, error = (by_features, features_error) if features_error < score_error else (by_score, score_error)
    return chosen, CalibrationReport(chosen.method, losses, score_error, features_error, error)


def expected_calibration_error(probability: NDArray[np.float64], happened: NDArray[np.bool_], bins: int = _BINS) -> float:
    """Mean distance of what was promised from what happened, over bins of equal mass; equal promises share a bin.

    Args:
        probability: shape (n,), 0..1.
        happened: shape (n,).
        bins: how many quantile bins.

    Returns:
        0..1; NaN for no rows. Naeini, Cooper and Hauskrecht (2015), "Obtaining Well Calibrated Probabilities Using Bayesian
        Binning", with quantile bins.
    """
    if probability.size == 0:
        return float("nan")
    edges = np.quantile(probability, np.linspace(0, 1, bins + 1)[1:-1])
    place = np.searchsorted(edges, probability)
    surplus = np.bincount(place, weights=probability - happened, minlength=bins)
    return float(np.abs(surplus).sum() / probability.size)


def log_loss(probability: NDArray[np.float64], happened: NDArray[np.bool_]) -> float:
    """Mean negative log likelihood; certainty is capped at .001 and .999. Shapes (n,)."""
    kept = np.clip(probability, _NEVER_CERTAIN, 1 - _NEVER_CERTAIN)
    return float(-np.mean(np.where(happened, np.log(kept), np.log1p(-kept))))


def _error(acceptance: Acceptance, offered: Offered) -> float:
    return expected_calibration_error(acceptance.probability(offered.features, offered.raw), offered.accepted)


def _fit(method: str, raw: NDArray[np.float64], accepted: NDArray[np.bool_]) -> Acceptance:
    return _fit_isotonic(raw, accepted) if method == "isotonic" else _fit_platt(raw, accepted)


def _fit_platt(raw: NDArray[np.float64], accepted: NDArray[np.bool_]) -> Acceptance:
    """A sigmoid by maximum likelihood, with the smoothed targets of Platt (1999) and a slope that is never negative."""
    from scipy.optimize import minimize

    yes = int(accepted.sum())
    no = accepted.size - yes
    target = np.where(accepted, (yes + 1) / (yes + 2), 1 / (no + 2))
    centre, spread = float(raw.mean()), float(raw.std()) or 1.0
    scaled = (raw - centre) / spread

    def loss(at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = at[0] * scaled + at[1]
        residual = _sigmoid(margin) - target
        value = np.mean(np.logaddexp(0.0, margin) - target * margin)
        return float(value), np.array([np.mean(residual * scaled), residual.mean()])

    base = np.log((yes + 1) / (no + 1))
    found = minimize(loss, np.array([0.0, base]), jac=True, method="L-BFGS-B", bounds=[(0.0, None), (None, None)])
    slope = float(found.x[0]) / spread
    return Acceptance("platt", x=(slope, float(found.x[1]) - slope * centre))


def _fit_isotonic(raw: NDArray[np.float64], accepted: NDArray[np.bool_]) -> Acceptance:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=_NEVER_CERTAIN, y_max=1 - _NEVER_CERTAIN, out_of_bounds="clip").fit(raw, accepted)
    return Acceptance("isotonic", x=tuple(map(float, fitted.X_thresholds_)), y=tuple(map(float, fitted.y_thresholds_)))


def _fit_by_features(train: Offered, seed: int, threads: int) -> Acceptance:
    import lightgbm

    parameters: dict[str, Any] = {
        "objective": "binary",
        "learning_rate": 0.05,
        "num_leaves": 15,
        "min_data_in_leaf": int(np.clip(train.accepted.size // 50, 5, 200)),
        "monotone_constraints": [1] * len(FEATURES),
        "deterministic": True,
        "force_row_wise": True,
        "seed": seed,
        "num_threads": threads,
        "verbosity": -1,
    }
    dataset = lightgbm.Dataset(
        train.features, label=train.accepted.astype(np.float32), feature_name=list(FEATURES), params={"verbosity": -1}
    )
    booster = lightgbm.train(parameters, dataset, num_boost_round=100)
    return Acceptance("features", model=booster.model_to_string())


def _cross_validated_loss(method: str, offered: Offered) -> float:
    """Log loss of each fold under a fit on the others; groups are never torn apart. The fit's own loss where there is one group."""
    _, group = np.unique(offered.group, return_inverse=True)
    fold = group % _FOLDS
    promised = np.empty(offered.raw.size)
    for one in np.unique(fold):
        rest = fold != one
        learn = rest if rest.any() else ~rest
        fitted = _fit(method, offered.raw[learn], offered.accepted[learn])
        promised[fold == one] = fitted.probability(offered.features[fold == one], offered.raw[fold == one])
    return log_loss(promised, offered.accepted)


def _sigmoid(margin: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import expit

    return np.asarray(expit(margin))
