"""The store of embeddings, on a real PostgreSQL with pgvector."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sqlalchemy import text

from litgo_pipelines.integrations.embedders import Space
from litgo_pipelines.marketplace.database import open_engine
from litgo_pipelines.marketplace.vectors import SpacesDiffer, Vectors, counts, nearest, put, read, register

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy import Connection, Engine

AT = datetime(2026, 3, 10, 15, tzinfo=UTC)
SMALL = Space("small", "1", 8)
TWIN = Space("twin", "1", 8)
LARGE = Space("large", "1", 384)


def unit(count: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    """Random unit vectors around a dozen centres, as texts gather around subjects. Shape (count, dim)."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(12, dim))
    found = centres[generator.integers(12, size=count)] + 0.7 * generator.normal(size=(count, dim))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def ids(count: int) -> list[uuid.UUID]:
    return [uuid.UUID(int=number + 1) for number in range(count)]


def store(connection: Connection, space: Space, rows: NDArray[np.float32], entity: str = "case", tag: str = "a") -> int:
    """Write vectors with ids from 1 on, made of something that `tag` stands for."""
    register(connection, space)
    return put(connection, entity, ids(len(rows)), [tag] * len(rows), Vectors(space.name, rows), AT)  # type: ignore[arg-type]


def test_what_was_put_is_read_in_the_order_asked_for(engine: Engine) -> None:
    """Vectors come back in half precision in the order of the ids asked for; who has none is unknown, not zero."""
    rows = unit(5, 8)
    with engine.begin() as connection:
        assert store(connection, SMALL, rows) == 5
        stranger = uuid.uuid4()
        asked = [ids(5)[3], stranger, ids(5)[0], ids(5)[3]]
        found = read(connection, SMALL.name, "case", asked)
        assert found.space == SMALL.name
        assert found.rows.dtype == np.float32
        np.testing.assert_allclose(found.rows[[0, 2, 3]], rows[[3, 0, 3]], atol=5e-4)
        assert np.isnan(found.rows[1]).all()
        assert np.isnan(read(connection, SMALL.name, "lawyer", asked).rows).all()
        assert read(connection, SMALL.name, "case", []).rows.shape == (0, 8)


def test_a_vector_made_of_the_same_is_left_as_it_is(engine: Engine) -> None:
    """Only where the hash of what it was made of differs is a vector written anew."""
    first, second = unit(3, 8, 1), unit(3, 8, 2)
    with engine.begin() as connection:
        store(connection, SMALL, first)
        hashes = ["a", "b", "a"]
        assert put(connection, "case", ids(3), hashes, Vectors(SMALL.name, second), AT) == 1
        found = read(connection, SMALL.name, "case", ids(3)).rows
        np.testing.assert_allclose(found, [first[0], second[1], first[2]], atol=5e-4)
        assert counts(connection) == {(SMALL.name, "case"): 3}


def test_spaces_never_mix(engine: Engine) -> None:
    """Two spaces of one length share ids but no vector: neither a read, a search nor a comparison crosses over."""
    rows = unit(20, 8)
    with engine.begin() as connection:
        store(connection, SMALL, rows)
        store(connection, TWIN, -rows)
        np.testing.assert_allclose(read(connection, TWIN.name, "case", ids(20)).rows, -rows, atol=5e-4)
        asked = Vectors(TWIN.name, rows[:1])
        assert {one.entity_id for one in nearest(connection, TWIN.name, "case", asked, 20)} == set(ids(20))
        assert nearest(connection, TWIN.name, "case", asked, 1)[0].entity_id != ids(1)[0]
        with pytest.raises(SpacesDiffer, match=r"twin@1:8 cannot be compared with those of small@1:8"):
            nearest(connection, SMALL.name, "case", asked, 1)
    with pytest.raises(SpacesDiffer, match="cannot be compared"):
        Vectors(SMALL.name, rows).cosines(asked)
    with pytest.raises(SpacesDiffer, match="length 8"):
        Vectors(SMALL.name, rows).cosines(Vectors(SMALL.name, unit(1, 4)))


