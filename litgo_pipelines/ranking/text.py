"""How alike two texts are: by their hashed words, which need no model, and by a model's vectors where there are any.

Where a model's vectors come from is not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIMENSION = 256
SPACE = f"hashed-words-pt-{DIMENSION}"
"""Name of the vector space; vectors of two spaces are never compared."""

NO_SPACE = "none"
"""What older records have as the space of a text that could not be compared at all."""

STOP_WORDS = tuple(
    """
a ao aos as com como da das de do dos e ela ele em entre essa esse esta este eu foi ha ja la mais mas me meu minha na nao nas nem no nos
o os ou para pela pelo por porque quando que quem se sem ser seu sua sao tambem tem um uma voce
""".split()
)
"""Words that say nothing of a case, without accents."""


def hybrid_space(space: str | None) -> str:
    """Name of the space in which texts are compared by words and by a model's vectors; by words alone where there is no model's."""
    return SPACE if space is None else f"{SPACE}+{space}"


@lru_cache(maxsize=1)
def _vectoriser() -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(
        n_features=DIMENSION, alternate_sign=False, norm="l2", strip_accents="unicode", stop_words=list(STOP_WORDS), dtype=np.float32
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


def hybrid(lexical: NDArray[np.float64], semantic: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of both cosines, shapes (n,). Where the model's is unknown (NaN) the mean of the known ones stands in; the lexical one decides
    whether anything is known at all.

    Each sees what the other misses: words tell names of laws and things apart, a model knows words that mean the same.
    """
    known = ~np.isnan(semantic)
    if not known.any():
        return lexical
    return np.asarray((lexical + np.where(known, semantic, semantic[known].mean())) / 2)
