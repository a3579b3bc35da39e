"""Stored embeddings: unit vectors of cases, lawyers and labelled examples, each in its space, and the search for the nearest of them.

Who makes vectors, and of what, is not known here. Vectors are kept in half precision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol
from uuid import UUID

from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sqlalchemy import Connection

Entity = Literal["case", "lawyer", "example"]

MOST_NEIGHBOURS: Final = 1000
"""pgvector's own bound on what a search through the index keeps in hand."""
IN_HAND, LEAST_IN_HAND = 6, 100
"""Candidates that a search keeps in hand for each wanted one, and at least: with fewer it would miss some (`make bench` tells how many)."""

_REGISTER = "SELECT litgo.add_embedding_space(:name, :model, :revision, CAST(:dim AS integer))"
_SPACE = "SELECT model, revision, dim FROM litgo.embedding_spaces WHERE name = :name"

# A vector that was made of the same is not written again: its place in the index would have to be found anew.
_PUT = """
INSERT INTO litgo.embeddings (space, entity_type, entity_id, content_hash, vector, embedded_at)
SELECT :space, :entity, one.id, one.hash, one.vector, :at
FROM unnest(CAST(:ids AS uuid[]), CAST(:hashes AS text[]), CAST(:vectors AS halfvec[])) one (id, hash, vector)
ON CONFLICT (space, entity_type, entity_id) DO UPDATE
SET content_hash = EXCLUDED.content_hash, vector = EXCLUDED.vector, embedded_at = EXCLUDED.embedded_at
WHERE embeddings.content_hash <> EXCLUDED.content_hash
"""

_READ = """
SELECT entity_id, halfvec_send(vector) FROM litgo.embeddings
WHERE space = %(space)s AND entity_type = %(entity)s AND entity_id = ANY(%(ids)s)
"""

_COUNT = "SELECT space, entity_type, count(*) FROM litgo.embeddings GROUP BY space, entity_type ORDER BY space, entity_type"

# A plan for whatever space might be asked for could not use the index of one.
_SEARCH = """
SELECT set_config('hnsw.ef_search', CAST(:in_hand AS text), true), set_config('hnsw.iterative_scan', 'strict_order', true),
       set_config('plan_cache_mode', 'force_custom_plan', true)
"""
_NEAREST = """
SELECT entity_id, 1 - (vector::halfvec({dim}) <=> CAST(:vector AS halfvec({dim})))
FROM litgo.embeddings WHERE space = :space AND entity_type = :entity
ORDER BY vector::halfvec({dim}) <=> CAST(:vector AS halfvec({dim})) LIMIT :limit
"""
# Not of the expression that the index is made of, so that it is not used.
_NEAREST_OF_ALL = """
SELECT entity_id, 1 - (vector <=> CAST(:vector AS halfvec))
FROM litgo.embeddings WHERE space = :space AND entity_type = :entity
ORDER BY vector <=> CAST(:vector AS halfvec) LIMIT :limit
"""


class SpacesDiffer(LitgoError, ValueError):
    """Vectors of two spaces would have been compared or mixed."""


class Space(Protocol):
    """A space of vectors, as whoever makes them describes it."""

    @property
    def name(self) -> str: ...

    @property
    def model(self) -> str: ...

    @property
    def revision(self) -> str: ...

    @property
    def dim(self) -> int: ...


@dataclass(frozen=True)
class Vectors:
    """Vectors with the space that they lie in.

    Attributes:
        space: its name.
        rows: shape (n, dim); a row of NaN where there is no vector.
    """

    space: str
    rows: NDArray[np.float32]

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which rows are vectors. Shape (n,)."""
        import numpy as np

        return ~np.isnan(self.rows[:, 0])

    def cosines(self, others: Vectors) -> NDArray[np.float32]:
        """Cosine of each of these unit vectors, shape (n, dim), with each of the others, shape (m, dim). Shape (n, m).

        Raises:
            SpacesDiffer: the others lie in another space.
        """
        others.require(self.space, self.rows.shape[1])
        found: NDArray[np.float32] = self.rows @ others.rows.T
        return found

    def require(self, space: str, dim: int) -> None:
        """Refuse these vectors where those of `space` are wanted.

        Raises:
            SpacesDiffer: they lie in another space, or are of another length.
        """
        if self.space != space:
            raise SpacesDiffer(f"vectors of {self.space} cannot be compared with those of {space}: embed both sides in one space")
        if self.rows.ndim != 2 or self.rows.shape[1] != dim:
            raise SpacesDiffer(f"vectors of shape {self.rows.shape} are none of {space}, whose vectors have length {dim}")


class Neighbour(NamedTuple):
    """An entity near to what was asked for, with the cosine of both."""

    entity_id: UUID
    cosine: float


def content_hash(text: str) -> str:
    """By which vectors of a text are told from those of another one: PostgreSQL's md5 of it."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def register(connection: Connection, space: Space) -> None:
    """Add a space with its index; does nothing where it is there."""
    from sqlalchemy import text

    wanted = {"name": space.name, "model": space.model, "revision": space.revision, "dim": space.dim}
    # Looked for first: the function would wait for whoever is just adding another row of the same name.
    if connection.execute(text(_SPACE), {"name": space.name}).one_or_none() is None:
        connection.execute(text(_REGISTER), wanted)


