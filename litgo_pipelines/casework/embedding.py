"""Texts as vectors in every space there is, and the stored vectors of cases and lawyers kept up with what they are made of.

The local model always embeds; a vendor's does in addition, where it is configured. How each does so, and what is masked before, is known
to `integrations`; how vectors are stored and searched, to `marketplace.vectors`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final
from uuid import UUID

from litgo_pipelines.casework.market import RECENT_CASES, Market
from litgo_pipelines.integrations.calls import VendorRefused, VendorUnavailable
from litgo_pipelines.integrations.local_embeddings import LocalEmbedder, ModelMissing
from litgo_pipelines.marketplace.vectors import Entity, Vectors, content_hash, put, read, register
from litgo_pipelines.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sqlalchemy import Connection, Engine

    from litgo_pipelines.integrations.attempts import CallLedger
    from litgo_pipelines.integrations.embedders import TextEmbedder
    from litgo_pipelines.integrations.policies import Deadline

LAWYERS_AT_ONCE: Final = 200
NO_MODEL: Final = "none"
"""`LOCAL_EMBEDDING_MODEL` where no model of this machine is wanted."""

# What a vector would be made of now, by id; a text's hash is `content_hash`. Masks depend on the text alone, so its hash tells what that of
# the masked one would.
_CASES = "SELECT k.id, md5(k.summary) AS hash, k.created_at AS newest FROM litgo.cases k WHERE k.created_at <= :as_of"
_HANDLED_VECTORS = f"""
({RECENT_CASES}) recent JOIN litgo.embeddings v ON v.space = :space AND v.entity_type = 'case' AND v.entity_id = recent.case_id
"""
_HANDLED_HASH = "md5(string_agg(v.entity_id::text || ' ' || v.content_hash, ' ' ORDER BY v.entity_id))"
_LAWYERS = f"""
SELECT recent.lawyer_id AS id, {_HANDLED_HASH} AS hash, max(v.embedded_at) AS newest FROM {_HANDLED_VECTORS} GROUP BY recent.lawyer_id
"""
_WANTED: dict[Entity, str] = {"case": _CASES, "lawyer": _LAWYERS}
# The same of those that came after a moment. Array and limits keep the planner at looking up these few, whatever it expects.
_CASES_SINCE = f"{_CASES} AND k.created_at > :since"
_LAWYERS_SINCE = f"""
SELECT recent.lawyer_id AS id, {_HANDLED_HASH} AS hash, max(v.embedded_at) AS newest
FROM ({RECENT_CASES}) recent CROSS JOIN LATERAL
     (SELECT * FROM litgo.embeddings WHERE space = :space AND entity_type = 'case' AND entity_id = recent.case_id LIMIT 1) v
WHERE recent.lawyer_id = ANY(ARRAY(SELECT lawyer_id FROM litgo.contracts WHERE created_at > :since AND created_at <= :as_of))
GROUP BY recent.lawyer_id
"""
_WANTED_SINCE: dict[Entity, str] = {"case": _CASES_SINCE, "lawyer": _LAWYERS_SINCE}

_STORED = "LEFT JOIN litgo.embeddings e ON e.space = :space AND e.entity_type = :entity AND e.entity_id = w.id"
_STORED_SINCE = """
LEFT JOIN LATERAL (SELECT * FROM litgo.embeddings WHERE space = :space AND entity_type = :entity AND entity_id = w.id LIMIT 1) e ON true
"""
# The newest first: they are asked for most, and a backfill may take hours.
_DUE = """
SELECT w.id, e.entity_id IS NULL FROM ({wanted}) w {stored}
WHERE e.content_hash IS DISTINCT FROM w.hash ORDER BY w.newest DESC, w.id LIMIT :limit
"""
_COVERAGE = """
SELECT count(*), count(e.entity_id) FILTER (WHERE e.content_hash = w.hash), count(e.entity_id) FILTER (WHERE e.content_hash <> w.hash),
       max(e.embedded_at)
