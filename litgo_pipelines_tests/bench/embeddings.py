"""Texts through the local model against the same model in plain sentence-transformers: float32, 32 texts at once.

Both sides get the same texts in the same order, from one told in two sentences to ones that fill all the model looks at.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

from litgo_pipelines_tests.bench.measure import Measured, Target, seconds
from litgo_pipelines_tests.bench.scratch import Bench

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TEXTS = 384
LEAST_TEXTS = 32
ROUNDS = 5
BATCH = 32
LEAST_COSINE = 0.998
TELLINGS = (1, 1, 1, 1, 2, 3, 5, 8)
"""Of how many tellings a text is made, each as likely: most clients are short, some tell everything."""


def run(bench: Bench) -> Iterator[Measured]:
    """Rounds in turns; stops where the vectors are not the same for all purposes, for then the times say nothing."""
    from sentence_transformers import SentenceTransformer

    from litgo_pipelines.integrations.local_embeddings import LocalEmbedder
    from litgo_pipelines.settings import Settings

    embedder = LocalEmbedder.of(Settings())
    texts = made_up(max(LEAST_TEXTS, bench.scaled(TEXTS)))
    plain = SentenceTransformer(str(embedder.folder), device="cpu", local_files_only=True)

    def baseline() -> NDArray[np.float32]:
        found: NDArray[np.float32] = plain.encode(texts, batch_size=BATCH, show_progress_bar=False)
        return found

    bench.tell("embeddings: cosine")
    cosine = float((embedder.embed(texts) * baseline()).sum(axis=1).min())
    if cosine < LEAST_COSINE:
        raise RuntimeError(f"a vector has cosine {cosine:.4f} to that of plain sentence-transformers, less than {LEAST_COSINE}")
    ours, theirs = [], []
    for number in range(1, ROUNDS + 1):
        bench.tell(f"embeddings: round {number} of {ROUNDS}")
        theirs.append(seconds(baseline))
        ours.append(seconds(lambda: embedder.embed(texts)))
    yield Measured(
        "local_embeddings",
        f"{len(texts)} texts through LocalEmbedder, masking included",
        f"sentence-transformers in float32, {BATCH} texts at once",
        tuple(ours),
        tuple(theirs),
        Target("ratio", 2.5, least=True),
        faster=True,
        note=f"{len(texts) / min(ours):,.0f} texts a second; the least cosine to the other side is {cosine:.5f}, {LEAST_COSINE} is wanted",
    )


def made_up(count: int, seed: int = 5) -> list[str]:
    """So many texts as clients tell their cases, the same for the same seed."""
    from litgo_pipelines.simulation.texts import AREAS, case_text

    draws = random.Random(seed)

    def telling() -> str:
        subarea = draws.choice(draws.choice(AREAS).subareas)
        return case_text(subarea, (draws.random(), draws.random(), draws.random(), draws.random()))

    return [" ".join(telling() for _ in range(draws.choice(TELLINGS))) for _ in range(count)]