def test_a_vector_of_another_length_is_refused(engine: Engine) -> None:
    """Neither our check nor the database itself lets a vector of the wrong length into a space."""
    with engine.begin() as connection:
        register(connection, SMALL)
        with pytest.raises(SpacesDiffer, match=r"\(2, 4\)"):
            put(connection, "case", ids(2), ["a", "a"], Vectors(SMALL.name, unit(2, 4)), AT)
        with pytest.raises(SpacesDiffer, match="no space 'large@1:384'"):
            put(connection, "case", ids(2), ["a", "a"], Vectors(LARGE.name, unit(2, 384)), AT)
        with pytest.raises(SpacesDiffer, match="no space"):
            read(connection, LARGE.name, "case", ids(2))
        with pytest.raises(ValueError, match="no numbers"):
            put(connection, "case", ids(1), ["a"], Vectors(SMALL.name, np.full((1, 8), np.nan, dtype=np.float32)), AT)
        raw = "INSERT INTO litgo.embeddings VALUES (:space, 'case', gen_random_uuid(), 'a', '[1,2]', now())"
        with pytest.raises(Exception, match="expected 8 dimensions"), connection.begin_nested():
            connection.execute(text(raw), {"space": SMALL.name})


def test_a_space_is_registered_once(engine: Engine) -> None:
    """Another revision is another space; the same one again changes nothing."""
    with engine.begin() as connection:
        for space in (SMALL, SMALL, replace(SMALL, revision="2")):
            register(connection, space)
        names = connection.execute(text("SELECT name FROM litgo.embedding_spaces ORDER BY name")).scalars().all()
    assert names == ["small@1:8", "small@2:8"]


def analyse(database_url: str) -> None:
    """What autovacuum does within a minute, as the table's owner."""
    owner = open_engine(database_url, role=None)
    with owner.begin() as connection:
        connection.execute(text("ANALYZE litgo.embeddings"))
    owner.dispose()


def index_scans(engine: Engine) -> int:
    """How often the index of a space was searched so far."""
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_stat_force_next_flush()"))
    with engine.begin() as connection:
        indexes = "SELECT sum(idx_scan) FROM pg_stat_user_indexes WHERE indexrelname LIKE 'ix\\_embeddings\\_%'"
        return int(connection.execute(text(indexes)).scalar_one())


def test_the_nearest_are_found_through_the_index_of_the_space(engine: Engine, database_url: str) -> None:
    """A search goes through the HNSW index of its space and finds as many as asked for, whatever else the space holds."""
    rows = unit(3000, 384)
    asked = rows[:8]
    with engine.begin() as connection:
        store(connection, LARGE, rows)
        # Nearer than any case: the index knows nothing of kinds of entities.
        store(connection, LARGE, np.repeat(asked, 50, axis=0), "example")
    analyse(database_url)
    # The connection is one and the same, so that the driver prepares the statement and the server might prefer a plan for any space.
    with engine.connect() as connection:
        for number, one in enumerate(asked, 1):
            vector = Vectors(LARGE.name, one[None, :])
            with connection.begin():
                found = nearest(connection, LARGE.name, "case", vector, 200)
            assert len(found) == 200
            assert [one.cosine for one in found] == sorted((one.cosine for one in found), reverse=True)
            with connection.begin():
                exact = nearest(connection, LARGE.name, "case", vector, 200, exact=True)
            assert exact[0].cosine == pytest.approx(1.0, abs=1e-3)
            assert len({one.entity_id for one in found} & {one.entity_id for one in exact}) >= 196, number
    assert index_scans(engine) == len(asked)


@pytest.mark.parametrize("limit", [0, 1001])
def test_more_neighbours_than_a_search_keeps_in_hand_are_refused(engine: Engine, limit: int) -> None:
    """pgvector would silently answer with fewer."""
    with engine.begin() as connection:
        store(connection, SMALL, unit(2, 8))
        with pytest.raises(ValueError, match=f"1 to 1000 neighbours can be asked for, not {limit}"):
            nearest(connection, SMALL.name, "case", Vectors(SMALL.name, unit(1, 8)), limit)