FROM ({wanted}) w {stored}
"""

_TEXTS = "SELECT id, summary FROM litgo.cases WHERE id = ANY(:ids)"

_PUT_LAWYERS = f"""
INSERT INTO litgo.embeddings (space, entity_type, entity_id, content_hash, vector, embedded_at)
SELECT :space, 'lawyer', recent.lawyer_id, {_HANDLED_HASH}, l2_normalize(avg(v.vector)), :as_of
FROM {_HANDLED_VECTORS} WHERE recent.lawyer_id = ANY(:ids) GROUP BY recent.lawyer_id
ON CONFLICT (space, entity_type, entity_id) DO UPDATE
SET content_hash = EXCLUDED.content_hash, vector = EXCLUDED.vector, embedded_at = EXCLUDED.embedded_at
"""
_DROP_LAWYERS = f"""
DELETE FROM litgo.embeddings e WHERE e.space = :space AND e.entity_type = 'lawyer'
  AND NOT EXISTS (SELECT FROM ({RECENT_CASES}) recent WHERE recent.lawyer_id = e.entity_id)
"""

Progress = Callable[[int, int], None]
"""Is told how many of all vectors are made."""


@dataclass(frozen=True)
class Texts:
    """The vectors of some texts.

    Attributes:
        by_space: of each text, shape (n, dim), by the name of the space; the preferred space first. Empty where there is no model.
        in_fallback: whether the preferred model could not be asked.
        trouble: why not.
    """

    by_space: dict[str, NDArray[np.float32]]
    in_fallback: bool = False
    trouble: str | None = None

    def vectors(self, space: str) -> Vectors | None:
        """Those of one space; None where the texts have none there."""
        return Vectors(space, self.by_space[space]) if space in self.by_space else None


@dataclass(frozen=True)
class Embedding:
    """The models that embed texts.

    Attributes:
        local: on this machine; None where it could not be loaded.
        vendor: that is preferred where it answers; None where none is configured.
        fallback_enabled: whether the local model is enough while the vendor is out of reach.
        batch: texts that are embedded at once in backfills.
        trouble: why there is no local model.
    """

    local: TextEmbedder | None
    vendor: TextEmbedder | None = None
    fallback_enabled: bool = True
    batch: int = 64
    trouble: str | None = None

    @classmethod
    def of(cls, settings: Settings, ledger: CallLedger | None = None) -> Embedding:
        """As the settings say. Without a local model texts are compared by their words alone, which is logged once.

        Args:
            ledger: where calls to the vendor are written down; without it no vendor is asked.
        """
        from litgo_pipelines.integrations.openai_embeddings import OpenAIEmbedder

        local, trouble = None, None
        try:
            if settings.local_embedding_model != NO_MODEL:
                local = LocalEmbedder.of(settings)
        except ModelMissing as error:
            trouble = str(error)
            _tell_once(trouble)
        vendor = None if ledger is None else OpenAIEmbedder.of(settings, ledger)
        return cls(local, vendor, settings.fallback_enabled, settings.litgo_embedding_batch, trouble)

    @property
    def embedders(self) -> tuple[TextEmbedder, ...]:
        """All models, the preferred one first."""
        return tuple(one for one in (self.vendor, self.local) if one is not None)

    @property
    def spaces(self) -> tuple[str, ...]:
        """The names of their spaces, in the same order."""
        return tuple(one.space.name for one in self.embedders)

    def spaces_of(self, market: Market) -> list[str]:
        """Those of them in which the lawyers of `market` have vectors, too."""
        return [one for one in self.spaces if one in market.profiles.meanings]

    def texts(self, texts: Sequence[str], deadline: Deadline | None = None, among: Collection[str] | None = None) -> Texts:
        """Embed texts with every model.

        Args:
            deadline: of several calls together; without it the vendor's own bounds the call.
            among: spaces in which vectors are of use; the vendor is not asked for others. None: all.

        Raises:
            VendorUnavailable, VendorRefused: the vendor's model did not answer and `FALLBACK_ENABLED` is false.
        """
        # The local one first: once the vendor's time is up there is none left.
        own, trouble = self._locally(texts)
        if self.vendor is None or (among is not None and self.vendor.space.name not in among):
            return Texts(own, trouble=trouble)
        try:
            return Texts({self.vendor.space.name: self.vendor.embed(texts, deadline), **own}, trouble=trouble)
        except (VendorUnavailable, VendorRefused) as error:
            if not self.fallback_enabled:
                raise
            return Texts(own, in_fallback=True, trouble=str(error))

    def _locally(self, texts: Sequence[str]) -> tuple[dict[str, NDArray[np.float32]], str | None]:
        """The local model's vectors by space, or why there are none."""
        if self.local is None:
            return {}, self.trouble
        try:
            return {self.local.space.name: self.local.embed(texts)}, None
        except ModelMissing as error:
            _tell_once(str(error))
            return {}, str(error)


