"""`litgo triage`: what clients' tellings are about, how often that is right, and what a person decides. One module a verb or two."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from litgo_pipelines.settings import Settings

if TYPE_CHECKING:
    from litgo_pipelines.casework.embedding import Embedding
    from litgo_pipelines.casework.triage import Triage
    from litgo_pipelines.casework.triage_examples import Example
    from litgo_pipelines.integrations.embedders import TextEmbedder
    from litgo_pipelines.marketplace.vectors import Vectors


@contextmanager
def triage_here(settings: Settings) -> Iterator[tuple[Triage, Embedding]]:
    """What judges tellings by this machine's settings, and the models it does so with.

    A database is opened only where a vendor may be asked. The examples' vectors are kept there, or else in a folder of `LITGO_HOME`.
    """
    from litgo_pipelines.casework.embedding import Embedding
    from litgo_pipelines.casework.triage_examples import keep_examples

    if settings.openai_api_key is None:
        embedding = Embedding.of(settings)
        yield _triage(settings, embedding, partial(_from_folder, settings.litgo_home / "triage", batch=embedding.batch)), embedding
        return
    from litgo_pipelines.cli.marketplace import open_marketplace
    from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger

    with open_marketplace() as marketplace:
        embedding = Embedding.of(settings, PostgresCallLedger(marketplace.engine))
        kept = partial(keep_examples, marketplace.engine, batch=embedding.batch, at=datetime.now(UTC))
        yield _triage(settings, embedding, kept), embedding


def _triage(settings: Settings, embedding: Embedding, vectors: Callable[..., Vectors]) -> Triage:
    from litgo_pipelines.casework.triage import Triage
    from litgo_pipelines.casework.triage_examples import read_examples
    from litgo_pipelines.cli.common import progress_bar
    from litgo_pipelines.integrations.calls import VendorRefused, VendorUnavailable

    found = Triage(tuple(read_examples()), settings.litgo_triage_confidence)
    for embedder in embedding.embedders:
        try:
            with progress_bar(f"examples, {embedder.space.model}", "texts") as progress:
                found = found.with_corpus(vectors(embedder, found.examples, progress=progress))
        except (VendorUnavailable, VendorRefused) as error:
            if not embedding.fallback_enabled:
                raise
            typer.echo(f"litgo: {error}; its model is left out", err=True)
    return found


def _from_folder(
    folder: Path, embedder: TextEmbedder, examples: Sequence[Example], batch: int, progress: Callable[[int, int], None]
) -> Vectors:
    """The examples' vectors as an earlier verb left them, or made and left for the next."""
    import numpy as np

    from litgo_pipelines.casework.triage_examples import embed_examples
    from litgo_pipelines.marketplace.vectors import Vectors, content_hash

    made_of = " ".join([embedder.space.name, *(content_hash(one.text) for one in examples)])
    file = folder / f"{hashlib.sha256(made_of.encode()).hexdigest()[:16]}.npy"
    if file.exists():
        progress(len(examples), len(examples))
        return Vectors(embedder.space.name, np.load(file, allow_pickle=False))
    found = embed_examples(embedder, examples, batch, progress)
    folder.mkdir(parents=True, exist_ok=True)
    # Under its name only when it is whole: another verb may look for it at the same time.
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as part:
        np.save(part, found.rows)
    Path(part.name).replace(file)
    return found
