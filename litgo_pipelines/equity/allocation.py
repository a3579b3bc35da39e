"""The offer rule: which lawyers are offered a case, in which order. Pure and vectorised.

Serving, the simulator and every replay call `allocate`; there is no second implementation. What the scores mean and how
loads are read is decided elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

BAND = 0.02
"""Width of a value band: values in one band count as equal and take turns."""

_NEVER = np.iinfo(np.int64).min
_ROUNDING = 1e-9


@dataclass(frozen=True)
class OfferRule:
    """The rule's constants: `price` is a, `bonus` is b, `exploration` the share of requests drawn at random inside bands.

    `price_id` is the row of `equity_prices` that the price comes from, where there is one.
    """

    price: float = 0.5
    bonus: float = 0.05
    exploration: float = 0.05
    price_id: int | None = None


@dataclass(frozen=True)
class Allocation:
    """Who was chosen, best first, and what the rule saw.

    Attributes:
        chosen: shape (k,), indices into the candidates.
        value: shape (n,), the value of every candidate.
        band: shape (n,), number of the value band; equal ones take turns.
        full: shape (n,), whether one more offer would carry the candidate above capacity.
        filled: shape (k,), whether a chosen one is full and only fills up the list.
        propensity: shape (k,), probability with which the chosen one was shown at its position; 1 without exploration.
        cutoff: value of the last chosen one that is not full; NaN where there is none.
        explored: whether the order inside bands was drawn at random.
    """

    chosen: NDArray[np.intp]
    value: NDArray[np.float64]
    band: NDArray[np.float64]
    full: NDArray[np.bool_]
    filled: NDArray[np.bool_]
    propensity: NDArray[np.float64]
    cutoff: float
    explored: bool


class Policy(Protocol):
    """How candidates are chosen among: the offer rule (`allocate`), or something it is compared with (`policies`)."""

    def __call__(
        self,
        score: NDArray[np.float64],
        u_eff: NDArray[np.float64],
        is_new: NDArray[np.bool_],
        last_offered: NDArray[np.int64],
        lawyer_ids: NDArray[np.void],
        case_id: bytes,
        top_n: int,
        rule: OfferRule,
        *,
        step: NDArray[np.float64] | float = 0.0,
        explore: np.random.Generator | None = None,
    ) -> Allocation:
        """Arguments and result as those of `allocate`."""


def effective_load(
    cases_30d: NDArray[np.float64], in_flight: NDArray[np.float64], capacity: NDArray[np.float64], p_win: float
) -> NDArray[np.float64]:
    """u_eff: cases of the last 30 days plus what the offers in flight will likely become, over monthly capacity. Shapes (n,)."""
    return (cases_30d + p_win * in_flight) / np.maximum(1.0, capacity)


def is_full(u_eff: NDArray[np.float64], step: NDArray[np.float64] | float) -> NDArray[np.bool_]:
    """Whether a candidate is at capacity, or the next offer (worth `step` of load) would carry it above. Shape (n,)."""
    return (u_eff >= 1.0) | (u_eff + step > 1.0 + _ROUNDING)


def allocate(
    score: NDArray[np.float64],
    u_eff: NDArray[np.float64],
    is_new: NDArray[np.bool_],
    last_offered: NDArray[np.int64],
    lawyer_ids: NDArray[np.void],
    case_id: bytes,
    top_n: int,
    rule: OfferRule,
    *,
    step: NDArray[np.float64] | float = 0.0,
    explore: np.random.Generator | None = None,
) -> Allocation:
    """Choose min(top_n, n) candidates: value bands first, inside a band who waited longest, then the least loaded, then a hash of the ids.

    value = score - price * u_eff + bonus * is_new. Full candidates follow only where too few others remain, the least
    loaded first. Raising one candidate's load never improves that candidate's rank.

    Args:
        score: shape (n,), calibrated probability of acceptance, in (0, 1).
        u_eff: shape (n,), load with offers in flight over capacity, >= 0.
        is_new: shape (n,), whether the bonus is due.
        last_offered: shape (n,), microseconds since the epoch; the least int64 for never.
        lawyer_ids: shape (n,), 16 bytes each.
        case_id: 16 bytes.
        top_n: how many are wanted, >= 1.
        step: what one more offer adds to u_eff, shape (n,) or a number.
        explore: draws the order inside bands at random when given; otherwise nothing is random.
    """
    candidates = score.shape[0]
    wanted = min(top_n, candidates)
    value = score - rule.price * u_eff + rule.bonus * is_new
    full = is_full(u_eff, step)
    band = np.floor(value / BAND + _ROUNDING)
    free = np.flatnonzero(~full)
    best = _best(free, -band, last_offered, u_eff, lawyer_ids, case_id, wanted, explore)
    rest = np.flatnonzero(full)
    missing = wanted - best.size
    extra = _best(rest, u_eff, last_offered, u_eff, lawyer_ids, case_id, missing, None)
    chosen = np.concatenate([best, extra])
    filled = np.arange(wanted) >= best.size
    propensity = np.ones(wanted)
    if explore is not None:
        sizes = {key: np.count_nonzero(band[free] == key) for key in np.unique(band[best])}
        propensity[: best.size] = [1.0 / sizes[key] for key in band[best]]
    cutoff = float(value[best].min()) if best.size else float("nan")
    return Allocation(chosen, value, band, full, filled, propensity, cutoff, explore is not None)


def _best(
    among: NDArray[np.intp],
    key: NDArray[np.float64],
    last_offered: NDArray[np.int64],
    u_eff: NDArray[np.float64],
    lawyer_ids: NDArray[np.void],
    case_id: bytes,
    wanted: int,
    explore: np.random.Generator | None,
) -> NDArray[np.intp]:
    """The `wanted` first of `among`, by key, then longest wait (or a random draw), then load, then hash. Cuts before it sorts."""
    if wanted <= 0 or among.size == 0:
        return among[:0]
    if explore is not None:
        ranked = _cut(among, wanted, key.__getitem__)
        return np.asarray(ranked[np.lexsort((explore.permutation(ranked.size), key[ranked]))][:wanted])

    def heads(of: NDArray[np.intp]) -> NDArray[np.uint64]:
        """The first 8 bytes of each digest, as a number."""
        return np.frombuffer(b"".join(_digests(case_id, lawyer_ids[of])), dtype=">u8")[::4].astype(np.uint64)

    ranked = _cut(among, wanted, key.__getitem__, last_offered.__getitem__, u_eff.__getitem__, heads)
    digests = _digests(case_id, lawyer_ids[ranked])
    keys = list(zip(key[ranked].tolist(), last_offered[ranked].tolist(), u_eff[ranked].tolist(), digests, strict=True))
    return np.asarray(ranked[sorted(range(ranked.size), key=keys.__getitem__)[:wanted]])


def _cut(among: NDArray[np.intp], wanted: int, *keys: Callable[[NDArray[np.intp]], NDArray[Any]]) -> NDArray[np.intp]:
    """Those of `among` who can be among the `wanted` first by `keys`, and all who tie with the last of them. Unsorted.

    A key is asked for nobody but those who tie in all keys before it, and not at all where nobody ties at the cut.
    """
    sure: list[NDArray[np.intp]] = []
    rest = among
    for key in keys:
        if rest.size <= wanted:
            break
        values = key(rest)
        last = np.partition(values, wanted - 1)[wanted - 1]
        before = rest[values < last]
        sure.append(before)
        wanted -= before.size
        rest = rest[values == last]
    return np.concatenate([*sure, rest])


def _digests(case_id: bytes, lawyer_ids: NDArray[np.void]) -> list[bytes]:
    """sha256(case | lawyer) of each lawyer."""
    prefix, ids = case_id + b"|", lawyer_ids.tobytes()
    return [hashlib.sha256(prefix + ids[at : at + 16]).digest() for at in range(0, len(ids), 16)]


def never() -> np.int64:
    """The `last_offered` of somebody who was never offered a case: sorts before every time."""
    return np.int64(_NEVER)
