"""A case's text by a model, in the space in which it is compared: as it is stored, or embedded at once where it is not.

Which models there are is known to `casework.embedding`, how alike two texts are to `ranking.text`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from litgo_pipelines.casework.market import Market
from litgo_pipelines.casework.matching import Case
from litgo_pipelines.integrations.policies import Deadline
from litgo_pipelines.marketplace.vectors import Vectors, read
from litgo_pipelines.observability.logs import get_logger
from litgo_pipelines.serving.errors import Refusal
from litgo_pipelines.serving.metrics import ServingMetrics

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from litgo_pipelines.casework.embedding import Embedding

_log = get_logger(__name__)


class Meanings:
    """Finds what cases are compared by.

    Args:
        embedding: the models; None: there are none, words alone are compared.
        seconds: that embedding a text may take, by all models together.
    """

    def __init__(self, engine: Engine, embedding: Embedding | None, metrics: ServingMetrics, seconds: float) -> None:
        self._engine, self._embedding, self._metrics, self._seconds = engine, embedding, metrics, seconds

    def of(self, market: Market, case: Case) -> Vectors | None:
        """The text in the first space, in the order of preference, that it has in common with the lawyers of `market`; None: in none.

        Raises:
            Refusal: the vendor's model does not answer, and nothing may stand in for it.
        """
        embedding = self._embedding
        wanted = [] if embedding is None else [space for space in embedding.spaces if space in market.profiles.meanings]
        if embedding is None or not wanted:
            return None
        stored = self._stored(case, wanted)
        if stored is None or stored.space != wanted[0]:
            embedded = self._embedded(embedding, case.summary, wanted)
            return next((embedded[space] for space in wanted if space in embedded), stored)
        return stored

    def _stored(self, case: Case, spaces: Sequence[str]) -> Vectors | None:
        """The case's stored vector in the first of these spaces that has one."""
        with self._engine.connect() as connection:
            found = (read(connection, space, "case", [case.id]) for space in spaces)
            return next((one for one in found if one.known.all()), None)

    def _embedded(self, embedding: Embedding, summary: str, wanted: Sequence[str]) -> dict[str, Vectors]:
        from litgo_pipelines.integrations.calls import VendorRefused, VendorUnavailable

        try:
            found = embedding.texts([summary], Deadline.after(self._seconds), wanted)
        except (VendorUnavailable, VendorRefused) as error:
            raise Refusal(503, "vendor_away", f"{error} (FALLBACK_ENABLED is false)", retry_after=5) from None
        if found.in_fallback:
            self._metrics.embedding_fallbacks.inc()
            _log.warning("a case is compared in fallback", trouble=found.trouble)
        return {space: Vectors(space, rows) for space, rows in found.by_space.items()}
