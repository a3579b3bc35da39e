"""The offer rule among 10,000 candidates: the 95th percentile of a call, against hashing and sorting everybody.

An ordinary market, and the two that are hardest on a rule that cuts before it sorts: all candidates in one value band, and all of
them alike in everything, so that the hash decides among all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.equity.allocation import BAND, OfferRule, allocate, is_full, never
from litgo_pipelines_tests.bench.measure import Measured, Target, seconds
from litgo_pipelines_tests.bench.scratch import Bench

CANDIDATES = 10_000
CALLS = 2_000
TIED_CALLS = 250
BASELINE_CALLS = 40
ROUNDS = 5
TOP_N = 5
MOST_MS = 1.0

_RULE = OfferRule()
_CASES_SCORED = 20
_P_WIN = 0.2
_MONTH_US = 30 * 86_400_000_000
_NOW_US = 1_770_000_000_000_000


@dataclass(frozen=True)
class Candidates:
    """The candidates of a case; arrays of shape (n,), scores of shape (cases, n)."""

    score: NDArray[np.float64]
    u_eff: NDArray[np.float64]
    is_new: NDArray[np.bool_]
    last_offered: NDArray[np.int64]
    ids: NDArray[np.void]
    step: NDArray[np.float64]

    @classmethod
    def ordinary(cls, count: int) -> Candidates:
        """Lawyers of a market that is used to six tenths: scores of a calibration in steps, a few lawyers never offered anything."""
        rng = np.random.default_rng(7)
        capacity = rng.integers(1, 31, count)
        newcomer = rng.random(count) < 0.03
        cases, in_flight = rng.poisson(0.6 * capacity), rng.poisson(0.3 * capacity)
        return cls(
            score=np.round(rng.beta(2, 4, (_CASES_SCORED, count)), 2),
            u_eff=np.where(newcomer, 0.0, (cases + _P_WIN * in_flight) / capacity),
            is_new=newcomer | (rng.random(count) < 0.05),
            last_offered=np.where(newcomer, never(), _NOW_US - rng.integers(0, _MONTH_US, count)),
            ids=np.frombuffer(rng.bytes(16 * count), dtype="V16"),
            step=_P_WIN / capacity,
        )

    def in_one_band(self) -> Candidates:
        """The same, idle and equally good, but each waiting since another moment."""
        count = len(self.ids)
        waits = np.random.default_rng(8).permutation(count).astype(np.int64)
        return replace(self.all_alike(), last_offered=_NOW_US - waits)

    def all_alike(self) -> Candidates:
        """The same in a marketplace that has just opened and knows no difference between them."""
        count = len(self.ids)
        nothing = np.zeros(count)
        return replace(
            self,
            score=np.full((_CASES_SCORED, count), 0.5),
            u_eff=nothing,
            is_new=np.ones(count, dtype=bool),
            last_offered=np.full(count, never()),
        )

    def allocated(self, case: int, explore: np.random.Generator | None = None) -> list[int]:
        """The product's choice."""
        score = self.score[case % len(self.score)]
        found = allocate(
            score, self.u_eff, self.is_new, self.last_offered, self.ids, _case_id(case), TOP_N, _RULE, step=self.step, explore=explore
        )
        return found.chosen.tolist()

    def sorted_out(self, case: int) -> list[int]:
        """The same choice as one would write it first: everybody is hashed, and everybody is sorted."""
        value = self.score[case % len(self.score)] - _RULE.price * self.u_eff + _RULE.bonus * self.is_new
        full = is_full(self.u_eff, self.step)
        first = np.where(full, self.u_eff, -np.floor(value / BAND + 1e-9))
        keys = list(zip(full.tolist(), first.tolist(), self.last_offered.tolist(), self.u_eff.tolist(), self.hashed(case), strict=True))
        return sorted(range(len(keys)), key=keys.__getitem__)[:TOP_N]

    def hashed(self, case: int) -> list[bytes]:
        """sha256(case | lawyer) of everybody."""
        prefix, ids = _case_id(case) + b"|", self.ids.tobytes()
        return [hashlib.sha256(prefix + ids[at : at + 16]).digest() for at in range(0, len(ids), 16)]


def run(bench: Bench) -> Iterator[Measured]:
    """An ordinary market, one band, and nothing but ties."""
    ordinary = Candidates.ordinary(bench.scaled(CANDIDATES))
    calls, tied_calls = (max(20, bench.scaled(count)) for count in (CALLS, TIED_CALLS))
    exploring = [np.random.default_rng(number) for number in range(calls)]
    explored = _p95_ms(lambda case: ordinary.allocated(case, exploring[case]), calls)
    within = Target("ours", MOST_MS)
    note = f"A market used to six tenths. A call that explores takes {explored:.3g} ms (p95)"
    yield _measured(bench, "allocation", ordinary, calls, within, note)
    note = "All in one value band, no two waiting equally long"
    yield _measured(bench, "allocation_one_band", ordinary.in_one_band(), calls, within, note)
    tied = ordinary.all_alike()
    alone = _p95_ms(tied.hashed, tied_calls)
    note = f"All alike, as before the first offer: the rule has them all hashed, which alone takes {alone:.3g} ms (p95)"
    yield _measured(bench, "allocation_all_tied", tied, tied_calls, within, note)


def _measured(bench: Bench, name: str, them: Candidates, calls: int, target: Target, note: str) -> Measured:
    """Rounds in turns.

    Raises:
        RuntimeError: the two sides chose differently.
    """
    ours, baseline = [], []
    for number in range(1, ROUNDS + 1):
        bench.tell(f"{name}: round {number} of {ROUNDS}")
        baseline.append(_p95_ms(them.sorted_out, BASELINE_CALLS))
        ours.append(_p95_ms(them.allocated, calls))
    for case in range(BASELINE_CALLS):
        if them.allocated(case) != them.sorted_out(case):
            raise RuntimeError(f"{name}: the two sides chose differently for case {case}")
    return Measured(
        name,
        f"choosing {TOP_N} of {len(them.ids):,} candidates, p95 of {calls:,} calls",
        f"hashing and sorting all of them, p95 of {BASELINE_CALLS} calls; the choice is the same",
        tuple(ours),
        tuple(baseline),
        target,
        faster=True,
        unit="ms",
        note=note,
    )


def _p95_ms(work: Callable[[int], Any], calls: int) -> float:
    """The 95th percentile over calls for one case after the other, in milliseconds."""
    return 1000 * float(np.percentile([seconds(partial(work, case)) for case in range(calls)], 95))


def _case_id(number: int) -> bytes:
    return number.to_bytes(16)
