"""What simulated lawyers and clients do: when they answer, whom they choose, how contracts end. Pure draws of ids; nothing is stored here.

Which offers and contracts there are is known to those who call this: `fate` in the database, `closed_loop` in memory.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from litgo_pipelines.casework.draws import gumbel, uniform
from litgo_pipelines.simulation import truth

CONTRACTS_PER_CASE = 0.85
"""Scales the demand: about the share of cases that end in a contract while hand weights choose. With a trained ranker it is above .9."""

HOUR = 3_600_000_000
DAY = 24 * HOUR
RATING_MEMORY = 10
_NO_ANSWER, _WALKS_AWAY, _CANCELS, _SETTLES, _REVIEWS = 0.06, 0.06, 0.03, 0.15, 0.9
_REASONS = np.array(["not_interested", "conflict", "fee", "other"])
# One stream of draws for each question that chance answers.
_S_ANSWERS, _S_DELAY, _S_ACCEPTS, _S_REASON, _S_DRAWN, _S_PONDERS, _S_WALKS = range(7)
_S_LASTS, _S_CANCELS, _S_SETTLES, _S_WINS, _S_REVIEWS, _S_RATING = range(7, 13)


def _normal(draws: NDArray[np.uint64], stream: int) -> NDArray[np.float64]:
    return np.asarray(ndtri(np.clip(uniform(draws, stream), 1e-9, 1 - 1e-9)))


def answer_delay(offers: NDArray[np.uint64], speed: NDArray[np.float64]) -> NDArray[np.int64]:
    """Microseconds until a lawyer answers: some hours, fewer for the quick. Shapes (n,)."""
    return np.asarray((np.exp(1.2 - 0.4 * speed + 0.8 * _normal(offers, _S_DELAY)) * HOUR).astype(np.int64))


def is_silent(offers: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether a lawyer never answers. Shape (n,)."""
    return uniform(offers, _S_ANSWERS) < _NO_ANSWER


def accepts(offers: NDArray[np.uint64], relevance: NDArray[np.float64], utilisation: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether a lawyer who answers is interested. Shapes (n,)."""
    return uniform(offers, _S_ACCEPTS) < truth.acceptance_probability(relevance, utilisation)


def decline_reason(offers: NDArray[np.uint64], relevance: NDArray[np.float64]) -> NDArray[np.str_]:
    """Why a lawyer who declined did: who would have accepted with free hands does so for lack of them. Shapes (n,)."""
    busy = accepts(offers, relevance, np.zeros_like(relevance))
    return np.where(busy, "capacity", _REASONS[(uniform(offers, _S_REASON) * len(_REASONS)).astype(int)])


def pondering(cases: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Microseconds a client takes to choose once all have answered: up to half a day. Shape (n,)."""
    return np.asarray((uniform(cases, _S_PONDERS) * 12 * HOUR).astype(np.int64))


def walks_away(cases: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether a client wants nobody after all. Shape (n,)."""
    return uniform(cases, _S_WALKS) < _WALKS_AWAY


def attraction(offers: NDArray[np.uint64], relevance: NDArray[np.float64], position: NDArray[np.int64]) -> NDArray[np.float64]:
    """A client takes the interested lawyer with the greatest: a draw in proportion to `truth.choice_weight`. Shapes (n,)."""
    return np.asarray(np.log(truth.choice_weight(relevance, position)) + gumbel(offers, _S_DRAWN))


def contract_length(contracts: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Microseconds from signing to the end, however it ends: 2 to 45 days. Shape (n,)."""
    return np.asarray((np.clip(np.exp(2.1 + 0.5 * _normal(contracts, _S_LASTS)), 2, 45) * DAY).astype(np.int64))


def is_canceled(contracts: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether a contract ends by being canceled. Shape (n,)."""
    return uniform(contracts, _S_CANCELS) < _CANCELS


def outcome(contracts: NDArray[np.uint64], relevance: NDArray[np.float64]) -> NDArray[np.str_]:
    """won, lost or settled. Shapes (n,)."""
    wins = uniform(contracts, _S_WINS) < truth.win_probability(relevance)
    return np.where(uniform(contracts, _S_SETTLES) < _SETTLES, "settled", np.where(wins, "won", "lost"))


def is_reviewed(contracts: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether the client of a contract that was not canceled writes a review. Shape (n,)."""
    return uniform(contracts, _S_REVIEWS) < _REVIEWS


def rating(contracts: NDArray[np.uint64], relevance: NDArray[np.float64], ended: NDArray[np.str_]) -> NDArray[np.int64]:
    """Stars, 1..5: by relevance, by outcome, by mood. Shapes (n,)."""
    mood = 1.6 + 2.6 * relevance + 0.8 * (ended == "won") - 0.6 * (ended == "lost")
    return np.asarray(np.clip(np.rint(mood + 1.6 * (uniform(contracts, _S_RATING) - 0.5)), 1, 5).astype(np.int64))
