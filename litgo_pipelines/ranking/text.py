"""Case texts as vectors: hashed words, no vocabulary to store, no model to fetch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIMENSION = 256
SPACE = f"hashed-words-pt-{DIMENSION}"
"""Name of the vector space; vectors of two spaces are never compared."""

NO_SPACE = "none"
"""The space of a text that could not be embedded: its vector is unknown, and so is every similarity to it."""

_STOP_WORDS = """
a ao aos as com como da das de do dos e ela ele em entre essa esse esta este eu foi ha ja la mais mas me meu minha na nao nas nem no nos
o os ou para pela pelo por porque quando que quem se sem ser seu sua sao tambem tem um uma voce
"""


@dataclass(frozen=True)
class Embedded:
    """A text's vector, shape (DIMENSION,), and the space it lies in."""

    vector: NDArray[np.float32]
    space: str

    @classmethod
    def unknown(cls) -> Embedded:
        """Of a text that could not be embedded."""
        return cls(np.full(DIMENSION, np.nan, dtype=np.float32), NO_SPACE)


def embed(text: str) -> Embedded:
    """The text by its hashed words, without asking anybody."""
    return Embedded(vectorise([text])[0], SPACE)


@lru_cache(maxsize=1)
def _vectoriser() -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(
        n_features=DIMENSION, alternate_sign=False, norm="l2", strip_accents="unicode", stop_words=_STOP_WORDS.split(), dtype=np.float32
    )


def vectorise(texts: Sequence[str]) -> NDArray[np.float32]:
    """Unit vectors of texts; the zero vector for a text without words. Shape (n, DIMENSION)."""
    if not texts:
        return np.zeros((0, DIMENSION), dtype=np.float32)
    return np.asarray(_vectoriser().transform(texts).toarray(), dtype=np.float32)


def cosine_to_sums(vector: NDArray[np.float32], sums: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosine of one unit vector, shape (d,), with sums of vectors, shape (n, d). NaN where a sum is empty. Shape (n,)."""
    lengths = np.sqrt(np.einsum("ij,ij->i", sums, sums))
    return np.asarray(np.divide(sums @ vector, lengths, out=np.full(len(sums), np.nan), where=lengths > 0))
