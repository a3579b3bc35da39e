"""`litgo embeddings`: texts as vectors, how good they are, and whether all that should have one has it. One module a verb."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from litgo_pipelines.settings import Settings

if TYPE_CHECKING:
    from litgo_pipelines.casework.embedding import Embedding


@contextmanager
def embedding_here(settings: Settings) -> Iterator[Embedding]:
    """The models of this machine's settings; a database is opened only where a vendor may be asked."""
    from litgo_pipelines.casework.embedding import Embedding

    if settings.openai_api_key is None:
        yield Embedding.of(settings)
        return
    from litgo_pipelines.cli.marketplace import open_marketplace
    from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger

    with open_marketplace() as marketplace:
        yield Embedding.of(settings, PostgresCallLedger(marketplace.engine))
