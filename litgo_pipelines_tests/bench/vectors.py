"""The nearest 50 of 100,000 stored vectors through the index of their space, against comparing with every one of them in the same database.

The vectors lie like those of texts: in subjects of uneven size, and varying inside them in few directions.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from litgo_pipelines.integrations.embedders import Space
from litgo_pipelines_tests.bench.measure import Measured, Target, seconds
from litgo_pipelines_tests.bench.scratch import Bench

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sqlalchemy import Engine

    from litgo_pipelines.marketplace.vectors import Vectors

VECTORS = 100_000
DIM = 384
NEAREST = 50
QUERIES = 40
ROUNDS = 5
SUBJECTS, DIRECTIONS = 300, 40
LEAST_RECALL = 0.98
SPACE = Space("made-up", "1", DIM)

_AT_ONCE = 5_000
_INDEX = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'litgo' AND indexname LIKE 'ix\\_embeddings\\_%'"


def run(bench: Bench) -> Iterator[Measured]:
    """Rounds in turns, each the median of many searches, with queries that are none of the stored vectors."""
    from litgo_pipelines.marketplace.database import open_engine
    from litgo_pipelines.marketplace.vectors import Vectors, nearest

    count = bench.scaled(VECTORS)
    rows = like_texts(count + QUERIES)
    with bench.database("bench_vectors") as url:
        engine = open_engine(url)
        _fill(url, engine, rows[:count], bench)
        queries = [Vectors(SPACE.name, one[None, :]) for one in rows[count:]]

        def search(query: Vectors, exact: bool) -> set[object]:
            with engine.begin() as connection:
                found = nearest(connection, SPACE.name, "case", query, NEAREST, exact=exact)
            return {one.entity_id for one in found}

        bench.tell("vectors: recall")
        recall = statistics.mean(len(search(one, exact=True) & search(one, exact=False)) / NEAREST for one in queries)
        if recall < LEAST_RECALL:
            raise RuntimeError(f"the search finds {recall:.3f} of what exact search does, less than {LEAST_RECALL}: its time says nothing")
        ours, baseline = [], []
        for number in range(1, ROUNDS + 1):
            bench.tell(f"vectors: round {number} of {ROUNDS}")
            baseline.append(_median_ms(lambda query: search(query, exact=True), queries))
            ours.append(_median_ms(lambda query: search(query, exact=False), queries))
        engine.dispose()
    yield Measured(
        "vector_search",
        f"the nearest {NEAREST} of {count:,} vectors of {DIM} dimensions through the index of their space, median of {QUERIES} queries",
        "exact search of the same rows by PostgreSQL",
        tuple(ours),
        tuple(baseline),
        Target("ratio", 0.1),
        unit="ms",
        note=f"recall {recall:.3f} of the exact ones; at least {LEAST_RECALL} are wanted",
    )


def like_texts(count: int) -> NDArray[np.float32]:
    """Unit vectors around subjects, shape (count, DIM): sizes of subjects fall as words' frequencies do, spread is in few directions."""
    import numpy as np

    generator = np.random.default_rng(7)
    weights = 1 / np.arange(1, SUBJECTS + 1)
    subject = generator.choice(SUBJECTS, size=count, p=weights / weights.sum())
    centres = generator.normal(size=(SUBJECTS, DIM)).astype(np.float32)
    directions = generator.normal(size=(DIRECTIONS, DIM)).astype(np.float32) / np.sqrt(DIRECTIONS)
    inside = generator.normal(size=(count, DIRECTIONS)).astype(np.float32) @ directions
    found = centres[subject] + inside + 0.2 * generator.normal(size=(count, DIM)).astype(np.float32)
    unit: NDArray[np.float32] = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit


def _fill(url: str, engine: Engine, rows: NDArray[np.float32], bench: Bench) -> None:
    """Store all vectors; the index is built at once at the end, as after a restore, for this measures searches."""
    import psycopg

    from litgo_pipelines.marketplace.database import driver_url
    from litgo_pipelines.marketplace.vectors import Vectors, put, register
    from litgo_pipelines_tests.bench.scratch import vacuum

    with engine.begin() as connection:
        register(connection, SPACE)
    with psycopg.connect(driver_url(url), autocommit=True) as owner:
        (name, definition) = owner.execute(_INDEX).fetchone() or ("", "")
        owner.execute(f"DROP INDEX litgo.{name}")  # type: ignore[arg-type]
        bench.tell(f"vectors: storing {len(rows):,}")
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            ids = [UUID(int=start + number + 1) for number in range(len(part))]
            with engine.begin() as connection:
                put(connection, "case", ids, ["made up"] * len(part), Vectors(SPACE.name, part), datetime.now(UTC))
        bench.tell("vectors: building the index")
        owner.execute("SET maintenance_work_mem = '600MB'")
        owner.execute(definition)
    vacuum(url, "litgo.embeddings")


def _median_ms(search: Callable[[Vectors], object], queries: list[Vectors]) -> float:
    return statistics.median(seconds(lambda query=query: search(query)) for query in queries) * 1000  # type: ignore[misc]
