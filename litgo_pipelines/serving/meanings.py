"""A case's text by a model, in the space in which it is compared: as it is stored, or embedded at once, and kept, where it is not.

Which models there are is known to `casework.embedding`, how alike two texts are to `ranking.text`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from litgo_pipelines.casework.embedding import stored_meaning
from litgo_pipelines.casework.market import Market
from litgo_pipelines.casework.matching import Case
from litgo_pipelines.integrations.policies import Deadline
from litgo_pipelines.marketplace.vectors import Vectors, content_hash, put
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

    def of(self, market: Market, case: Case, at: datetime) -> Vectors | None:
        """The text in the first space, in the order of preference, that it has in common with the lawyers of `market`; None: in none.

        Args:
            at: when vectors that are made count as made.

        Raises:
            Refusal: the vendor's model does not answer, and nothing may stand in for it.
        """
        embedding = self._embedding
        wanted = [] if embedding is None else embedding.spaces_of(market)
        if embedding is None or not wanted:
            return None
        with self._engine.connect() as connection:
            stored = stored_meaning(connection, case.id, wanted)
        if stored is not None and stored.space == wanted[0]:
            return stored
        embedded = self._embedded(embedding, case.summary, wanted)
        self._keep(case, embedded, at)
        return next(iter(embedded), stored)

    def _embedded(self, embedding: Embedding, summary: str, wanted: Sequence[str]) -> list[Vectors]:
        """The text in those of these spaces in which it could be embedded, in their order."""
        from litgo_pipelines.integrations.calls import VendorRefused, VendorUnavailable

        try:
            found = embedding.texts([summary], Deadline.after(self._seconds), wanted)
        except (VendorUnavailable, VendorRefused) as error:
            raise Refusal(503, "vendor_away", f"{error} (FALLBACK_ENABLED is false)", retry_after=5) from None
        self._metrics.embedded(in_fallback=found.in_fallback)
        if found.in_fallback:
            _log.warning("a case is compared in fallback", trouble=found.trouble)
        return [one for space in wanted if (one := found.vectors(space)) is not None]

    def _keep(self, case: Case, embedded: Sequence[Vectors], at: datetime) -> None:
        """Store the vectors of a case, so that no model is asked for them again."""
        try:
            with self._engine.begin() as connection:
                for one in embedded:
                    put(connection, "case", [case.id], [content_hash(case.summary)], one, at)
        except Exception as error:
            # The answer needs them no more; `casework.embedding` makes them anew.
            _log.warning("the vectors of a case were not kept", case_id=str(case.id), error=type(error).__name__)