def stored_meaning(connection: Connection, case_id: UUID, spaces: Sequence[str]) -> Vectors | None:
    """A case's stored vector, one row, in the first of these spaces in which it has one; None: in none."""
    found = (read(connection, space, "case", [case_id]) for space in spaces)
    return next((one for one in found if one.known.all()), None)


@lru_cache
def _tell_once(trouble: str) -> None:
    import structlog

    structlog.get_logger(__name__).warning("no local model of embeddings", trouble=trouble)


@dataclass(frozen=True)
class Coverage:
    """How many vectors of one kind of entity a space has.

    Attributes:
        wanted: entities that should have one.
        current: made of what the entity is made of now.
        outdated: made of something else.
        newest: when the newest one was made; None: there is none.
    """

    space: str
    entity: Entity
    wanted: int
    current: int
    outdated: int
    newest: datetime | None = None

    @property
    def missing(self) -> int:
        return self.wanted - self.current - self.outdated

    @property
    def share(self) -> float | None:
        """Of the entities with a current vector, 0..1; None where there are no entities."""
        return self.current / self.wanted if self.wanted else None


@dataclass(frozen=True)
class Refreshed:
    """What a refresh wrote in one space.

    Attributes:
        new, outdated: vectors that were missing, and that were made of something else.
        trouble: why it did not get to the end; None: it did.
    """

    space: str
    new: int
    outdated: int
    trouble: str | None = None


def coverage(
    connection: Connection, spaces: Sequence[str], entity: Entity, as_of: datetime, since: datetime | None = None
) -> list[Coverage]:
    """How far each space is with the entities there are at `as_of`. A lawyer counts from the first handled case with a vector.

    Args:
        since: count only cases that came after this moment, or lawyers with a contract that did. Without it everything is read, which
            takes 150 ms with 50,000 cases; what came in an hour, 1 ms.
    """
    from sqlalchemy import text

    wanted, stored = (_WANTED, _STORED) if since is None else (_WANTED_SINCE, _STORED_SINCE)
    statement = text(_COVERAGE.format(wanted=wanted[entity], stored=stored))
    found = []
    for space in spaces:
        row = connection.execute(statement, {"space": space, "entity": entity, "as_of": as_of, "since": since}).one()
        found.append(Coverage(space, entity, *row))
    return found


def refresh_cases(
    engine: Engine, embedding: Embedding, as_of: datetime, limit: int | None = None, progress: Progress = lambda _done, _of: None
) -> list[Refreshed]:
    """Embed the cases of which vectors are missing or outdated, in every space.

    Each batch is committed by itself, so that what is interrupted goes on where it was. A vendor that fails keeps no other space from
    its vectors.

    Args:
        limit: of cases in each space, the newest ones.

    Returns:
        What was written in each space, in the order of `embedding.spaces`.

    Raises:
        VendorUnavailable, VendorRefused: the vendor failed and `FALLBACK_ENABLED` is false; the local space is done then.
        ModelMissing: the local model does not load and `FALLBACK_ENABLED` is false.
    """
    return _refresh(engine, embedding, "case", partial(_refresh_cases, engine, embedding.batch, as_of), as_of, limit, progress)