def put(
    connection: Connection, entity: Entity, ids: Sequence[UUID], content_hashes: Sequence[str], vectors: Vectors, embedded_at: datetime
) -> int:
    """Write vectors of a registered space, in place of those that were made of something else.

    Args:
        ids, content_hashes: of what each row of `vectors` was made of; shape (n,). No id twice.

    Returns:
        How many were written: those that were there with the same hash are left as they are. The transaction stays the caller's.

    Raises:
        SpacesDiffer: the vectors are not of their space's length, or the space is not registered.
        ValueError: a vector is unknown or not finite, or the lengths differ.
    """
    import numpy as np
    from pgvector import HalfVector
    from sqlalchemy import text

    vectors.require(vectors.space, _dim(connection, vectors.space))
    if not len(ids) == len(content_hashes) == len(vectors.rows):
        raise ValueError(f"{len(ids)} ids, {len(content_hashes)} hashes and {len(vectors.rows)} vectors do not belong together")
    if not np.isfinite(vectors.rows).all():
        raise ValueError("a vector with values that are no numbers cannot be stored")
    if not len(ids):
        return 0
    _know_halfvec(connection)
    halves = vectors.rows.astype(np.float16)
    given = {"space": vectors.space, "entity": entity, "at": embedded_at, "ids": list(ids), "hashes": list(content_hashes)}
    return connection.execute(text(_PUT), given | {"vectors": [HalfVector(one) for one in halves]}).rowcount


def read(connection: Connection, space: str, entity: Entity, ids: Sequence[UUID]) -> Vectors:
    """The vectors of entities in one space, in the order of `ids`; a row of NaN for each that has none.

    Raises:
        SpacesDiffer: there is no such space.
    """
    import numpy as np

    dim = _dim(connection, space)
    rows = np.full((len(ids), dim), np.nan, dtype=np.float32)
    driver: Any = connection.connection.driver_connection
    # Ten thousand vectors as text would take a second to read.
    with driver.cursor(binary=True) as cursor:
        found = cursor.execute(_READ, {"space": space, "entity": entity, "ids": list(ids)}).fetchall()
    if found:
        # Each is sent as its length and a word of zeros, 2 bytes each, and then the values, big-endian.
        sent = np.frombuffer(b"".join(vector for _, vector in found), dtype=">f2").reshape(len(found), dim + 2)[:, 2:]
        known = {one: index for index, (one, _) in enumerate(found)}
        wanted = np.array([known.get(one, -1) for one in ids], dtype=np.intp)
        rows[wanted >= 0] = sent[wanted[wanted >= 0]]
    return Vectors(space, rows)


def nearest(connection: Connection, space: str, entity: Entity, vector: Vectors, limit: int, *, exact: bool = False) -> list[Neighbour]:
    """The entities of a space nearest to one vector, the nearest first.

    Args:
        vector: one row.
        limit: 1..1000.
        exact: compare with every vector instead of searching the index.

    Raises:
        SpacesDiffer: the vector lies in another space, or the space is not registered.
        ValueError: `limit` is out of its range, or there is not one row.
    """
    import numpy as np
    from pgvector import HalfVector
    from sqlalchemy import text

    if not 1 <= limit <= MOST_NEIGHBOURS:
        raise ValueError(f"1 to {MOST_NEIGHBOURS} neighbours can be asked for, not {limit}")
    dim = _dim(connection, space)
    vector.require(space, dim)
    if len(vector.rows) != 1:
        raise ValueError(f"neighbours are looked for of one vector, not of {len(vector.rows)}")
    if not exact:
        connection.execute(text(_SEARCH), {"in_hand": min(MOST_NEIGHBOURS, max(IN_HAND * limit, LEAST_IN_HAND))})
    asked = {"vector": HalfVector(vector.rows[0].astype(np.float16)).to_text(), "space": space, "entity": entity, "limit": limit}
    search = _NEAREST_OF_ALL if exact else _NEAREST.format(dim=dim)
    # The index reckons a little less exactly than the cosines it is asked for.
    return sorted((Neighbour(*row) for row in connection.execute(text(search), asked)), key=lambda one: -one.cosine)


def counts(connection: Connection) -> dict[tuple[str, Entity], int]:
    """How many vectors there are, by space and kind of entity."""
    from sqlalchemy import text

    return {(space, entity): count for space, entity, count in connection.execute(text(_COUNT))}


def _dim(connection: Connection, space: str) -> int:
    from sqlalchemy import text

    found = connection.execute(text(_SPACE), {"name": space}).one_or_none()
    if found is None:
        raise SpacesDiffer(f"there is no space {space!r} in this marketplace: run `litgo embeddings backfill`")
    return int(found.dim)


def _know_halfvec(connection: Connection) -> None:
    """Let the driver send lists of half vectors."""
    from pgvector.psycopg import register_vector

    driver: Any = connection.connection.driver_connection
    register_vector(driver)
