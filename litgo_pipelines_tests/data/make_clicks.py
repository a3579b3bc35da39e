"""Makes `clicks.csv.gz`: simulated clicks on lists that were examined from the top, place r with probability 1/r.

2,500 queries of 10 documents, 8 features of 0..1, a hidden relevance of 0..1 that follows from s most, then t and g, and little from a; a
production ranker that goes by a, with noise. A document is clicked where its place is examined and, drawn by its relevance, it pleases. To
write the file anew:

    .venv/bin/python -m litgo_pipelines_tests.data.make_clicks
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.marketplace.names import FEATURES

FILE = Path(__file__).with_name("clicks.csv.gz")
COLUMNS = ("query", "rank", *FEATURES, "relevance", "clicked")
QUERIES, DOCUMENTS, SEED = 2_500, 10, 20_260_101

_WORTH = np.array([0.5, 5.0, 4.0, 2.0, 0.0, 0.0, 0.0, 0.0])
"""Of each feature for relevance, in logits from its least to its greatest."""
_MOOD, _PRODUCTION_NOISE = 0.3, 0.25


def clicks(queries: int = QUERIES, seed: int = SEED) -> NDArray[np.float64]:
    """One row a document in the order of `COLUMNS`, lists one after another, best place first. Shape (10 * queries, 12)."""
    generator = np.random.default_rng(seed)
    rows = queries * DOCUMENTS
    features = np.round(generator.random((rows, len(FEATURES))), 2)
    margin = (features - 0.5) @ _WORTH - 1.0 + generator.normal(0, _MOOD, rows)
    relevance = np.round(1 / (1 + np.exp(-margin)), 2)
    production = features[:, 0] + generator.normal(0, _PRODUCTION_NOISE, rows)
    query = np.repeat(np.arange(queries), DOCUMENTS)
    shown = np.lexsort((-production, query))
    rank = np.tile(np.arange(1, DOCUMENTS + 1), queries)
    clicked = (generator.random(rows) < 1 / rank) & (generator.random(rows) < relevance[shown])
    return np.column_stack([query, rank, features[shown], relevance[shown], clicked])


def read() -> NDArray[np.float64]:
    """What the file holds, as `clicks` makes it."""
    return np.loadtxt(FILE, delimiter=",", skiprows=1)


def write() -> None:
    """Write the file; the same rows give the same bytes."""
    lines = [",".join(COLUMNS), *(",".join(f"{one:g}" for one in row) for row in clicks())]
    FILE.write_bytes(gzip.compress("\n".join([*lines, ""]).encode(), compresslevel=9, mtime=0))


if __name__ == "__main__":
    write()