def refresh_lawyers(
    engine: Engine, embedding: Embedding, as_of: datetime, limit: int | None = None, progress: Progress = lambda _done, _of: None
) -> list[Refreshed]:
    """Bring the vectors of lawyers to the mean of those of the cases they handled lately, in every space. No model is asked.

    Otherwise as `refresh_cases`.
    """
    return _refresh(engine, embedding, "lawyer", partial(_refresh_lawyers, engine, as_of), as_of, limit, progress)


_Due = list[tuple[UUID, bool]]
"""Ids of what a vector is to be made of, and whether there is none yet."""
_Work = Callable[["TextEmbedder", _Due], Iterator[_Due]]
"""Makes the vectors of one space and yields what is committed."""


def _refresh(
    engine: Engine, embedding: Embedding, entity: Entity, work: _Work, as_of: datetime, limit: int | None, progress: Progress
) -> list[Refreshed]:
    # The local model first: a vendor may keep everything behind it waiting.
    dues = [(one, _due(engine, one, entity, as_of, limit)) for one in reversed(embedding.embedders)]
    of, before = sum(len(due) for _, due in dues), 0
    progress(0, of)
    found = []
    for embedder, due in dues:
        done: _Due = []
        error = None
        try:
            for part in work(embedder, due):
                done += part
                progress(before + len(done), of)
        except (VendorUnavailable, VendorRefused, ModelMissing) as failed:
            error = failed
        before += len(due)
        new = sum(fresh for _, fresh in done)
        found.append(Refreshed(embedder.space.name, new, len(done) - new, None if error is None else str(error)))
        if error is not None and not embedding.fallback_enabled:
            raise error
    return found[::-1]


def _due(engine: Engine, embedder: TextEmbedder, entity: Entity, as_of: datetime, limit: int | None) -> _Due:
    from sqlalchemy import text

    given = {"space": embedder.space.name, "entity": entity, "as_of": as_of, "limit": limit}
    with engine.begin() as connection:
        register(connection, embedder.space)
        rows = connection.execute(text(_DUE.format(wanted=_WANTED[entity], stored=_STORED)), given)
        return [(one, new) for one, new in rows]


def _refresh_cases(engine: Engine, batch: int, as_of: datetime, embedder: TextEmbedder, due: _Due) -> Iterator[_Due]:
    from sqlalchemy import text

    for start in range(0, len(due), batch):
        part = due[start : start + batch]
        with engine.connect() as connection:
            rows = connection.execute(text(_TEXTS), {"ids": [one for one, _ in part]}).all()
        # Outside any transaction: a vendor may take its time.
        vectors = embedder.embed([summary for _, summary in rows])
        with engine.begin() as connection:
            ids, hashes = [one for one, _ in rows], [content_hash(summary) for _, summary in rows]
            put(connection, "case", ids, hashes, Vectors(embedder.space.name, vectors), as_of)
        yield part


def _refresh_lawyers(engine: Engine, as_of: datetime, embedder: TextEmbedder, due: _Due) -> Iterator[_Due]:
    from sqlalchemy import text

    given = {"space": embedder.space.name, "as_of": as_of}
    with engine.begin() as connection:
        connection.execute(text(_DROP_LAWYERS), given)
    for start in range(0, len(due), LAWYERS_AT_ONCE):
        part = due[start : start + LAWYERS_AT_ONCE]
        with engine.begin() as connection:
            connection.execute(text(_PUT_LAWYERS), given | {"ids": [one for one, _ in part]})
        yield part
